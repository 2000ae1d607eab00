//! Runs `cortex_core_fuzz::chat_completion` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::chat_completion::run(data));
