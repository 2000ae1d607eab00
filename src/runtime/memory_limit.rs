//! The memory that the process may take: the setting, or the limit of its control group, or a part of the machine's memory.
//!
//! A control group's limit is that of the group and of all groups around it (cgroups(7); the kernel's
//! admin-guide/cgroup-v2, "memory.max", and admin-guide/cgroup-v1/memory, "memory.limit_in_bytes").

use std::fmt;
use std::path::{Component, Path, PathBuf};

/// Most memory that is taken without a limit, in bytes.
const UNSET_BYTES_MAX: u64 = 1 << 30;
/// The part of the machine's memory that is taken without a limit.
const MACHINE_DIVISOR: u64 = 4;
/// Version 1 writes "no limit" as the largest multiple of a page; nothing near it is a limit.
const NO_LIMIT_BYTES_MIN: u64 = 1 << 60;

/// A limit, and its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    /// The limit, in bytes.
    pub bytes: u64,
    origin: LimitOrigin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitOrigin {
    Setting,
    ControlGroup,
    Machine,
    Unknown,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            LimitOrigin::Setting => "MEMORY_LIMIT_BYTES",
            LimitOrigin::ControlGroup => "the limit of the control group",
            LimitOrigin::Machine => "a quarter of the machine's memory, at most 1 GiB",
            LimitOrigin::Unknown => "because the system does not tell its memory",
        };
        write!(f, "{} bytes ({origin})", self.bytes)
    }
}

/// The limit of this process. `setting` is `MEMORY_LIMIT_BYTES`.
pub(crate) fn memory_limit(setting: Option<u64>) -> MemoryLimit {
    determine(setting, &|path| std::fs::read_to_string(path).ok())
}

/// The same, with the system's files as `read` returns them.
fn determine(setting: Option<u64>, read: &dyn Fn(&Path) -> Option<String>) -> MemoryLimit {
    if let Some(bytes) = setting {
        return MemoryLimit { bytes, origin: LimitOrigin::Setting };
    }
    let machine_bytes = read(Path::new("/proc/meminfo")).and_then(|text| total_bytes(&text));
    let group = control_group_bytes(read).filter(|bytes| machine_bytes.is_none_or(|machine| *bytes <= machine));
    match (group, machine_bytes) {
        (Some(bytes), _) => MemoryLimit { bytes, origin: LimitOrigin::ControlGroup },
        (None, Some(machine)) => {
            MemoryLimit { bytes: (machine / MACHINE_DIVISOR).min(UNSET_BYTES_MAX), origin: LimitOrigin::Machine }
        }
        (None, None) => MemoryLimit { bytes: UNSET_BYTES_MAX, origin: LimitOrigin::Unknown },
    }
}

/// `MemTotal` of `/proc/meminfo` (proc_meminfo(5)), in bytes.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The smallest limit of the process's control groups and of those around them.
fn control_group_bytes(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo"))?;
    let limits = mounts.lines().filter_map(Hierarchy::parse).filter_map(|hierarchy| {
        let group = groups.lines().find_map(|line| hierarchy.group_in(line))?;
        let directory = hierarchy.directory_of(&group);
        let own = directory.ancestors().take_while(|ancestor| ancestor.starts_with(&hierarchy.mount_point));
        own.filter_map(|ancestor| limit_bytes(&read(&ancestor.join(hierarchy.file()))?)).min()
    });
    limits.min()
}

/// The limit in a control group's file.
fn limit_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT_BYTES_MIN)
}

/// A mounted hierarchy of control groups that may limit memory.
struct Hierarchy {
    is_v2: bool,
    /// The group that is visible at the mount point.
    root: PathBuf,
    mount_point: PathBuf,
}

