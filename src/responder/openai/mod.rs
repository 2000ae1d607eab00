//! The protocol of OpenAI-compatible `/chat/completions`, as servers really speak it: requests to bytes, bytes to text.

mod error;
mod request;
mod stream;

pub(crate) use error::{error_response, rejects_token_counts};
pub use request::request_body;
pub use stream::AnswerPieces;
pub(crate) use stream::{AnswerReader, ReadProgress};

#[cfg(test)]
mod tests;
