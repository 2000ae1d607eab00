//! Pinning of threads to cores.

use std::io;
use std::mem::{size_of, zeroed};

/// The first two cores that this process may use.
pub fn two_cores() -> Option<(usize, usize)> {
    // SAFETY: a set of cores is plain bits, and all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the pointer and the size describe `set`.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return None;
    }
    // SAFETY: the index stays below the size of the set.
    let mut usable = (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) });
    usable.next().zip(usable.next())
}

/// Pins the calling thread, and threads that it starts, to one core. Makes one system call and allocates nothing, so it
/// may run between fork and exec.
pub fn pin_this_thread(core: usize) -> io::Result<()> {
    // SAFETY: a set of cores is plain bits, and all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `two_cores` returned an index within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer and the size describe `set`.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Processor time of the calling thread so far, in user space and in the kernel.
pub fn thread_cpu_time() -> std::time::Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid during the call, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
