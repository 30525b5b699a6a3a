//! Every example runs to its end and says what it should.

use std::process::Command;

/// Runs an example, which cargo builds together with the tests of this package, and checks how its last line begins.
fn says(example: &str, last_line: &str) {
    let tests = std::env::current_exe().expect("a path");
    let target = tests.ancestors().nth(2).expect("target/PROFILE/deps");
    let program = target.join("examples").join(example);
    assert!(program.exists(), "build it first: cargo build -p ipc-actors --examples");
    let output = Command::new(program).output().expect("the example starts");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {complained}", output.status);
    assert!(said.lines().last().is_some_and(|line| line.starts_with(last_line)), "{said}");
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
    basic says "total: 20200";
    worker_pool says "30 of 30 jobs, 110 words";
    ask says "gold: the actor dropped the question without an answer";
    lifecycle says "its name is free: true";
    pipeline says "sum of squares below 1000: 332833500";
    timers says "5 ticks in ";
    dynamic_children says "0 sessions are left";
    supervised_process says "starts in the log: 2";
}
