//! `cargo xtask chaos [FAULT…]`: builds the program `chaos` of ipc-tests and runs a dose of faults with it.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let root = workspace::root()?;
    let target = target(&root)?;
    let built = build(&root, &target).status().context("cannot start cargo")?;
    ensure!(built.success(), "the program chaos does not build");
    let mut chaos = program(&root, &target);
    if args == ["--page"] {
        chaos.arg("page");
    } else {
        chaos.arg("run");
        if args.iter().any(|arg| arg == "orphans") {
            chaos.env("IPC_CHAOS_BENCH", bench(&root)?);
        }
        for arg in args {
            let is_record = arg == "--record";
            chaos.arg(arg);
            if is_record {
                chaos.arg(commit(&root)?);
            }
        }
    }
    let status = chaos.status().context("cannot start chaos")?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Cargo, about to build the program with the points at which it can be made to crash.
pub(crate) fn build(root: &Path, target: &Path) -> Command {
    let mut command = Command::new(cargo());
    command
        .args(["build", "--quiet", "--locked", "--package", "ipc-tests", "--bin", "chaos"])
        .current_dir(root);
    // A target directory of its own: the flag reaches every crate of the build.
    command.env("RUSTFLAGS", "--cfg fault_points").env("CARGO_TARGET_DIR", target);
    command
}

/// The program whose runs are killed, built as for its tests.
fn bench(root: &Path) -> Result<PathBuf> {
    let built = Command::new(cargo())
        .args(["build", "--quiet", "--locked", "--package", "ipc-bench-cli", "--bin", "ipc-bench"])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    ensure!(built.success(), "the program ipc-bench does not build");
    Ok(workspace::metadata(root)?.target_directory.into_std_path_buf().join("debug/ipc-bench"))
}

/// Where it is built.
pub(crate) fn target(root: &Path) -> Result<PathBuf> {
    Ok(workspace::metadata(root)?.target_directory.into_std_path_buf().join("chaos"))
}

pub(crate) fn program(root: &Path, target: &Path) -> Command {
    let mut command = Command::new(target.join("debug/chaos"));
    command.current_dir(root);
    command
}

/// The commit that is run, with `+` if the tree differs from it.
fn commit(root: &Path) -> Result<String> {
    let git = |args: &[&str]| -> Result<String> {
        let output = Command::new("git").args(args).current_dir(root).output().context("cannot start git")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--", ".", ":!docs"])?;
    Ok(if changes.is_empty() { commit } else { commit + "+" })
}
