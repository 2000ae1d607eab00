//! `config check`: what the settings come to.

use super::{Failure, no_more, settings};

pub(super) fn check(parser: &mut lexopt::Parser) -> Result<(), Failure> {
    no_more(parser)?;
    println!("{:#?}", settings()?);
    Ok(())
}
