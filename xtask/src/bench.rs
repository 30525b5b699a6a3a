//! `cargo xtask bench [-- ARGS…]`: build `ipc-bench` the way every published number was built, then become it.

use crate::workspace;
use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use std::convert::Infallible;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let root = workspace::root()?;
    eprintln!("   Building ipc-bench (profile bench)");
    let started = Instant::now();
    let binary = build(&root)?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("    Finished {} in {seconds:.1} s", shown(&binary).display());
    match become_program(&binary, &bench_args(args))? {}
}

/// Builds the program and returns where cargo put it, which `CARGO_TARGET_DIR` and `build.target` may change.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let mut cargo = Command::new(cargo())
        .args(["build", "--profile", "bench", "--package", "ipc-bench-cli", "--bin", "ipc-bench"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let mut binary = None;
    let stdout = cargo.stdout.take().context("cargo has no stdout")?;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message.context("cargo's messages")?
            && artifact.target.name == "ipc-bench"
        {
            binary = artifact.executable.or(binary);
        }
    }
    if !cargo.wait()?.success() {
        bail!("ipc-bench does not build; cargo's messages are above");
    }
    Ok(binary.context("cargo built no binary ipc-bench")?.into())
}

/// What to hand to `ipc-bench`: nothing means `run`, flags alone are flags of `run`, anything else is passed through
/// (an unknown subcommand is for `ipc-bench` to explain). A leading `--` is the separator people type out of habit.
fn bench_args(mut args: Vec<String>) -> Vec<String> {
    if args.first().is_some_and(|first| first == "--") {
        args.remove(0);
    }
    let is_flag_of_run = |first: &String| {
        first.starts_with('-') && !matches!(first.as_str(), "-h" | "--help" | "-V" | "--version")
    };
    if args.first().is_none_or(is_flag_of_run) {
        args.insert(0, "run".into());
    }
    args
}

/// Replaces xtask by the program: exit code, signals and the terminal are then its own, with nothing in between.
fn become_program(binary: &Path, args: &[String]) -> Result<Infallible> {
    let error = Command::new(binary).args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}

/// The cargo that runs us, so that `cargo +toolchain xtask …` stays on its toolchain.
pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A path as the person would type it from where they are.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        bench_args(line.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn no_arguments_mean_run() {
        assert_eq!(args(""), ["run"]);
        assert_eq!(args("--"), ["run"]);
    }

    #[test]
    fn flags_alone_are_flags_of_run() {
        assert_eq!(args("-- -p load"), ["run", "-p", "load"]);
        assert_eq!(args("--json=-"), ["run", "--json=-"]);
    }

    #[test]
    fn a_subcommand_and_requests_for_help_pass_through() {
        assert_eq!(args("-- run -t uds"), ["run", "-t", "uds"]);
        assert_eq!(args("list transports"), ["list", "transports"]);
        assert_eq!(args("-- --help"), ["--help"]);
        assert_eq!(args("--version"), ["--version"]);
    }
}
