//! Runs `cortex_core_fuzz::sse_roundtrip` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::sse_roundtrip::run(data));
