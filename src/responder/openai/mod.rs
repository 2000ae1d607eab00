//! The protocol of OpenAI-compatible `/chat/completions`, as servers really speak it: requests to bytes, bytes to text.

mod chunk;
mod error;
mod passed;
mod request;
mod stream;
mod text;

pub(crate) use error::{error_response, rejects_token_counts};
pub(crate) use request::request_body;
pub use stream::{AnswerPieces, AnswerReader, ReadProgress};

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod tests;
