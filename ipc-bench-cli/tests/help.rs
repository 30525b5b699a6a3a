//! The help is a contract: other programs parse the flags, and `cargo xtask tidy` reads these snapshots to hold every
//! flag that the docs name to them.

use std::process::Command;

fn help(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ipc-bench"))
        .args(args)
        .arg("--help")
        .env_remove("IPC_BENCH_DIR")
        .output()
        .expect("ipc-bench starts");
    assert!(output.status.success(), "{args:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_help_lists_the_commands() {
    insta::assert_snapshot!("help", help(&[]));
}

#[test]
fn the_help_of_run_lists_its_flags() {
    insta::assert_snapshot!("help_run", help(&["run"]));
}

#[test]
fn the_help_of_list_lists_its_subjects() {
    insta::assert_snapshot!("help_list", help(&["list"]));
}
