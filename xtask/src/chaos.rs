//! `cargo xtask chaos [FAULT…]`: builds the program `chaos` of ipc-tests and runs a dose of faults with it.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, ExitCode};

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let root = workspace::root()?;
    // Ten million inputs are a matter of processor time alone; all other faults mostly wait.
    let asks_for = |fault: &str| args.iter().any(|arg| arg == fault);
    let profile = if asks_for("fuzz") && !asks_for("orphans") { "fuzz" } else { "dev" };
    let built = build(&root, profile).status().context("cannot start cargo")?;
    ensure!(built.success(), "the program chaos does not build");
    let mut chaos = program(&root, profile)?;
    if args == ["--page"] {
        chaos.arg("page");
    } else {
        chaos.arg("run");
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

/// What the library has to be built with, for the tests and for the faults: the same, so that it is built once.
pub(crate) const FEATURES: &str = "ipc-tests/fault-points";

const BENCH: &str = "ipc-bench";

/// Cargo, about to build the program with the points at which it can be made to crash, and the one whose runs are killed.
/// Of the whole workspace, as the tests are: a package alone would have its dependencies with other features, and all of
/// them built again.
pub(crate) fn build(root: &Path, profile: &str) -> Command {
    let mut command = Command::new(cargo());
    command
        .args(["build", "--quiet", "--locked", "--workspace", "--bin", "chaos", "--features", FEATURES])
        .args(["--profile", profile])
        .current_dir(root);
    if profile == "dev" {
        command.args(["--bin", BENCH]);
    }
    command
}

/// The program, as built with `profile`.
pub(crate) fn program(root: &Path, profile: &str) -> Result<Command> {
    let directory = if profile == "dev" { "debug" } else { profile };
    let target = workspace::metadata(root)?.target_directory;
    let built = target.join(directory);
    let mut command = Command::new(built.join("chaos"));
    command.current_dir(root);
    if profile == "dev" {
        command.env("IPC_CHAOS_BENCH", built.join(BENCH));
    }
    Ok(command)
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
