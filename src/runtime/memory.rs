//! What the allocator does with large blocks.

use crate::base::limits::LARGE_ALLOCATION_BYTES_MIN;

/// Makes every block of `LARGE_ALLOCATION_BYTES_MIN` or more one of its own, which goes back to the system when it is freed.
///
/// The C library of GNU otherwise learns from the first large block that is freed to keep those after it among the small
/// ones, and with a little of these between them the process stays as large as it ever was (mallopt(3), M_MMAP_THRESHOLD).
/// Other C libraries do nothing of the kind.
pub(super) fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a number of the allocator's; if it does not take it, everything stays as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_ALLOCATION_BYTES_MIN);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = LARGE_ALLOCATION_BYTES_MIN;
}
