//! Requests: what a head alone decides, what a whole request does, and the response.

mod admission;
mod complete;
mod execute;
mod receive;
mod response;
