//! A model of a disk: what it has for sure, and what may have reached it.

use cortex_core::internals::Random;
use cortex_core::internals::random::mix;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit that a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;
/// The unit in which a kernel knows what it has not written yet, in bytes.
const PAGE: usize = 4096;

/// The files of a disk by name.
pub type Image = BTreeMap<Arc<str>, Vec<u8>>;

/// What of the changes that were not synced is on a disk after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    Nothing,
    /// What a killed process leaves.
    Everything,
    /// Everything but the end of the last write.
    TornWrite,
    /// Of each sector, any of the states that it had since it was synced.
    AnySectors,
}

/// What a disk has, and what may have reached it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<Arc<str>, File>,
    /// The file that was written last.
    last_written: Option<Arc<str>>,
}

#[derive(Debug, Clone, Default)]
struct File {
    exists: bool,
    /// Whether the name is on disk.
    has_name: bool,
    bytes: usize,
    /// What is on disk for sure.
    synced: Vec<u8>,
    /// Changes that are written by the next sync, in order.
    changes: Vec<Change>,
    /// Changes that a failed sync has left, each within one page. As on Linux, these pages count as clean, and a later sync does
    /// not write them unless they are changed again.
    dropped: Vec<Change>,
    /// The file that had the name before, whose removal is not on disk for sure.
    before: Option<Box<File>>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Arc<[u8]> },
    Resize(usize),
}

impl Disk {
    /// A disk that has these files for sure.
    pub fn of(image: &Image) -> Disk {
        let file = |bytes: &Vec<u8>| File {
            exists: true,
            has_name: true,
            bytes: bytes.len(),
            synced: bytes.clone(),
            ..File::default()
        };
        let files = image.iter().map(|(name, bytes)| (Arc::clone(name), file(bytes))).collect();
        Disk { files, last_written: None }
    }

    fn file(&mut self, name: &Arc<str>) -> &mut File {
        self.files.entry(Arc::clone(name)).or_default()
    }

    /// Creates a file, if there is none of the name.
    pub fn create(&mut self, name: &Arc<str>) {
        self.file(name).exists = true;
    }

    pub fn write(&mut self, name: &Arc<str>, at: usize, bytes: &[u8]) {
        self.last_written = Some(Arc::clone(name));
        let file = self.file(name);
        file.change_again(at..at + bytes.len());
        file.changes.push(Change::Write { at, bytes: bytes.into() });
        file.bytes = file.bytes.max(at + bytes.len());
    }

    pub fn resize(&mut self, name: &Arc<str>, bytes: usize) {
        let file = self.file(name);
        file.change_again(bytes..usize::MAX);
        file.changes.push(Change::Resize(bytes));
        file.bytes = bytes;
    }

    pub fn sync(&mut self, name: &Arc<str>) {
        let file = self.file(name);
        let mut synced = std::mem::take(&mut file.synced);
        let changes = std::mem::take(&mut file.changes);
        changes.iter().for_each(|change| change.apply(&mut synced, |_| true));
        synced.resize(file.bytes, 0);
        file.synced = synced;
        if std::mem::replace(&mut file.has_name, true) || name.ends_with(".db") {
            return;
        }
        // SQLite syncs the directory with a new log or journal.
        self.files.retain(|_, file| file.exists);
        for file in self.files.values_mut() {
            (file.has_name, file.before) = (true, None);
        }
    }

    /// A sync fails: each change may be on disk or not, and the next sync does not write it.
    pub fn fail_sync(&mut self, name: &Arc<str>) {
        let file = self.file(name);
        for change in std::mem::take(&mut file.changes) {
            match change {
                Change::Write { at, bytes } => {
                    let parts = pieces(at, bytes.len(), PAGE);
                    file.dropped.extend(
                        parts.map(|(from, to)| Change::Write { at: from, bytes: bytes[from - at..to - at].into() }),
                    );
                }
                // The size is the file system's own matter.
                Change::Resize(_) => file.changes.push(change),
            }
        }
    }

    /// Removes a file, and syncs the directory if `is_synced`.
    pub fn remove(&mut self, name: &Arc<str>, is_synced: bool) {
        let mut removed = self.files.remove(name).unwrap_or_default();
        if is_synced {
            return;
        }
        let before = if removed.has_name { Some(Box::new(removed)) } else { removed.before.take() };
        self.files.insert(Arc::clone(name), File { before, ..File::default() });
    }

    /// What is on the disk after a power cut.
    pub fn image(&self, survival: Survival, random: &mut Random) -> Image {
        let mut image = Image::new();
        for (name, file) in &self.files {
            let is_last = self.last_written.as_ref() == Some(name);
            let survival = if survival == Survival::TornWrite && !is_last { Survival::Everything } else { survival };
            let perhaps = |certainly: bool, random: &mut Random| match survival {
                Survival::AnySectors => random.below(2) == 0,
                _ => certainly,
            };
            if file.exists && (file.has_name || perhaps(survival != Survival::Nothing, random)) {
                image.insert(Arc::clone(name), file.content(survival, random));
            } else if let Some(before) = &file.before
                && perhaps(survival == Survival::Nothing, random)
            {
                image.insert(Arc::clone(name), before.content(survival, random));
            }
        }
        image
    }
}

