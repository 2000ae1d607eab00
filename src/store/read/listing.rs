//! Lists in creation order: the numbers of all items are counted, and the selected items are loaded.

use crate::domain::id::EventNumber;
use crate::domain::page::{Page, Pagination};
use crate::store::read::page_builder::PageBuilder;
use crate::store::read::step_budget::{ENTRY_WORK, StepBudget};
use crate::store::sql::values::number;
use crate::store::sql::{SqlConnection, SqlResult};
use crate::wire::size::JsonBytes;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// A list under construction.
pub(crate) struct Listing<T> {
    /// The number of the last counted item.
    counted_through: i64,
    is_counted: bool,
    total: u64,
    /// The selected items that are not loaded yet.
    selected: VecDeque<EventNumber>,
    page: PageBuilder<T>,
}

impl<T: JsonBytes> Listing<T> {
    /// A list with at most `bytes_max` bytes of JSON text.
    pub(crate) fn new(bytes_max: usize) -> Box<Listing<T>> {
        Box::new(Listing {
            counted_through: 0,
            is_counted: false,
            total: 0,
            selected: VecDeque::new(),
            page: PageBuilder::new(bytes_max),
        })
    }

    /// About the bytes that the list holds.
    pub(crate) fn bytes(&self) -> usize {
        self.page.bytes() + self.selected.len() * size_of::<EventNumber>()
    }

    /// Builds the list further, as far as `budget` allows. `numbers` selects the numbers of the items of `key` after a number.
    /// `load` returns `None` for an item that was deleted since it was counted.
    pub(crate) fn step(
        mut self: Box<Self>,
        db: &SqlConnection,
        (numbers, key): (&str, i64),
        pagination: Pagination,
        budget: &mut StepBudget,
        mut load: impl FnMut(EventNumber, &mut StepBudget) -> SqlResult<Option<T>>,
    ) -> SqlResult<ControlFlow<Page<T>, Box<Self>>> {
        if !self.is_counted {
            self.count(db, (numbers, key), pagination, budget)?;
        }
        while self.is_counted && budget.is_left() {
            let Some(number) = self.selected.pop_front() else {
                return Ok(ControlFlow::Break(self.page.finish(self.total)));
            };
            if let Some(item) = load(number, budget)?
                && !self.page.add(item)
            {
                self.selected.clear();
            }
        }
        Ok(ControlFlow::Continue(self))
    }

    fn count(
        &mut self,
        db: &SqlConnection,
        (numbers, key): (&str, i64),
        pagination: Pagination,
        budget: &mut StepBudget,
    ) -> SqlResult<()> {
        let limit = budget.entries();
        let mut statement = db.prepare_cached(numbers)?;
        let mut rows = statement.query([key, self.counted_through, limit])?;
        let mut examined = 0;
        while let Some(row) = rows.next()? {
            examined += 1;
            budget.spend(ENTRY_WORK);
            self.counted_through = row.get(0)?;
            if self.total >= pagination.offset && self.selected.len() < pagination.limit as usize {
                self.selected.push_back(number(self.counted_through));
            }
            self.total += 1;
        }
        self.is_counted = examined < limit;
        Ok(())
    }
}
