//! `cargo xtask sanitize`: tests under the sanitizers of the compiler. They need parts of a nightly toolchain; without them
//! it is said which, and the command ends well: what did not run is not a failure, and not a success either.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Tests that are run together.
pub(crate) struct Suite {
    pub(crate) package: &'static str,
    /// Arguments of `cargo test`, the filter included.
    pub(crate) arguments: &'static [&'static str],
    /// For the line.
    pub(crate) what: &'static str,
}

/// What the address sanitizer (with its leak check) runs: the transports, in one process.
const ADDRESS: &[Suite] = &[
    Suite {
        package: "ipc-core",
        arguments: &["--lib"],
        what: "frames, hellos, addresses, options, messages",
    },
    Suite {
        package: "ipc-transports",
        arguments: &["--lib"],
        what: "every transport, ring, slot and queue, and the fuzz harnesses",
    },
];

/// What the thread sanitizer runs: two threads on one mapping. It does not understand fences, only atomics, and sees one
/// process.
const THREAD: &[Suite] = &[
    Suite {
        package: "ipc-transports",
        arguments: &["--lib", "ring::tests"],
        what: "two threads on one ring",
    },
    Suite {
        package: "ipc-transports",
        arguments: &["--lib", "slot::tests"],
        what: "two threads on one slot",
    },
];

pub(crate) fn sanitize(args: Vec<String>) -> Result<ExitCode> {
    let asked: Vec<&str> = args.iter().map(String::as_str).collect();
    let chosen: &[(&str, &[Suite])] = match asked[..] {
        [] => &[("address", ADDRESS), ("thread", THREAD)],
        ["address"] => &[("address", ADDRESS)],
        ["thread"] => &[("thread", THREAD)],
        _ => bail!("usage: cargo xtask sanitize [address|thread]"),
    };
    if let Some(why) = without_nightly().or_else(|| without("rust-src")) {
        return skipped(&why);
    }
    let host = host()?;
    let mut failed = 0;
    for (sanitizer, suites) in chosen {
        for suite in *suites {
            let mut command = nightly();
            // The standard library is built with the sanitizer, too: it knows of no lock or copy it was not built into.
            command.args(["test", "-Zbuild-std", "--target", &host, "--package", suite.package]);
            command.args(suite.arguments);
            command
                .env("RUSTFLAGS", format!("-Zsanitizer={sanitizer}"))
                .env("CARGO_TARGET_DIR", target(&format!("sanitize-{sanitizer}"))?);
            failed += u8::from(!passes(sanitizer, suite, command)?);
        }
    }
    Ok(ExitCode::from(failed))
}

/// Runs the suite and prints its line.
pub(crate) fn passes(tool: &str, suite: &Suite, mut command: Command) -> Result<bool> {
    let started = Instant::now();
    let output = command.current_dir(workspace::root()?).output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find(|line| line.starts_with("test result:")).unwrap_or("no test ran");
    let passed = output.status.success() && told.contains(" passed") && !told.contains(" 0 passed");
    let (mark, seconds) = (if passed { '✓' } else { '✗' }, started.elapsed().as_secs_f64());
    println!("{mark} {tool}: {} ({}): {told} ({seconds:.0} s)", suite.package, suite.what);
    if !passed {
        let errors = String::from_utf8_lossy(&output.stderr);
        for line in text.lines().chain(errors.lines()).filter(|line| !line.ends_with("... ok")) {
            eprintln!("    {line}");
        }
    }
    Ok(passed)
}

pub(crate) fn skipped(why: &str) -> Result<ExitCode> {
    println!("skipped: {why}");
    Ok(ExitCode::SUCCESS)
}

/// Cargo of the nightly toolchain. Cargo passes its own toolchain on to what it starts; that must not win.
pub(crate) fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
}

/// Why there is no nightly toolchain, if there is none.
pub(crate) fn without_nightly() -> Option<String> {
    let works = nightly().arg("--version").output().is_ok_and(|output| output.status.success());
    (!works).then(|| "no nightly toolchain (rustup toolchain install nightly)".to_owned())
}

/// Why `component` of the nightly toolchain is not to be had, if it is not.
pub(crate) fn without(component: &str) -> Option<String> {
    let list = Command::new("rustup").args(["component", "list", "--toolchain", "nightly"]).output();
    let list = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let is_there = list.lines().any(|line| line.starts_with(component) && line.ends_with("(installed)"));
    (!is_there)
        .then(|| format!("nightly has no {component} (rustup component add --toolchain nightly {component})"))
}

/// The triple of this machine, without which cargo would build procedural macros with the sanitizer, too.
fn host() -> Result<String> {
    let output = nightly().args(["--version", "--verbose"]).output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("cargo does not say its host")
}

pub(crate) fn target(name: &str) -> Result<PathBuf> {
    let root = workspace::root()?;
    Ok(workspace::metadata(&root)?.target_directory.into_std_path_buf().join(name))
}
