//! Configures the allocator.

use crate::base::limits::LARGE_ALLOCATION_BYTES_MIN;
use crate::base::memory_plan::MemoryPlan;

/// Size of a block from which on it is mapped separately, in bytes, if there is little memory.
#[cfg(target_env = "gnu")]
const SMALL_HEAP_BLOCK_BYTES_MAX: i32 = 64 * 1024;

/// Maps every block of `LARGE_ALLOCATION_BYTES_MIN` or more separately, so that it returns to the system when it is freed.
///
/// By default, glibc raises this threshold with the first large block that is freed. Later large blocks then lie between small
/// ones on the heap, and the process does not shrink (mallopt(3), M_MMAP_THRESHOLD). Other C libraries do not do this.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter of the allocator. If it fails, nothing changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_ALLOCATION_BYTES_MIN);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = LARGE_ALLOCATION_BYTES_MIN;
}

/// Makes the heap small, if the plan has little memory. Call it before threads are started.
///
/// By default, glibc has a heap for each thread, so that threads do not wait for each other, and what one has freed is of no use
/// to the others (mallopt(3), M_ARENA_MAX). It also keeps 128 KiB at the end of the heap.
pub(super) fn limit_heap(memory: &MemoryPlan) {
    if !memory.has_one_heap {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, SMALL_HEAP_BLOCK_BYTES_MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, SMALL_HEAP_BLOCK_BYTES_MAX);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
}

/// Returns the free pages of the heap to the system.
pub(super) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no pointer arguments, and locks the heap.
    unsafe {
        libc::malloc_trim(0);
    }
}
