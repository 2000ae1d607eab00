//! A part of the journal with the events of all users.

use crate::domain::event::Event;
use crate::domain::id::EventNumber;
use std::sync::Arc;

/// All events of a range of numbers, except those that no user may see any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSlice {
    /// The number before the range.
    pub after: EventNumber,
    /// The last number of the range.
    pub through: EventNumber,
    /// The events with their recipients, in order.
    pub events: Vec<Arc<Event>>,
}
