//! A file system for SQLite that stands between it and real files: it records each call in a model of a disk, and makes calls
//! fail. It is the default of the process, and leaves alone all files outside its directories.

use super::model::Disk;
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock};

/// A mistake that a test plants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// Commits are acknowledged before the log is synced.
    AcknowledgesEarly,
    /// Nothing is synced.
    NeverSyncs,
    /// The disk reports a sync of the log, and does nothing.
    LosesSyncs,
    /// A sync that has failed is repeated until it succeeds.
    RepeatsSyncs,
}

/// The error of calls that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    Input,
    Full,
}

/// A call that changes what is on the disk.
#[derive(Debug, Clone)]
pub enum DiskCall {
    Create(Arc<str>),
    Write { name: Arc<str>, at: usize, bytes: Arc<[u8]> },
    Resize(Arc<str>, usize),
    Sync(Arc<str>),
    Remove(Arc<str>, bool),
}

impl DiskCall {
    pub fn apply(&self, disk: &mut Disk) {
        match self {
            DiskCall::Create(name) => disk.create(name),
            DiskCall::Write { name, at, bytes } => disk.write(name, *at, bytes),
            DiskCall::Resize(name, bytes) => disk.resize(name, *bytes),
            DiskCall::Sync(name) => disk.sync(name),
            DiskCall::Remove(name, is_synced) => disk.remove(name, *is_synced),
        }
    }
}

/// A disk with its faults.
pub struct Device {
    pub disk: Disk,
    pub planted: Planted,
    /// The number of writes, resizes and syncs so far.
    pub calls: u64,
    /// The numbers of the calls that fail, and how.
    pub failing: Range<u64>,
    pub failure: Failure,
    /// Whether all syncs of the process fail.
    pub fails_syncs: bool,
    /// The number of the call during which the power is cut.
    pub cut_at: Option<u64>,
    /// Whether nothing works any more: the power is off, or the process has ended.
    pub is_off: bool,
    /// The number of calls that have failed.
    pub failed: u64,
    /// The number of failed syncs of the database.
    pub failed_database_syncs: u64,
    /// The calls, if they are recorded.
    pub recorded: Option<Vec<DiskCall>>,
}

/// What becomes of a call.
enum Fate {
    Succeeds,
    Fails,
    /// The power is cut during it.
    Cut,
    Off,
}

impl Device {
    /// A device without faults.
    pub fn new(disk: Disk, planted: Planted) -> Device {
        Device {
            disk,
            planted,
            calls: 0,
            failing: 0..0,
            failure: Failure::Input,
            fails_syncs: false,
            cut_at: None,
            is_off: false,
            failed: 0,
            failed_database_syncs: 0,
            recorded: None,
        }
    }

    fn fate(&mut self) -> Fate {
        if self.is_off {
            return Fate::Off;
        }
        let call = self.calls;
        self.calls += 1;
        if self.cut_at == Some(call) {
            self.is_off = true;
            return Fate::Cut;
        }
        if self.failing.contains(&call) {
            self.failed += 1;
            return Fate::Fails;
        }
        Fate::Succeeds
    }

    fn call(&mut self, call: DiskCall) {
        call.apply(&mut self.disk);
        if let Some(recorded) = &mut self.recorded {
            recorded.push(call);
        }
    }

    /// Returns the number of bytes that are written, and the error.
    fn write(&mut self, name: &Arc<str>, at: usize, bytes: &[u8]) -> (usize, c_int) {
        let error = match (self.fate(), self.failure) {
            (Fate::Succeeds, _) => ffi::SQLITE_OK,
            (Fate::Fails, Failure::Full) => ffi::SQLITE_FULL,
            (Fate::Fails, Failure::Input) => ffi::SQLITE_IOERR_WRITE,
            (Fate::Cut, _) => {
                self.call(DiskCall::Write { name: Arc::clone(name), at, bytes: bytes.into() });
                return (0, ffi::SQLITE_IOERR_WRITE);
            }
            (Fate::Off, _) => return (0, ffi::SQLITE_IOERR_WRITE),
        };
        let written = if error == ffi::SQLITE_OK { bytes } else { &bytes[..bytes.len() / 2] };
        if !written.is_empty() {
            self.call(DiskCall::Write { name: Arc::clone(name), at, bytes: written.into() });
        }
        (written.len(), error)
    }

