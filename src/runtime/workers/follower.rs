//! The follower thread: reads what other instances have committed, for all streams of this one.

use crate::base::metrics;
use crate::runtime::distributor::Distributor;
use crate::runtime::process;
use crate::store::{Reader, SliceError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two checks while the server fails.
const FAILED_PAUSE: Duration = Duration::from_millis(250);
/// How long the writer may take to notice that the journal lacks events which this process has shown.
const LACKING_MAX: Duration = Duration::from_secs(15);

/// Reads slices of the journal, and distributes them, until the writer has ended.
///
/// If the journal lacks events that streams have shown, nothing after them is shown: streams get a gap when they resume, after this
/// process has ended. The writer ends it when it has given the journal a new epoch.
pub(crate) fn follow(mut reader: Reader, distributor: &Distributor) {
    let (mut has_failed, mut lacking_since) = (false, None);
    while let Some(position) = distributor.wait_for_slice() {
        match reader.slice(position) {
            Ok(slice) => {
                has_failed = false;
                if let Some(slice) = slice {
                    metrics::SLICES.add(1);
                    metrics::SLICE_EVENTS.add(slice.events.len() as u64);
                    distributor.slice_read(slice);
                }
            }
            Err(SliceError::Lacking) => {
                if lacking_since.get_or_insert_with(Instant::now).elapsed() > LACKING_MAX {
                    log::error!("the journal lacks events that were shown: ending, so that streams get a gap");
                    process::end_failed();
                }
                thread::sleep(FAILED_PAUSE);
            }
            Err(SliceError::Failed(error)) => {
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
