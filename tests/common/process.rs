//! Statistics of a process from `/proc`, for tests that observe a server from outside.

use std::fs;

/// Resident memory of a process, in bytes.
#[track_caller]
pub fn resident_bytes(process: u32) -> usize {
    status_bytes(process, "VmRSS:")
}

/// Resident memory of a process without that of files, in bytes.
#[track_caller]
pub fn held_bytes(process: u32) -> usize {
    status_bytes(process, "RssAnon:")
}

/// A field of `/proc/PID/status` in kB, as bytes.
#[track_caller]
fn status_bytes(process: u32, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel reports it");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kibibytes * 1024
}

/// The number of open descriptors of a process.
#[track_caller]
pub fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("the process is there").count()
}

/// Processor time used by a process, in hundredths of a second.
#[track_caller]
pub fn processor_hundredths(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process is there");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
    fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
}
