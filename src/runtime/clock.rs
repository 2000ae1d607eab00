//! The clocks of a process, read here and handed down as arguments.

use crate::base::time::{MonoTime, Now, WallTime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose `MonoTime` starts now.
    pub(crate) fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        };
        Now { wall: WallTime(wall), mono: MonoTime(self.started.elapsed().as_micros() as u64) }
    }
}
