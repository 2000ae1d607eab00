//! Faults and abuse against the real process over real sockets: kills, attacks, floods, misbehaving and stopped
//! clients, random requests, clock jumps, and a long mixed load. After each part, nothing acknowledged is lost, nothing
//! is delivered twice, and the server's resources return to their earlier level.

#[path = "../common/mod.rs"]
mod common;

mod aborts;
mod attacks;
mod clients;
mod clock;
mod floods;
mod history;
mod hostile;
mod idle;
mod kills;
mod readers;
mod requests;
mod scale;
mod sizes;
mod soak;
