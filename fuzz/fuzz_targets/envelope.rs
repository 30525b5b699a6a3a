#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ipc_transports::fuzz::envelope(data));
