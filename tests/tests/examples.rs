//! Every example runs to its end and says what it should.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::process::Command;

use ipc_tests::watchdog::Watchdog;

/// Runs an example, which cargo builds together with the tests of this package, and checks its last line.
fn says(example: &str, last_line: &str) {
    let _watchdog = Watchdog::over(example);
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples").join(example);
    assert!(program.exists(), "build it first: cargo build -p ipc-tests --examples");
    let output = Command::new(program).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {complained}", output.status);
    assert_eq!(said.lines().last(), Some(last_line), "{said}");
}

macro_rules! examples {
    ($($example:ident says $last_line:literal;)*) => { $(
        #[test]
        fn $example() {
            says(stringify!($example), $last_line);
        }
    )* };
}

examples! {
    request_reply says r#"Err("1 by 0")"#;
    typed says "Thumbnail { width: 64 } with 4096 bytes";
    parent_child says "ENOUGH";
    many_clients says "the sum is 210";
    async_tokio says "repaid";
    async_smol says "repaid";
    mq_priorities says "sweep the floor";
    descriptors says "far side";
    broadcast says "three readers, three headlines each";
}
