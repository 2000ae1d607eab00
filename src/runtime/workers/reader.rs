//! A reader thread.

use crate::domain::holder::Holder;
use crate::domain::query::Query;
use crate::runtime::queue::{Queue, Wakeup};
use crate::runtime::replies::Replies;
use crate::store::Reader;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Answers queries one after the other until the queue is closed.
pub(crate) fn read(mut reader: Reader, queue: &Queue<Holder, Query>, replies: &Replies) {
    let mut queries = Vec::new();
    while queue.take(&mut queries, 1, usize::MAX, None) == Wakeup::Work {
        for query in queries.drain(..) {
            // A panic over one query must not leave the others unanswered.
            match catch_unwind(AssertUnwindSafe(|| reader.execute(&query))) {
                Ok(response) => replies.query_response(&query.holder(), response),
                Err(_) => replies.dropped(query.reply_to),
            }
        }
    }
}