impl Hierarchy {
    /// Parses a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)); `None` for other file systems.
    fn parse(line: &str) -> Option<Hierarchy> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, mount_point) = (mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let is_v2 = match system.next()? {
            "cgroup2" => true,
            "cgroup" if system.nth(1)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        Some(Hierarchy { is_v2, root: root.into(), mount_point: mount_point.into() })
    }

    /// The process's group in this hierarchy, if this line of `/proc/self/cgroup` names it.
    fn group_in(&self, line: &str) -> Option<PathBuf> {
        let (id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_named =
            if self.is_v2 { id == "0" } else { controllers.split(',').any(|controller| controller == "memory") };
        is_named.then(|| path.into())
    }

    /// The directory of a group. A group outside of what is mounted, as in a container without a namespace of its own, is the
    /// one at the mount point.
    fn directory_of(&self, group: &Path) -> PathBuf {
        let below = group.strip_prefix(&self.root).unwrap_or(Path::new(""));
        let is_plain = below.components().all(|component| matches!(component, Component::Normal(_)));
        if is_plain { self.mount_point.join(below) } else { self.mount_point.clone() }
    }

    fn file(&self) -> &'static str {
        if self.is_v2 { "memory.max" } else { "memory.limit_in_bytes" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: (&str, &str) = ("/proc/meminfo", "MemTotal:        1048576 kB\nMemFree: 1 kB\n");
    const V2_MOUNT: (&str, &str) = (
        "/proc/self/mountinfo",
        "24 1 0:21 / /sys rw - sysfs sysfs rw\n29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    );
    const V1_MOUNT: (&str, &str) = (
        "/proc/self/mountinfo",
        "30 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
         31 24 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
         32 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    );
    const MIB: u64 = 1 << 20;

    fn found(setting: Option<u64>, files: &[(&str, &str)]) -> MemoryLimit {
        let read =
            |path: &Path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned());
        determine(setting, &read)
    }

    #[test]
    fn the_limit_is_that_of_the_nearest_source() {
        use LimitOrigin::*;
        let v2 = |path| ("/proc/self/cgroup", path);
        type Files<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Files, u64, LimitOrigin); 16] = [
            ("nothing", &[], 1 << 30, Unknown),
            ("no group", &[MEMINFO], 256 * MIB, Machine),
            ("a large machine", &[("/proc/meminfo", "MemTotal: 67108864 kB")], 1 << 30, Machine),
            ("not a number", &[("/proc/meminfo", "MemTotal: many kB")], 1 << 30, Unknown),
            (
                "its own limit",
                &[MEMINFO, V2_MOUNT, v2("0::/a/b\n"), ("/sys/fs/cgroup/a/b/memory.max", "33554432\n")],
                32 * MIB,
                ControlGroup,
            ),
            (
                "no limit",
                &[MEMINFO, V2_MOUNT, v2("0::/a/b\n"), ("/sys/fs/cgroup/a/b/memory.max", "max\n")],
                256 * MIB,
                Machine,
            ),
            (
                "the limit of a group around it",
                &[
                    MEMINFO,
                    V2_MOUNT,
                    v2("0::/a/b\n"),
                    ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
                    ("/sys/fs/cgroup/a/memory.max", "16777216\n"),
                ],
                16 * MIB,
                ControlGroup,
            ),
            (
                "the smaller of two",
                &[
                    MEMINFO,
                    V2_MOUNT,
                    v2("0::/a/b\n"),
                    ("/sys/fs/cgroup/a/b/memory.max", "33554432\n"),
                    ("/sys/fs/cgroup/a/memory.max", "16777216\n"),
                ],
                16 * MIB,
                ControlGroup,
            ),
            (
                "a namespace of its own",
                &[MEMINFO, V2_MOUNT, v2("0::/\n"), ("/sys/fs/cgroup/memory.max", "16777216\n")],
                16 * MIB,
                ControlGroup,
            ),
            (
                "a group above the namespace",
                &[MEMINFO, V2_MOUNT, v2("0::/../x\n"), ("/sys/fs/cgroup/memory.max", "16777216\n")],
                16 * MIB,
                ControlGroup,
            ),
            (
                "more than the machine has",
                &[MEMINFO, V2_MOUNT, v2("0::/\n"), ("/sys/fs/cgroup/memory.max", "8589934592\n")],
                256 * MIB,
                Machine,
            ),
            (
                "version 1",
                &[
                    MEMINFO,
                    V1_MOUNT,
                    ("/proc/self/cgroup", "4:memory:/a\n1:cpu:/b\n0::/\n"),
                    ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "16777216\n"),
                ],
                16 * MIB,
                ControlGroup,
            ),
            (
                "version 1 without a limit",
                &[
                    MEMINFO,
                    V1_MOUNT,
                    ("/proc/self/cgroup", "4:memory:/a\n0::/\n"),
                    ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                256 * MIB,
                Machine,
            ),
            (
                "version 1, the limit of a group around it",
                &[
                    MEMINFO,
                    V1_MOUNT,
                    ("/proc/self/cgroup", "4:memory:/a/b\n0::/\n"),
                    ("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "50331648\n"),
                ],
                48 * MIB,
                ControlGroup,
            ),
            (
                "a container without a namespace, whose mount shows its own group",
                &[
                    MEMINFO,
                    (
                        "/proc/self/mountinfo",
                        "31 24 0:28 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                    ),
                    ("/proc/self/cgroup", "4:memory:/docker/1f\n"),
                    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "16777216\n"),
                ],
                16 * MIB,
                ControlGroup,
            ),
            (
                "a group elsewhere than the mount",
                &[
                    MEMINFO,
                    ("/proc/self/mountinfo", "31 24 0:28 /docker/1f /m ro - cgroup cgroup rw,memory\n"),
                    ("/proc/self/cgroup", "4:memory:/other\n"),
                    ("/m/memory.limit_in_bytes", "16777216\n"),
                ],
                16 * MIB,
                ControlGroup,
            ),
        ];
        for (name, files, bytes, origin) in table {
            assert_eq!(found(None, files), MemoryLimit { bytes, origin }, "{name}");
            assert_eq!(found(Some(7), files), MemoryLimit { bytes: 7, origin: Setting }, "{name}");
        }
    }

    #[test]
    fn a_limit_displays_with_its_origin() {
        assert_eq!(found(Some(7), &[]).to_string(), "7 bytes (MEMORY_LIMIT_BYTES)");
        let text = found(None, &[MEMINFO]).to_string();
        assert_eq!(text, "268435456 bytes (a quarter of the machine's memory, at most 1 GiB)");
    }
}
