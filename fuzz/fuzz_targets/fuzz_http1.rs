#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy_buffer::fuzz_http1(data));
