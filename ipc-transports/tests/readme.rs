//! The two programs in the README are the two examples, and they do what it says.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo builds the examples of a package next to its tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows itself");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/readme-…");
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: build it with cargo build -p ipc-transports --examples",
        path.display()
    );
    path
}

#[track_caller]
fn shows(name: &str, prints: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("../README.md")).expect("README.md");
    let source = std::fs::read_to_string(root.join(format!("examples/{name}.rs"))).expect("the example");
    assert!(readme.contains(source.trim()), "README.md does not show examples/{name}.rs as it is");
    let output = Command::new(example(name)).output().expect("the example runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), prints);
}

#[test]
fn hello_prints_what_the_other_process_sent() {
    shows("hello", "hello from the other process");
}

#[test]
fn zero_copy_lends_a_megabyte_across_processes() {
    shows("zero_copy", "1048576 bytes, all sevens: true");
}
