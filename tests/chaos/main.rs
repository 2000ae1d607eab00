//! Everything that people and machines do to a server, to the real process over real sockets: kills, attacks, floods, rude
//! and stopped clients, random requests, jumps of the clock, and a long mixed load. After each part nothing acknowledged is
//! lost, nothing is delivered twice, and what the server holds returns to where it was.

#[path = "../common/mod.rs"]
mod common;

mod aborts;
mod attacks;
mod clients;
mod clock;
mod floods;
mod idle;
mod kills;
mod readers;
mod requests;
mod scale;
mod sizes;
mod soak;
