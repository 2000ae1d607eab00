//! Runs `cortex_core_fuzz::request_stream` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::request_stream::run(data));
