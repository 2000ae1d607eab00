//! The store with its real SQL, in files and in memory.

mod access;
mod answers;
mod common;
mod journal;
mod pages;
mod wal;
mod writer;
