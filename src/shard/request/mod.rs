//! Requests: admission by the head alone, execution of a complete request, and the response.

mod admission;
mod complete;
pub(super) mod context;
mod execute;
pub(super) mod finished;
pub(super) mod passing;
pub(super) mod pending;
mod receive;
mod response;
