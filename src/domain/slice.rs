//! A part of the journal with the events of all users.

use crate::domain::event::Event;
use crate::domain::id::EventNumber;
use std::sync::Arc;

/// All events of a range of numbers, except those that no user may see any more. If retention has removed others, `has_gap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSlice {
    /// The number before the range.
    pub after: EventNumber,
    /// The last number of the range.
    pub through: EventNumber,
    /// Whether retention has removed events that a user could still see. Only a page of the user shows which.
    pub has_gap: bool,
    /// The events with their recipients, in order.
    pub events: Vec<Arc<Event>>,
}
