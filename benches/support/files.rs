//! The limit of open files.

/// Raises the limit of this process and of those that it starts; an error if it cannot be `wanted`.
pub fn raise_open_files_max(wanted: u64) -> Result<(), String> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a pointer to a complete rlimit that outlives them.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
    };
    match raised && limit.rlim_cur >= wanted {
        true => Ok(()),
        false => Err(format!("{wanted} files cannot be open at once here, only {}", limit.rlim_max)),
    }
}
