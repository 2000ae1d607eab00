//! Runs `cortex_core_fuzz::wire_json` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::wire_json::run(data));
