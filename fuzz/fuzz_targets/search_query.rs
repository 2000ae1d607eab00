//! Runs `cortex_core_fuzz::search_query` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::search_query::run(data));
