//! An open stream, as its user sees it in the list.

use crate::base::time::WallTime;
use uuid::Uuid;

/// One open stream in the list of its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenStream {
    /// Its id.
    pub id: Uuid,
    /// When it was opened.
    pub since: WallTime,
    /// Whether everything was delivered.
    pub live: bool,
    /// The distance in numbers between its cursor and the newest event. Not all of these events are for this user.
    pub events_behind: u64,
    /// Bytes in its outbox.
    pub bytes_behind: u64,
}
