//! The configuration reference is what the program says of its settings.

#![allow(clippy::unwrap_used, reason = "clippy knows only the tests themselves, not their helpers")]

mod common;

use std::path::Path;

use common::{Place, document};

/// docs/configuration.md between its two marks.
fn table(place: &Place) -> String {
    let settings = document(&place.run("list settings --json=-"));
    let mut text =
        String::from("| Flag and key | Variable | Value | Default | What it says |\n|---|---|---|---|---|\n");
    for setting in settings.as_array().unwrap() {
        let word = |name: &str| setting[name].as_str().unwrap_or_default().replace('|', "\\|");
        let (name, help) = (word("name"), word("help"));
        assert!(!help.is_empty() && !word("value").is_empty(), "--{name} says nothing of itself");
        let default = match &*word("default") {
            "" => "–".to_owned(),
            default => format!("`{default}`"),
        };
        text +=
            &format!("| `{name}` | `{}` | `{}` | {default} | {help} |\n", word("variable"), word("value"));
    }
    text
}

#[test]
fn the_configuration_reference_is_what_the_program_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- settings: generated -->\n", "<!-- settings: end -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let wanted = format!("{before}{begin}\n{}\n{end}{after}", table(&Place::new()));
    if std::env::var_os("UPDATE_CONFIGURATION").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/configuration.md is out of date; run: UPDATE_CONFIGURATION=1 cargo test -p ipc-bench-cli --test configuration"
    );
}
