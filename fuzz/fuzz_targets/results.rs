#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ipc_results::from_json(&String::from_utf8_lossy(data));
});
