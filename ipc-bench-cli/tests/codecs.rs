//! Values that are encoded, carried and decoded.

mod common;

use common::{Place, assert_refused};

#[cfg(feature = "codecs")]
#[test]
fn every_codec_is_measured_alone_and_over_a_transport() {
    use common::{document, stderr};

    let place = Place::new();
    let output = place.measure("-t uds,shm --mode codec --io sync,async --trials 1 -n 3 --json=-");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = document(&output);
    let cells = document["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2 * 2 * 4 * 9);
    let ok: Vec<_> = cells.iter().filter(|cell| cell["status"] == "ok").collect();
    // Raw bytes have no form of a nested document.
    assert_eq!(ok.len(), 2 * 2 * (4 * 9 - 1), "{:?}", document["error"]);
    for cell in ok {
        let measures = &cell["trials"][0]["measures"];
        for name in ["encode_ns", "decode_ns", "transport_ns", "end_to_end_ns", "encoded_bytes"] {
            assert!(measures[name].as_f64().unwrap() > 0.0, "{}: {name}", cell["id"]);
        }
        assert_eq!(cell["trials"][0]["messages"], 3, "{}", cell["id"]);
    }
    assert!(cells.iter().any(|cell| cell["id"] == "uds/codec/64/codec=bincode-unmaintained"));
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
