//! The protocol of OpenAI-compatible `/chat/completions`, as servers really speak it: requests to bytes, bytes to text.

mod error;
mod request;
mod stream;

pub use error::{error_response, refuses_token_counts};
pub use request::request_body;
pub use stream::{AnswerReader, ReadProgress};

#[cfg(test)]
mod tests;
