//! A control group with a limit of memory, of either version (cgroups(7)).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A group of this test. It is removed on drop.
pub struct ControlGroup {
    directory: PathBuf,
    is_v2: bool,
}

/// Memory that the kernel cannot reclaim from a group, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Pages of processes.
    pub pages: u64,
    /// The kernel's own: sockets, files, page tables.
    pub kernel: u64,
    /// The buffers of sockets.
    pub sockets: u64,
}

impl Held {
    /// The sum.
    pub fn bytes(self) -> u64 {
        self.pages + self.kernel + self.sockets
    }
}

impl ControlGroup {
    /// A group whose processes may take this much together; `None` if this user may not create one.
    pub fn create(limit_bytes: u64) -> Option<ControlGroup> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (parent, is_v2) = parent()?;
        let name = format!("cortex-core-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = parent.join(name);
        fs::create_dir(&directory).ok()?;
        let group = ControlGroup { directory, is_v2 };
        let limit = limit_bytes.to_string();
        if is_v2 {
            fs::write(group.directory.join("memory.max"), &limit).ok()?;
            // Without swap, since a small board has none. A kernel without it has no such file.
            let _ = fs::write(group.directory.join("memory.swap.max"), "0");
        } else {
            // Version 1 counts the buffers of sockets apart, and only if they have a limit.
            fs::write(group.directory.join("memory.kmem.tcp.limit_in_bytes"), &limit).ok()?;
            fs::write(group.directory.join("memory.limit_in_bytes"), &limit).ok()?;
            let _ = fs::write(group.directory.join("memory.memsw.limit_in_bytes"), &limit);
        }
        Some(group)
    }

    /// The file to which a process writes its id to enter the group.
    pub fn processes(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// How many processes the kernel has killed for lack of memory.
    pub fn kills(&self) -> u64 {
        self.line(if self.is_v2 { "memory.events" } else { "memory.oom_control" }, "oom_kill")
    }

    /// What the kernel cannot reclaim at the moment. The cache of files is not included.
    pub fn held(&self) -> Held {
        if self.is_v2 {
            let line = |name| self.line("memory.stat", name);
            return Held { pages: line("anon"), kernel: line("kernel"), sockets: line("sock") };
        }
        Held {
            pages: self.line("memory.stat", "rss"),
            kernel: self.number("memory.kmem.usage_in_bytes"),
            sockets: self.number("memory.kmem.tcp.usage_in_bytes"),
        }
    }

    fn number(&self, file: &str) -> u64 {
        self.text(file).trim().parse().expect("a number")
    }

    /// The number in a line `name number`.
    fn line(&self, file: &str, name: &str) -> u64 {
        let text = self.text(file);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{file} has {name}: {text}")).parse().expect("a number")
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.directory.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The kernel keeps the group for a moment after its last process has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.directory).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The directory in which groups with a limit of memory can be created, and whether it is of version 2.
fn parent() -> Option<(PathBuf, bool)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = |is_named: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            is_named(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if v1.join("memory.limit_in_bytes").exists() {
        let path = own(&|controllers| controllers.split(',').any(|controller| controller == "memory"))?;
        let below = v1.join(path);
        return Some((if below.is_dir() { below } else { v1.into() }, false));
    }
    // Version 2: a group with processes of its own has no groups with limits, except the one at the mount point.
    let root = Path::new("/sys/fs/cgroup");
    let has_memory = |file: &str| fs::read_to_string(root.join(file)).is_ok_and(|text| text.contains("memory"));
    if !has_memory("cgroup.subtree_control") {
        fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
    }
    has_memory("cgroup.subtree_control").then(|| (root.to_path_buf(), true))
}
