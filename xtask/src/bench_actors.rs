//! `cargo xtask bench-actors [ARGS…]`: build `peers-actors/` (a workspace of its own, so that rivals never enter our lock
//! file) and measure ipc-actors beside the actor libraries people use today, in one interleaved run.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode};

const FLAGS: &[&str] = &["--trials", "--rows", "--libraries", "--json"];

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let args: Vec<String> = args.into_iter().skip_while(|arg| arg == "--").collect();
    if let Some(unknown) = args.iter().step_by(2).find(|flag| !FLAGS.contains(&flag.as_str())) {
        bail!("unknown argument {unknown}; the flags are {}", FLAGS.join(", "));
    }
    let folder = workspace::root()?.join("peers-actors");
    let target = folder.join("target");
    let built = Command::new(cargo())
        .args(["build", "--profile", "bench", "--locked"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&folder)
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("peers-actors/ does not build; cargo's messages are above");
    }
    let mut run = Command::new(target.join("release/ipc-peers-actors"));
    run.arg("run").args(&args);
    if !args.iter().any(|arg| arg == "--json") {
        let file = target.join("runs/actors.json");
        std::fs::create_dir_all(target.join("runs"))?;
        eprintln!("result file: {}", file.strip_prefix(&folder).unwrap_or(&file).display());
        run.arg("--json").arg(file);
    }
    let status = run.status().context("cannot start ipc-peers-actors")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
