//! A server on the faulty disk of `shim.c`.

use crate::common::{Options, Server};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Indices of the 32-bit fields in the control file; `struct control` has the same order.
#[derive(Clone, Copy)]
enum Control {
    SyncErrno,
    SyncPermille,
    WriteErrno,
    WritePermille,
    Random,
    SyncsDone,
    SyncsFailed,
    WritesFailed,
    OpenErrno,
    DatabaseSyncPermille,
    ClockSeconds,
}

const PLACES: usize = 11;

/// The control of a faulty disk.
pub struct Disk {
    control: File,
    control_path: PathBuf,
}

impl Disk {
    /// A disk without faults and a server on it.
    #[track_caller]
    pub fn with_server(seed: u32, options: Options) -> (Disk, Server) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("disk-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let control_path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&control_path, [0; 4 * PLACES]).expect("a file for the disk's control");
        let control = File::options().read(true).write(true).open(&control_path).expect("the control can be opened");
        let disk = Disk { control, control_path };
        disk.set(Control::Random, seed.max(1));
        let options = options.set("LD_PRELOAD", shim().display()).set("DISK_CONTROL", disk.control_path.display());
        let server = Server::start(options);
        (disk, server)
    }

    /// Makes this many of a thousand syncs fail with this error.
    pub fn fail_syncs(&self, errno: i32, permille: u32) {
        self.set(Control::SyncPermille, permille);
        self.set(Control::DatabaseSyncPermille, permille);
        self.set(Control::SyncErrno, errno as u32);
    }

    /// Makes this many of a thousand syncs of the database file, as in a checkpoint, fail with this error.
    pub fn fail_carrying_over(&self, errno: i32, permille: u32) {
        self.set(Control::DatabaseSyncPermille, permille);
        self.set(Control::SyncErrno, errno as u32);
    }

    /// Makes this many of a thousand writes fail with this error after half of the bytes.
    pub fn fail_writes(&self, errno: i32, permille: u32) {
        self.set(Control::WritePermille, permille);
        self.set(Control::WriteErrno, errno as u32);
    }

    /// Makes opening the database's files for writing fail.
    pub fn fail_opens(&self, errno: i32) {
        self.set(Control::OpenErrno, errno as u32);
    }

    /// Makes the wall clock of the server differ from the real one.
    pub fn set_clock(&self, seconds: i32) {
        self.set(Control::ClockSeconds, seconds as u32);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.fail_opens(0);
        self.fail_syncs(0, 0);
        self.fail_writes(0, 0);
    }

    /// The number of successful syncs.
    pub fn syncs_done(&self) -> u32 {
        self.get(Control::SyncsDone)
    }

    /// The number of failed syncs and writes.
    pub fn failures(&self) -> u32 {
        self.get(Control::SyncsFailed) + self.get(Control::WritesFailed)
    }

    /// Kills the server and reverts its files to their durable content.
    #[track_caller]
    pub fn cut_power(&self, server: &mut Server) {
        server.kill();
        let database = server.database();
        for suffix in ["", "-wal"] {
            let file = with_suffix(&database, suffix);
            let durable = with_suffix(&file, ".durable");
            if durable.exists() {
                fs::copy(&durable, &file).expect("what is durable can be copied");
                fs::remove_file(&durable).expect("the copy can be removed");
            }
        }
        // The shared memory of the log does not survive a power cut.
        let _ = fs::remove_file(with_suffix(&database, "-shm"));
    }

    fn set(&self, field: Control, value: u32) {
        self.control.write_all_at(&value.to_ne_bytes(), 4 * field as u64).expect("the control can be written");
    }

    fn get(&self, field: Control) -> u32 {
        let mut bytes = [0; 4];
        self.control.read_exact_at(&mut bytes, 4 * field as u64).expect("the control can be read");
        u32::from_ne_bytes(bytes)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.control_path);
    }
}

/// Appends a suffix to a path.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

/// The library, built once per test run.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/disk/shim.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let status = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("a C compiler is installed");
        assert!(status.success(), "shim.c compiles");
        library
    })
}
