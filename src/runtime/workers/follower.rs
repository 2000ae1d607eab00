//! The follower thread: reads what other instances have committed, for all streams of this one.

use crate::base::limits::FOLLOW_MILLISECONDS;
use crate::base::metrics;
use crate::runtime::distributor::Distributor;
use crate::store::Reader;
use std::thread;
use std::time::Duration;

/// Longest time between two checks for commits of other instances.
const PAUSE: Duration = Duration::from_millis(FOLLOW_MILLISECONDS);
/// Time between two checks while the server fails.
const FAILED_PAUSE: Duration = Duration::from_millis(250);

/// Reads slices of the journal, and distributes them, until the writer has ended.
pub(crate) fn follow(mut reader: Reader, distributor: &Distributor) {
    let mut has_failed = false;
    while let Some(position) = distributor.wait_for_slice(PAUSE) {
        match reader.slice(position) {
            Ok(slice) => {
                has_failed = false;
                if let Some(slice) = slice {
                    metrics::SLICES.add(1);
                    metrics::SLICE_EVENTS.add(slice.events.len() as u64);
                    distributor.slice_read(slice);
                }
            }
            Err(error) => {
                if !has_failed {
                    log::warn!("the commits of other instances cannot be read: {error}");
                }
                has_failed = true;
                metrics::SLICES_FAILED.add(1);
                thread::sleep(FAILED_PAUSE);
            }
        }
    }
}
