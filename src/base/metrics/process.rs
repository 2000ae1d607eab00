//! The metrics of the process, under the names of Prometheus' client libraries
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). Values that cannot be read are omitted.

use super::exposition::Exposition;
use super::instruments::Gauge;
use std::fs;

/// When the process started, in microseconds since 1970.
pub(crate) static STARTED_AT: Gauge = Gauge::new();

/// Writes the metrics of the process.
pub(crate) fn render(text: &mut Exposition) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|line| Stat::parse(&line)) {
        let micros = |ticks: u64| ticks.saturating_mul(1_000_000) / ticks_per_second();
        text.family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.");
        text.sample_seconds("process_cpu_seconds_total", &[], micros(stat.cpu_ticks));
        text.gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            stat.resident_pages * page_bytes(),
        );
        text.gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", stat.virtual_bytes);
    }
    // The kernel counts from the boot, whose time is hidden from a service with ProcSubset=pid.
    let help = "Start time of the process since unix epoch in seconds.";
    text.gauge_seconds("process_start_time_seconds", help, STARTED_AT.get());
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory that is being read.
        let open = (descriptors.count() as u64).saturating_sub(1);
        text.gauge("process_open_fds", "Number of open file descriptors.", open);
    }
    if let Some(most) = fs::read_to_string("/proc/self/limits").ok().and_then(|lines| descriptors_max(&lines)) {
        text.gauge("process_max_fds", "Maximum number of open file descriptors.", most);
    }
}

/// Some fields of `/proc/self/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, which may contain any character.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat { cpu_ticks: field(14)? + field(15)?, virtual_bytes: field(23)?, resident_pages: field(24)? })
    }
}

/// The soft limit of open files, from `/proc/self/limits`.
fn descriptors_max(lines: &str) -> Option<u64> {
    let line = lines.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let line =
            "7 (a b) c)) S 1 7 7 0 -1 4194304 100 0 0 0 11 22 0 0 20 0 5 0 333 444 55 18446744073709551615 1 1 0";
        let want = Stat { cpu_ticks: 33, virtual_bytes: 444, resident_pages: 55 };
        assert_eq!(Stat::parse(line), Some(want));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        let limits =
            "Limit      Soft Limit  Hard Limit  Units\nMax open files            1024     524288       files\n";
        assert_eq!(descriptors_max(limits), Some(1024));
        assert_eq!(descriptors_max("Max open files   unlimited unlimited files"), None);
    }
}
