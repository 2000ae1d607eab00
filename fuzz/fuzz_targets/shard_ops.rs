//! Runs `cortex_core_fuzz::shard_ops` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cortex_core_fuzz::shard_ops::run(data));
