//! `cargo xtask fuzz [TARGET…] [--seconds S] [--runs N]`: libFuzzer over the harnesses of ipc-transports, under the address
//! sanitizer that cargo-fuzz builds with. Needs a nightly toolchain and cargo-fuzz; without them it says so and what runs
//! instead. The same harnesses run on stable as tests of ipc-transports and in doses by `cargo xtask chaos fuzz`.

use crate::bench::cargo;
use crate::sanitize::{nightly, without_nightly};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode};

/// Seconds per target unless asked otherwise.
const SECONDS: u32 = 10;

/// Freed memory that the address sanitizer keeps back, so that a late use of it is seen. By default that alone is 256 MiB.
const QUARANTINE: &str = "quarantine_size_mb=16";

/// Most memory of a target, in MiB.
const MOST_MEMORY: &str = "-rss_limit_mb=256";

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let (mut seconds, mut runs, mut asked) = (None, None, Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64> {
            Ok(args.next().with_context(|| format!("{arg} needs a number"))?.parse::<u64>()?)
        };
        match arg.as_str() {
            "--seconds" => seconds = Some(number()?),
            "--runs" => runs = Some(number()?),
            name if !name.starts_with('-') => asked.push(name.to_owned()),
            _ => bail!("fuzz has no argument {arg}: see cargo xtask help"),
        }
    }
    let root = workspace::root()?;
    let folder = root.join("fuzz");
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("fuzz_targets"))?
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    if let Some(unknown) = asked.iter().find(|name| !targets.contains(name)) {
        bail!("no target {unknown}; the targets are {}", targets.join(", "));
    }
    if let Some(why) = missing() {
        println!("skipped: {why}; on stable: cargo xtask chaos fuzz");
        return Ok(ExitCode::SUCCESS);
    }
    let mut failed = Vec::new();
    for target in targets.iter().filter(|name| asked.is_empty() || asked.contains(name)) {
        let mut command = nightly();
        command.args(["fuzz", "run", target, "--", "-max_len=512", MOST_MEMORY, "-print_final_stats=1"]);
        match (runs, seconds) {
            (Some(runs), _) => command.arg(format!("-runs={runs}")),
            (None, seconds) => {
                command.arg(format!("-max_total_time={}", seconds.unwrap_or(u64::from(SECONDS))))
            }
        };
        command.env("ASAN_OPTIONS", QUARANTINE);
        let output = command.current_dir(&root).output().context("cannot start cargo fuzz")?;
        let text = String::from_utf8_lossy(&output.stderr);
        let stat = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
            line.map_or("?", str::trim).to_owned()
        };
        let verdict = if output.status.success() { "✓" } else { "✗" };
        println!(
            "{verdict} {target}: {} inputs, {} per second, at most {} MiB",
            stat("number_of_executed_units"),
            stat("average_exec_per_sec"),
            stat("peak_rss_mb")
        );
        if !output.status.success() {
            failed.push(target);
            let tail: Vec<_> = text.lines().rev().take(60).collect();
            tail.iter().rev().for_each(|line| eprintln!("    {line}"));
        }
    }
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

fn missing() -> Option<String> {
    let has_fuzz = || {
        let output = Command::new(cargo()).args(["fuzz", "--version"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    without_nightly().or_else(|| (!has_fuzz()).then(|| "no cargo-fuzz (cargo install cargo-fuzz)".to_owned()))
}
