#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmm_core::fuzz_queues(data));
