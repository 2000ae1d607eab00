//! The program on a disk that fails and on a disk that loses power.
//!
//! `shim.c` stands between the program and its database: it makes syncs and writes fail, and records what is durable
//! after a power cut, which is less than the files show. `DISK_SEED=N` repeats a run's choices.

mod clock;
mod corrupt;
mod descriptors;
mod displaced;
mod faults;
mod file_size;
mod power;
mod shim;

/// Why most of these tests do not run on PostgreSQL.
const ABOUT_A_FILE: &str = "the disk has the database file";
