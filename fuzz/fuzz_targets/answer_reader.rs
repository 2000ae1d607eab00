//! Runs `cortex_core_fuzz::answer_reader` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::answer_reader::run(data));
