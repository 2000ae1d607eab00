//! The usage of one user, summed by day, conversation or model in steps.

use crate::base::limits::USAGE_GROUPS_MAX;
use crate::base::time::WallTime;
use crate::domain::id::{ConversationId, EventNumber, IdKey, UserId};
use crate::domain::usage::{Day, DayRange, UsageBy, UsageKey, UsageReport, UsageSums};
use crate::store::read::step_budget::{ENTRY_WORK, StepBudget};
use crate::store::sql::values::number;
use crate::store::sql::{SqlConnection, SqlResult, params};
use crate::store::tables::usage;
use std::collections::HashMap;
use std::sync::Arc;

/// A search for the usage of one user. Each step continues after the last row of the step before.
pub(crate) struct UsageSearch {
    days: DayRange,
    by: UsageBy,
    /// The day, conversation and model of the last row.
    place: (i64, i64, String),
    groups: Vec<(GroupKey, UsageSums)>,
    /// The indexes of `groups`.
    indexes: HashMap<GroupKey, usize>,
    total: UsageSums,
    truncated: bool,
}

/// The key of a group, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum GroupKey {
    Day(i64),
    /// The number and creation time.
    Conversation(EventNumber, WallTime),
    Model(Arc<str>),
    User(UserId),
}

impl UsageSearch {
    pub(crate) fn new(days: DayRange, by: UsageBy) -> UsageSearch {
        UsageSearch {
            days,
            by,
            place: UsageSearch::start(days),
            groups: Vec::new(),
            indexes: HashMap::new(),
            total: UsageSums::default(),
            truncated: false,
        }
    }

    /// The place before the first row of a range of days.
    fn start(days: DayRange) -> (i64, i64, String) {
        (days.from.0 - 1, i64::MAX, String::new())
    }

    /// About the bytes of the groups.
    pub(crate) fn bytes(&self) -> usize {
        const EACH: usize = 256;
        EACH * self.groups.len()
    }

    /// Adds the usage of the user with this key. Returns whether it is complete.
    pub(crate) fn step(
        &mut self,
        db: &SqlConnection,
        user_key: i64,
        user: &UserId,
        budget: &mut StepBudget,
    ) -> SqlResult<bool> {
        if matches!(self.by, UsageBy::Day | UsageBy::User) {
            // A row for each day, the number of which is bounded.
            for (day, sums) in usage::days(db, user_key, self.days)? {
                let key = if self.by == UsageBy::Day { GroupKey::Day(day.0) } else { GroupKey::User(user.clone()) };
                self.add(key, sums);
            }
            return Ok(true);
        }
        let mut statement = db.prepare_cached(usage::AFTER)?;
        let (day, conversation, model) = self.place.clone();
        let mut rows = statement.query(params![user_key, day, conversation, model, self.days.to.0])?;
        while budget.is_left() {
            let Some(row) = rows.next()? else {
                // The next user is read from the start.
                self.place = UsageSearch::start(self.days);
                return Ok(true);
            };
            budget.spend(ENTRY_WORK);
            let (conversation, model): (i64, Arc<str>) = (row.get(6)?, row.get(8)?);
            self.place = (row.get(5)?, conversation, model.to_string());
            let key = match self.by {
                UsageBy::Model => GroupKey::Model(model),
                _ => GroupKey::Conversation(number(conversation), WallTime(row.get(7)?)),
            };
            self.add(key, usage::sums_of(row)?);
        }
        Ok(false)
    }

    /// The sums so far.
    pub(crate) fn report(self, ids: &IdKey) -> UsageReport {
        let key = |key| match key {
            GroupKey::Day(day) => UsageKey::Day(Day(day)),
            GroupKey::Conversation(usage::NO_CONVERSATION, _) => UsageKey::Conversation(None),
            GroupKey::Conversation(number, at) => UsageKey::Conversation(Some(ConversationId(ids.uuid(number, at)))),
            GroupKey::Model(model) => UsageKey::Model(model),
            GroupKey::User(user) => UsageKey::User(user),
        };
        let groups = self.groups.into_iter().map(|(group, sums)| (key(group), sums)).collect();
        UsageReport { by: self.by, groups, total: self.total, truncated: self.truncated }
    }

    fn add(&mut self, key: GroupKey, sums: UsageSums) {
        self.total += sums;
        match self.indexes.get(&key) {
            Some(index) => self.groups[*index].1 += sums,
            None if self.groups.len() == USAGE_GROUPS_MAX => self.truncated = true,
            None => {
                self.indexes.insert(key.clone(), self.groups.len());
                self.groups.push((key, sums));
            }
        }
    }
}
