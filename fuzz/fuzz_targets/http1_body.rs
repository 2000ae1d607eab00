//! Runs `cortex_core_fuzz::http1_body` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::http1_body::run(data));
