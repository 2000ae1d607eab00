//! A peer: its processes, pinned to the core of the server, and its files.

use crate::support::bare_loop::BareLoop;
use crate::support::server::{Process, TemporaryDirectory, process_cpu_time, spawn_on};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Python takes seconds on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running peer; its processes are stopped, and its files are removed, on drop.
pub struct Peer {
    pub address: SocketAddr,
    // Fields are dropped in this order: the processes end before their files are removed.
    processes: Vec<Process>,
    /// The server behind a proxy.
    origin: Option<BareLoop>,
    directory: TemporaryDirectory,
}

impl Peer {
    /// A peer without processes, which will listen on a free port.
    pub fn new(directory: TemporaryDirectory) -> Result<Peer, String> {
        Ok(Peer { address: free_address()?, processes: Vec::new(), origin: None, directory })
    }

    /// Its directory, which is empty at first.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// Writes a file into its directory.
    pub fn write(&self, name: &str, content: &str) -> Result<(), String> {
        let path = self.directory().join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Keeps the server behind it running.
    pub fn keep_origin(&mut self, origin: BareLoop) {
        self.origin = Some(origin);
    }

    /// Starts a process in its directory. What it prints goes to a file.
    pub fn start(&mut self, command: &mut Command, core: Option<usize>) -> Result<(), String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error: std::io::Error| format!("cannot start {program}: {error}");
        let log = File::options().create(true).append(true).open(self.log_path()).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        command.current_dir(self.directory()).stdin(Stdio::null()).stdout(log).stderr(errors);
        self.processes.push(Process(spawn_on(command, core).map_err(failed)?));
        Ok(())
    }

    /// Waits until it accepts connections at all `addresses`.
    pub fn wait_for(&mut self, addresses: &[SocketAddr]) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        for address in addresses {
            while TcpStream::connect(address).is_err() {
                let ended = self.processes.iter_mut().any(|process| !matches!(process.0.try_wait(), Ok(None)));
                if ended || Instant::now() > deadline {
                    return Err(format!("nothing listens on {address}: {}", self.log()));
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// What its processes printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory().join("log")
    }

    /// Processor time of its processes and their children so far, in user space and in the kernel.
    pub fn cpu_time(&self) -> Duration {
        self.processes.iter().map(|process| tree_cpu_time(process.0.id())).sum()
    }
}

/// Processor time of a process and all that it started.
fn tree_cpu_time(id: u32) -> Duration {
    let own = process_cpu_time(id).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let children: Vec<u32> = children.flat_map(|ids| numbers(&ids)).collect();
    own + children.into_iter().map(tree_cpu_time).sum::<Duration>()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// A loopback address that is free now.
pub fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}