    fn resize(&mut self, name: &Arc<str>, bytes: usize) -> c_int {
        match self.fate() {
            Fate::Succeeds => self.call(DiskCall::Resize(Arc::clone(name), bytes)),
            _ => return ffi::SQLITE_IOERR_TRUNCATE,
        }
        ffi::SQLITE_OK
    }

    fn sync(&mut self, name: &Arc<str>) -> c_int {
        let fate = match self.fate() {
            Fate::Succeeds if self.fails_syncs => {
                self.failed += 1;
                Fate::Fails
            }
            fate => fate,
        };
        match fate {
            Fate::Succeeds if self.planted == Planted::LosesSyncs && name.ends_with("-wal") => {}
            Fate::Succeeds => self.call(DiskCall::Sync(Arc::clone(name))),
            Fate::Fails => {
                self.disk.fail_sync(name);
                if self.planted == Planted::RepeatsSyncs {
                    self.call(DiskCall::Sync(Arc::clone(name)));
                    return ffi::SQLITE_OK;
                }
                if name.ends_with(".db") {
                    self.failed_database_syncs += 1;
                }
                return ffi::SQLITE_IOERR_FSYNC;
            }
            Fate::Cut | Fate::Off => return ffi::SQLITE_IOERR_FSYNC,
        }
        ffi::SQLITE_OK
    }
}

pub type SharedDevice = Arc<Mutex<Device>>;

pub fn locked(device: &SharedDevice) -> MutexGuard<'_, Device> {
    device.lock().expect("no panic holds it")
}

static DEVICES: Mutex<BTreeMap<PathBuf, SharedDevice>> = Mutex::new(BTreeMap::new());

/// Puts a device under all files of a directory that SQLite opens from now on.
pub fn mount(directory: &Path, device: SharedDevice) {
    register();
    DEVICES.lock().expect("no panic holds it").insert(directory.into(), device);
}

pub fn unmount(directory: &Path) {
    DEVICES.lock().expect("no panic holds it").remove(directory);
}

/// The device of a file, and the file's name there.
fn device_of(path: *const c_char) -> Option<(SharedDevice, Arc<str>)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite passes a path that ends with a zero.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    let device = DEVICES.lock().expect("no panic holds it").get(path.parent()?).cloned()?;
    Some((device, path.file_name()?.to_str()?.into()))
}

