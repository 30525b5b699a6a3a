//! Values that are encoded, carried and decoded.

mod common;

use common::{Place, assert_refused};

#[cfg(feature = "codecs")]
#[test]
fn every_codec_is_measured_alone_and_over_a_transport() {
    use common::{document, stderr};

    let place = Place::new();
    let cells = |line: &str| {
        let output = place.measure(&format!("{line} --mode codec --trials 1 -n 3 --json=-"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        document(&output)["cells"].as_array().unwrap().clone()
    };
    // Large values take a codec seconds in a program that is not optimised: not each with each.
    let mut all = cells("-t uds -s 64,1K --io sync,async");
    assert_eq!(all.len(), 2 * 2 * 9);
    all.extend(cells("-t shm --io async --codec raw,json+lz4,postcard,rkyv"));
    let ok: Vec<_> = all.iter().filter(|cell| cell["status"] == "ok").collect();
    // Raw bytes have no form of a nested document.
    assert_eq!((ok.len(), all.len()), (2 * (2 * 9 - 1) + 4 * 4 - 1, 2 * 2 * 9 + 4 * 4));
    for cell in ok {
        let measures = &cell["trials"][0]["measures"];
        let measure = |name: &str| measures[name].as_f64().unwrap();
        let parts = ["encode_ns", "decode_ns", "transport_ns"].map(measure);
        let whole = measure("end_to_end_ns");
        let all = [parts[2], whole, measure("encoded_bytes"), measure("clock_reading_ns")];
        assert!(all.iter().all(|figure| *figure > 0.0), "{}: {measures}", cell["id"]);
        // Copying 64 bytes may take no longer than what is taken off for the clock.
        assert!(cell["codec"] == "raw" || (parts[0] > 0.0 && parts[1] > 0.0), "{}: {measures}", cell["id"]);
        // Told of these figures and no others; the file has six digits of each.
        let ratio = measure("parts_to_end_to_end_ratio");
        assert!(
            (ratio / (parts.iter().sum::<f64>() / whole) - 1.0).abs() < 1e-4,
            "{}: {measures}",
            cell["id"]
        );
        assert_eq!(cell["trials"][0]["messages"], 3, "{}", cell["id"]);
    }
    assert!(all.iter().any(|cell| cell["id"] == "uds/codec/64/codec=bincode-unmaintained"));
}

#[cfg(not(feature = "codecs"))]
#[test]
fn a_program_without_codecs_says_how_to_build_one_with_them() {
    let place = Place::new();
    let output = place.measure("-t uds --mode codec --codec json");
    assert_refused(&output, 2, ["built without codecs", "no C compiler", "--features codecs"]);
}

#[test]
fn an_unknown_codec_is_answered_with_the_list() {
    let place = Place::new();
    let output = place.measure("-t uds --mode codec --codec xml");
    assert_refused(&output, 2, ["--codec xml", "json+zstd", "command line"]);
}
