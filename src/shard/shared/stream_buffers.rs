//! The memory of the streams' outboxes.
//!
//! Invariant: the streams of all shards together have reserved at most the budget of the memory plan.

use crate::base::memory_plan::MemoryPlan;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The reservations of all streams.
#[derive(Debug, Default)]
pub struct StreamBuffers {
    reserved_bytes: AtomicUsize,
}

impl StreamBuffers {
    /// Reserves the outbox of a stream that wants `wanted_bytes`. It gets fewer when little is left, and `None` when nothing is.
    pub(crate) fn reserve(&self, memory: &MemoryPlan, wanted_bytes: usize) -> Option<usize> {
        let next = |reserved| memory.stream_buffer_bytes(reserved, wanted_bytes).map(|bytes| reserved + bytes);
        let reserved = self.reserved_bytes.fetch_update(Relaxed, Relaxed, next).ok()?;
        memory.stream_buffer_bytes(reserved, wanted_bytes)
    }

    /// Releases what `reserve` returned.
    pub(crate) fn release(&self, bytes: usize) {
        let reserved = self.reserved_bytes.fetch_sub(bytes, Relaxed);
        debug_assert!(reserved >= bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::memory_plan::{Instances, MemoryDemand};

    #[test]
    fn streams_get_the_memory_that_is_left() {
        let demand =
            MemoryDemand { limit_bytes: 16 << 20, workers: 1, connections_max: 1000, instances: Instances::One };
        let memory = MemoryPlan::new(demand).unwrap();
        let buffers = StreamBuffers::default();
        let mut reserved: Vec<usize> = std::iter::from_fn(|| buffers.reserve(&memory, 64 << 10)).collect();
        assert!(reserved.iter().sum::<usize>() <= memory.stream_outbox_bytes);
        assert!(reserved[0] == 64 << 10 && reserved.is_sorted_by(|a, b| a >= b));
        let smallest = reserved.pop().unwrap();
        buffers.release(smallest);
        assert_eq!(buffers.reserve(&memory, 64 << 10), Some(smallest));
        assert_eq!(buffers.reserve(&memory, 64 << 10), None);
    }
}