/// SQLite's own file system.
struct Unix(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite's file system may be used by all threads.
unsafe impl Send for Unix {}
// SAFETY: as above.
unsafe impl Sync for Unix {}

static UNIX: OnceLock<Unix> = OnceLock::new();

fn unix() -> *mut ffi::sqlite3_vfs {
    UNIX.get().expect("it is registered").0
}

/// An open file. SQLite's own file follows in memory.
#[repr(C)]
struct OpenFile {
    methods: *const ffi::sqlite3_io_methods,
    shared: *mut OpenedOn,
}

struct OpenedOn {
    device: SharedDevice,
    name: Arc<str>,
}

fn register() {
    static ONCE: Once = Once::new();
    // SAFETY: both file systems are valid for the whole process.
    ONCE.call_once(|| unsafe {
        let unix = ffi::sqlite3_vfs_find(std::ptr::null());
        assert!(!unix.is_null(), "SQLite has a file system");
        UNIX.get_or_init(|| Unix(unix));
        let mut recording = *unix;
        recording.zName = c"recording".as_ptr();
        recording.pNext = std::ptr::null_mut();
        recording.szOsFile += size_of::<OpenFile>() as c_int;
        recording.xOpen = Some(open);
        recording.xDelete = Some(delete);
        let status = ffi::sqlite3_vfs_register(Box::leak(Box::new(recording)), 1);
        assert_eq!(status, ffi::SQLITE_OK);
    });
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite passes memory of `szOsFile` bytes, of which its own file needs all but those of `OpenFile`.
    unsafe {
        let real_open = (*unix()).xOpen.expect("a method");
        let Some((device, name)) = device_of(path) else { return real_open(unix(), path, file, flags, out) };
        (*file).pMethods = std::ptr::null();
        if locked(&device).is_off {
            return ffi::SQLITE_CANTOPEN;
        }
        let status = real_open(unix(), path, inner(file), flags, out);
        if status == ffi::SQLITE_OK {
            locked(&device).call(DiskCall::Create(Arc::clone(&name)));
            let file = file.cast::<OpenFile>();
            (*file).methods = &raw const METHODS;
            (*file).shared = Box::into_raw(Box::new(OpenedOn { device, name }));
        }
        status
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, syncs_directory: c_int) -> c_int {
    let found = device_of(path);
    if let Some((device, _)) = &found
        && locked(device).is_off
    {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: SQLite passes a path.
    let status = unsafe { (*unix()).xDelete.expect("a method")(unix(), path, syncs_directory) };
    if let Some((device, name)) = found
        && status == ffi::SQLITE_OK
    {
        locked(&device).call(DiskCall::Remove(name, syncs_directory != 0));
    }
    status
}

/// SQLite's own file of an open file.
///
/// # Safety
/// `file` is memory that SQLite passed to `open`.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: it follows.
    unsafe { file.cast::<OpenFile>().add(1).cast() }
}

/// # Safety
/// `open` has returned success for `file`, which is not closed.
unsafe fn opened<'f>(file: *mut ffi::sqlite3_file) -> &'f OpenedOn {
    // SAFETY: `open` has set it.
    unsafe { &*(*file.cast::<OpenFile>()).shared }
}

/// Calls a method of SQLite's own file.
macro_rules! pass_on {
    ($method:ident, $file:expr $(, $argument:expr)*) => {
        // SAFETY: SQLite passes a file that is open, and its own file has all methods of version 2.
        unsafe { (*(*inner($file)).pMethods).$method.expect("a method")(inner($file) $(, $argument)*) }
    };
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let status = pass_on!(xClose, file);
    // SAFETY: SQLite closes an open file once.
    unsafe { drop(Box::from_raw((*file.cast::<OpenFile>()).shared)) };
    status
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: the file is open.
    if locked(&unsafe { opened(file) }.device).is_off {
        return ffi::SQLITE_IOERR_READ;
    }
    pass_on!(xRead, file, to, bytes, at)
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: the file is open, and SQLite passes this many bytes.
    let (opened, content) = unsafe { (opened(file), std::slice::from_raw_parts(from.cast(), bytes as usize)) };
    let (written, error) = locked(&opened.device).write(&opened.name, at as usize, content);
    if written > 0 {
        let status = pass_on!(xWrite, file, from, written as c_int, at);
        assert_eq!(status, ffi::SQLITE_OK, "the real file can be written");
    }
    error
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    // SAFETY: the file is open.
    let opened = unsafe { opened(file) };
    match locked(&opened.device).resize(&opened.name, bytes as usize) {
        ffi::SQLITE_OK => pass_on!(xTruncate, file, bytes),
        error => error,
    }
}

/// The real file need not be synced: it is as temporary as the process.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let opened = unsafe { opened(file) };
    locked(&opened.device).sync(&opened.name)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    pass_on!(xFileSize, file, size)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass_on!(xLock, file, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass_on!(xUnlock, file, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    pass_on!(xCheckReservedLock, file, out)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    pass_on!(xFileControl, file, what, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass_on!(xSectorSize, file)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass_on!(xDeviceCharacteristics, file)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    part: c_int,
    bytes: c_int,
    extends: c_int,
    out: *mut *mut c_void,
) -> c_int {
    pass_on!(xShmMap, file, part, bytes, extends, out)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    pass_on!(xShmLock, file, first, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    pass_on!(xShmBarrier, file);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, deletes: c_int) -> c_int {
    pass_on!(xShmUnmap, file, deletes)
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