impl File {
    /// Pages that are changed again are written whole by the next sync.
    fn change_again(&mut self, range: std::ops::Range<usize>) {
        let pages = range.start / PAGE..=(range.end - 1) / PAGE;
        let is_again = |change: &Change| matches!(change, Change::Write { at, .. } if pages.contains(&(at / PAGE)));
        let (again, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut self.dropped).into_iter().partition(is_again);
        self.dropped = dropped;
        self.changes.extend(again);
    }

    fn content(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        let changes: Vec<&Change> = self.dropped.iter().chain(&self.changes).collect();
        let all = changes.len();
        let torn_at = match changes.last() {
            Some(Change::Write { at, bytes }) => at / SECTOR + random.below((bytes.len() / SECTOR + 1) as u64) as usize,
            _ => usize::MAX,
        };
        let (seed, favour) = (random.next_u64(), random.below(9));
        // The number of changes that have reached a sector, in order.
        let reached = |sector: usize| match survival {
            Survival::Nothing => 0,
            Survival::Everything => all,
            Survival::TornWrite => all - usize::from(sector >= torn_at && all > 0),
            Survival::AnySectors => {
                let mut random = Random::new(mix(seed ^ sector as u64));
                match random.below(8) {
                    chance if chance < favour => all,
                    chance if chance % 2 == 0 => 0,
                    _ => random.below(all as u64 + 1) as usize,
                }
            }
        };
        let mut content = self.synced.clone();
        for (number, change) in changes.into_iter().enumerate() {
            change.apply(&mut content, |sector| number < reached(sector));
        }
        // The size may have reached the disk without the bytes.
        if survival == Survival::AnySectors && content.len() < self.bytes && random.below(2) == 0 {
            content.resize(self.bytes, 0);
        }
        content
    }
}

impl Change {
    /// Applies the change to those sectors that it has reached. The size has the number of no sector.
    fn apply(&self, content: &mut Vec<u8>, has_reached: impl Fn(usize) -> bool) {
        match self {
            Change::Write { at, bytes } => {
                for (from, to) in pieces(*at, bytes.len(), SECTOR).filter(|(from, _)| has_reached(from / SECTOR)) {
                    if content.len() < to {
                        content.resize(to, 0);
                    }
                    content[from..to].copy_from_slice(&bytes[from - at..to - at]);
                }
            }
            Change::Resize(bytes) if has_reached(usize::MAX) => content.resize(*bytes, 0),
            Change::Resize(_) => {}
        }
    }
}

/// The pieces of a range that lie within one unit each, as the bounds of each.
fn pieces(at: usize, bytes: usize, unit: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = at + bytes;
    let starts = std::iter::successors(Some(at), move |from| Some((from / unit + 1) * unit));
    starts.take_while(move |from| *from < end).map(move |from| (from, ((from / unit + 1) * unit).min(end)))
}

#[test]
fn a_disk_has_what_was_synced() {
    let (name, mut random) = (Arc::from("a"), Random::new(1));
    let mut disk = Disk::of(&Image::from([(Arc::clone(&name), vec![1; 3 * PAGE])]));
    disk.write(&name, 100, &[2; 5000]);
    let at = |disk: &Disk, survival, place: usize| disk.image(survival, &mut Random::new(1))[&name][place];
    assert_eq!([at(&disk, Survival::Nothing, 200), at(&disk, Survival::Everything, 200)], [1, 2]);
    disk.sync(&name);
    assert_eq!([at(&disk, Survival::Nothing, 200), at(&disk, Survival::Nothing, 5099)], [2, 2]);
    // A page that a failed sync has left is written by a later sync if it is changed again.
    disk.write(&name, 0, &[3; 2 * PAGE]);
    disk.fail_sync(&name);
    disk.write(&name, PAGE + 7, &[4]);
    disk.sync(&name);
    assert_eq!([at(&disk, Survival::Nothing, 0), at(&disk, Survival::Everything, 0)], [1, 3]);
    assert_eq!([at(&disk, Survival::Nothing, PAGE), at(&disk, Survival::Nothing, PAGE + 7)], [3, 4]);
    // Sectors are torn apart, but each is whole.
    disk.write(&name, 0, &[5; 3 * PAGE]);
    let mut torn = 0;
    for _ in 0..100 {
        let content = &disk.image(Survival::AnySectors, &mut random)[&name];
        assert!(content.chunks(SECTOR).all(|sector| sector[SECTOR - 1] == sector[SECTOR - 2]));
        torn += usize::from(content.contains(&5) && content.iter().any(|byte| *byte != 5));
    }
    assert!(torn > 50);
    // A name is on disk after a sync, and its removal after one of the directory.
    let other = Arc::from("b");
    disk.create(&other);
    disk.write(&other, 0, &[1]);
    assert!(!disk.image(Survival::Nothing, &mut random).contains_key(&other));
    disk.sync(&other);
    disk.remove(&other, false);
    assert!(disk.image(Survival::Nothing, &mut random).contains_key(&other));
    assert!(!disk.image(Survival::Everything, &mut random).contains_key(&other));
    let log = Arc::from("a-wal");
    disk.create(&log);
    disk.sync(&log);
    assert!(!disk.image(Survival::Nothing, &mut random).contains_key(&other));
    disk.create(&other);
    disk.remove(&other, true);
    assert!(!disk.image(Survival::Nothing, &mut random).contains_key(&other));
}
