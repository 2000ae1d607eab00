//! The formats, without the program: requests, tokens, the description of the API, the inputs of the fuzz targets, and
//! the responses of an upstream, which a stand-in sends over a real socket.

mod fuzz_corpus;
mod http1;
mod jws;
mod jwt;
mod openapi;
mod upstream;
