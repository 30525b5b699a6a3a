//! `docs/transports.md` and `docs/wire-formats.md` say what the tests and the code say.

use std::path::PathBuf;

use ipc_transports::frame::{self, Check, Framing};
use ipc_transports::hello::{HELLO_LEN, Hello, MAGIC, PROTOCOL};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Everything between back-quotes that has the form `group::name` of a known group.
fn names_in(text: &str) -> Vec<&str> {
    let groups =
        ["messages", "waiting", "ending", "death", "loans", "peeking", "polling", "listening", "alone"];
    let is_sentence = |word: &&str| {
        word.split_once("::").is_some_and(|(group, name)| groups.contains(&group) && !name.contains(':'))
    };
    text.split('`').skip(1).step_by(2).filter(is_sentence).collect()
}

#[test]
fn every_sentence_of_the_contract_is_documented_and_every_documented_one_exists() {
    let text = read("docs/transports.md");
    let mut sentences: Vec<String> = ipc_tests::names!(
        always half_close death loan peek pollable pollable_death listening listening_processes
    )
    .into_iter()
    .map(str::to_owned)
    .collect();
    let checks = ipc_tests::alone::checks::<ipc_transports::Uds>();
    sentences.extend(checks.iter().map(|(name, _)| format!("alone::{name}")));
    sentences.retain(|name| name != "alone::ping_pong");
    let documented = names_in(&text);
    for name in &sentences {
        assert!(documented.contains(&name.as_str()), "docs/transports.md lacks {name}");
    }
    for name in documented {
        assert!(
            sentences.iter().any(|known| known == name),
            "docs/transports.md tells of {name}, which is no test"
        );
    }
}

#[test]
fn every_scheme_has_its_row() {
    let text = read("docs/transports.md");
    for scheme in ipc_transports::SCHEMES {
        assert!(text.contains(&format!("| `{scheme}` |")), "docs/transports.md has no row for {scheme}");
    }
}

/// The first text block of a module's documentation.
fn picture(path: &str) -> String {
    let source = read(path);
    let lines = source.lines().skip_while(|line| *line != "//! ```text").skip(1);
    let picture: Vec<&str> = lines
        .take_while(|line| *line != "//! ```")
        .map(|line| line.strip_prefix("//! ").or(line.strip_prefix("//!")).expect("a doc line"))
        .collect();
    assert!(!picture.is_empty(), "{path} has no picture");
    picture.join("\n")
}

#[test]
fn the_pictures_are_those_of_the_code() {
    let text = read("docs/wire-formats.md");
    for path in [
        "ipc-core/src/hello.rs",
        "ipc-core/src/frame.rs",
        "ipc-transports/src/token.rs",
        "ipc-transports/src/backing.rs",
        "ipc-transports/src/ring.rs",
        "ipc-transports/src/bell.rs",
        "ipc-transports/src/slot.rs",
    ] {
        let picture = format!("```text\n{}\n```", picture(path));
        assert!(
            text.contains(&picture),
            "docs/wire-formats.md lacks the picture of {path} as it is now:\n{picture}"
        );
    }
}

#[test]
fn the_hello_has_the_documented_offsets() {
    let hello = Hello {
        flags: 1,
        layout: 2,
        max_message: 3,
        capacity: 4,
        fingerprint: 5,
        nonce: 6,
        cpus: 7,
        first_cpu: 8,
    };
    let bytes = hello.encode();
    // The offsets of the picture's first line, in the order of its fields.
    let picture = picture("ipc-core/src/hello.rs");
    let offsets: Vec<usize> =
        picture.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    assert_eq!(offsets, [0, 8, 12, 16, 24, 32, 40, 48, 56, 60]);
    assert_eq!(bytes.len(), HELLO_LEN);
    assert_eq!(bytes[..8], MAGIC);
    assert_eq!(bytes[8..12], PROTOCOL.to_le_bytes());
    for (value, at) in (1..).zip(&offsets[2..]) {
        assert_eq!(bytes[*at], value, "the field at offset {at}");
    }
}

#[test]
fn the_frame_has_the_documented_parts() {
    let framing = Framing { max_message: 10, check: Check::Crc };
    assert_eq!(framing.header(7).expect("7 fit"), 7u32.to_le_bytes());
    assert_eq!((frame::HEADER_LEN, framing.overhead()), (4, 8));
    assert_eq!(frame::GOODBYE, [0xFF; 4]);
}
