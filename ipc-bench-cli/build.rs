//! Tells the program which build it is: the result file names the code that was measured.

use std::env;
use std::process::Command;

fn main() {
    for name in ["PROFILE", "TARGET"] {
        pass(name, env::var(name).ok());
    }
    pass("RUSTC_VERSION", output(&env::var("RUSTC").unwrap_or_else(|_| "rustc".into()), &["--version"]));
    pass("GIT", output("git", &["rev-parse", "--short=7", "HEAD"]));
    pass("GIT_DESCRIBE", output("git", &["describe", "--always", "--dirty", "--tags"]));
    pass("GIT_DIRTY", output("git", &["status", "--porcelain"]).map(|lines| (!lines.is_empty()).to_string()));
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let cpu = flags
        .split(['\u{1f}', '='])
        .skip_while(|word| !word.ends_with("target-cpu"))
        .nth(1)
        .map(str::to_owned);
    pass("TARGET_CPU", cpu);
    for path in ["HEAD", "index"] {
        if let Some(path) = output("git", &["rev-parse", "--path-format=absolute", "--git-path", path]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// Sets `IPC_BENCH_name` for the crate; absent where it is not known.
fn pass(name: &str, value: Option<String>) {
    if let Some(value) = value {
        println!("cargo::rustc-env=IPC_BENCH_BUILD_{name}={value}");
    }
}

/// What a command prints, without the last newline; `None` when it cannot be run or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
