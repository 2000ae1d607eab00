//! Configures the allocator.

use crate::base::limits::LARGE_ALLOCATION_BYTES_MIN;

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
