//! A reader thread.

use super::Workers;
use crate::runtime::queue::Wakeup;
use crate::store::{QueryStep, Reader};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Answers queries, one step of one query at a time, until the queue is closed. A query that needs another step is enqueued
/// again, so that its user takes turns with the others.
pub(crate) fn read(mut reader: Reader, workers: &Workers) {
    let mut queries = Vec::new();
    while workers.readers.take(&mut queries, 1, usize::MAX, None) == Wakeup::Work {
        for pending in queries.drain(..) {
            let (holder, reply_to) = (pending.query.holder(), pending.query.reply_to);
            // A panic over one query must not leave the others unanswered.
            match catch_unwind(AssertUnwindSafe(|| reader.step(pending))) {
                Ok(QueryStep::Done(response)) => workers.replies.query_response(&holder, response),
                Ok(QueryStep::More(pending)) => workers.enqueue_query(pending),
                Err(_) => workers.replies.dropped(reply_to),
            }
        }
    }
}
