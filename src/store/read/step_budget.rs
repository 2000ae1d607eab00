//! The bound of the rows that one step of a query examines.

/// The work of examining one entry of an index, which is the unit of a [`StepBudget`].
pub(crate) const ENTRY_WORK: usize = 1;
/// The work of examining one row, with the rows that it refers to.
pub(crate) const ROW_WORK: usize = 8;
/// The work of reading a participant's id.
pub(crate) const PARTICIPANT_WORK: usize = 2;

/// The work that a step of a query may still do.
///
/// A step starts with work left, and ends when none is left. So each step makes progress, and its duration is bounded.
pub(crate) struct StepBudget {
    left: usize,
}

impl StepBudget {
    /// The budget of a step that examines at most about `rows` rows, and at least one.
    pub(crate) fn new(rows: usize) -> StepBudget {
        StepBudget { left: ROW_WORK * rows.max(1) }
    }

    /// Subtracts work that was done. It may be more than is left.
    pub(crate) fn spend(&mut self, work: usize) {
        self.left = self.left.saturating_sub(work);
    }

    /// Whether the step may continue.
    pub(crate) fn is_left(&self) -> bool {
        self.left > 0
    }

    /// The number of index entries that may still be examined.
    pub(crate) fn entries(&self) -> i64 {
        (self.left / ENTRY_WORK) as i64
    }

    /// The number of rows that may still be examined: at least one while work is left.
    pub(crate) fn rows(&self) -> i64 {
        self.left.div_ceil(ROW_WORK) as i64
    }
}
