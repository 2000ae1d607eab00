//! `config check`: what the settings come to.

use super::{Failure, no_more, say, settings};

pub(super) fn check(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    no_more(parser)?;
    say(&format!("{:#?}\n", settings()?));
    Ok(())
}
