//! The search for the users among some ids that share a conversation with the caller.
//!
//! The search starts from the caller: its cost depends on the caller's conversations, not on those of the users that it names.
//! A few conversations of each user are examined first, because a user with few of them is found, in a conversation of a caller
//! with many, more easily from that side.

use crate::domain::id::UserId;
use crate::domain::model::UserProfile;
use crate::store::read::caller_conversations::{self, ConversationPlace};
use crate::store::read::step_budget::{ENTRY_WORK, ROW_WORK, StepBudget};
use crate::store::sql::{SqlConnection, SqlResult, params};
use crate::store::tables::users;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// Conversations of a named user that are examined before those of the caller.
const PROBED_MAX: usize = 16;

/// A search under way.
pub(crate) struct UserSearch {
    /// The number of ids that have been looked up.
    looked_up: usize,
    /// The keys of all users that were looked up.
    known: HashSet<i64>,
    /// The users that have not been found to share a conversation, by key: their places among the ids.
    missing: HashMap<i64, usize>,
    /// The places and keys of the users that were found.
    found: Vec<(usize, i64)>,
    place: ConversationPlace,
}

impl UserSearch {
    pub(crate) fn new() -> Box<UserSearch> {
        Box::new(UserSearch {
            looked_up: 0,
            known: HashSet::new(),
            missing: HashMap::new(),
            found: Vec::new(),
            place: ConversationPlace::START,
        })
    }

    /// About the bytes that the search holds.
    pub(crate) fn bytes(&self) -> usize {
        self.known.len() * (size_of::<i64>() + size_of::<(i64, usize)>())
    }

    /// Searches further for the users of `ids` on behalf of the user with key `caller`, as far as `budget` allows. Returns the
    /// profiles in the order of `ids`, each once.
    pub(crate) fn step(
        mut self: Box<Self>,
        db: &SqlConnection,
        caller: i64,
        ids: &[UserId],
        budget: &mut StepBudget,
    ) -> SqlResult<ControlFlow<Vec<UserProfile>, Box<Self>>> {
        while let Some(id) = ids.get(self.looked_up) {
            if !budget.is_left() {
                return Ok(ControlFlow::Continue(self));
            }
            self.look_up(db, caller, id, budget)?;
            self.looked_up += 1;
        }
        if !self.missing.is_empty() {
            self.examine(db, caller, budget)?;
        }
        if !self.missing.is_empty() && self.place != ConversationPlace::End {
            return Ok(ControlFlow::Continue(self));
        }
        self.found.sort_unstable();
        let profiles = self.found.iter().map(|(_, key)| users::profile(db, *key));
        Ok(ControlFlow::Break(profiles.collect::<SqlResult<_>>()?))
    }

    fn look_up(&mut self, db: &SqlConnection, caller: i64, id: &UserId, budget: &mut StepBudget) -> SqlResult<()> {
        budget.spend(ROW_WORK);
        let Some(key) = users::key(db, id)? else { return Ok(()) };
        if !self.known.insert(key) {
            return Ok(());
        }
        let is_found = key == caller || {
            budget.spend(PROBED_MAX * ROW_WORK);
            db.prepare_cached(SHARES_RECENT)?.exists(params![caller, key, PROBED_MAX as i64])?
        };
        if is_found {
            self.found.push((self.looked_up, key));
        } else {
            self.missing.insert(key, self.looked_up);
        }
        Ok(())
    }

    /// Examines conversations of the caller for the missing users.
    fn examine(&mut self, db: &SqlConnection, caller: i64, budget: &mut StepBudget) -> SqlResult<()> {
        let UserSearch { missing, found, place, .. } = self;
        let mut participants = db.prepare_cached(PARTICIPANT_KEYS)?;
        caller_conversations::walk(db, caller, place, budget, |conversation, budget| {
            let mut note = |key| found.extend(missing.remove(&key).map(|place| (place, key)));
            note(conversation.owner);
            let mut rows = participants.query([conversation.number.0 as i64])?;
            while let Some(row) = rows.next()? {
                budget.spend(ENTRY_WORK);
                note(row.get(0)?);
            }
            Ok(if missing.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }
}

pub(crate) const PARTICIPANT_KEYS: &str = "SELECT user FROM participants WHERE conversation = ?1";
/// Whether one of the last conversations that a user joined is one of the caller's.
pub(crate) const SHARES_RECENT: &str = "
    SELECT 1
    FROM (SELECT conversation FROM participants WHERE user = ?2 ORDER BY conversation DESC LIMIT ?3) p
    CROSS JOIN conversations c ON c.number = p.conversation AND c.deleted IS NULL
    CROSS JOIN workspaces w ON w.number = c.workspace AND w.deleted IS NULL
    WHERE w.owner = ?1
        OR EXISTS (SELECT 1 FROM participants q WHERE q.conversation = c.number AND q.user = ?1)";
