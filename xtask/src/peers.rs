//! `cargo xtask peers [--trials N] [--size LIST]`: build `peers/` (a workspace of its own, so that rivals never enter
//! our lock file), measure each rival beside our mechanism of the same kind, and print the ratios.

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Rivals that are measured in one run, beside our mechanism of the same kind.
struct Group {
    name: &'static str,
    transports: &'static str,
    /// Whether Aeron belongs to them, where it could be built.
    with_aeron: bool,
    arguments: &'static [&'static str],
    /// Instead of the sizes that were asked for.
    sizes: Option<&'static str>,
}

/// Those that spin beside our ring, those that sleep beside our sockets; then what ZeroMQ does by itself: batches of
/// ours, made by the program or by `BufSender`.
const GROUPS: &[Group] = &[
    Group {
        name: "memory",
        transports: "shm,iceoryx2",
        with_aeron: true,
        // All of them spin.
        arguments: &["--mode", "rtt,stream", "--wait", "spin", "--keep-awake", "no"],
        sizes: None,
    },
    Group {
        name: "kernel",
        transports: "uds,uds-seqpacket,tcp,ipc-channel,interprocess,tokio-uds,zeromq,zeromq-tcp",
        with_aeron: false,
        arguments: &["--mode", "rtt,stream", "--wait", "park"],
        sizes: None,
    },
    Group {
        name: "batch",
        transports: "uds,tcp,pipe,zeromq,zeromq-tcp",
        with_aeron: false,
        arguments: &["--mode", "stream", "--wait", "park", "--batch", "32"],
        sizes: Some("64"),
    },
    Group {
        name: "buffered",
        transports: "uds-buffered,tcp-buffered,zeromq,zeromq-tcp",
        with_aeron: false,
        arguments: &["--mode", "stream", "--wait", "park"],
        sizes: Some("64,1K"),
    },
];

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let (mut trials, mut sizes) = ("9".to_owned(), "64,1K,64K,1M".to_owned());
    let mut args = args.into_iter().skip_while(|arg| arg == "--");
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"));
        match &*flag {
            "--trials" => trials = value?,
            "--size" => sizes = value?,
            _ => bail!("unknown argument {flag}; usage: cargo xtask peers [--trials N] [--size LIST]"),
        }
    }
    let folder = workspace::root()?.join("peers");
    let aeron = match why_no_aeron() {
        None => true,
        Some(why) => {
            eprintln!("aeron skipped: {why}");
            false
        }
    };
    let program = build(&folder, aeron)?;
    let runs = folder.join("target/runs");
    std::fs::create_dir_all(&runs)?;
    let mut results = Vec::new();
    for group in GROUPS {
        let file = runs.join(format!("{}.json", group.name));
        let aeron = if group.with_aeron && aeron { ",aeron" } else { "" };
        let run = Command::new(&program)
            .args(["run", "-d", "100ms", "--trials", &trials, "-s", group.sizes.unwrap_or(&sizes)])
            .args(["-t", &format!("{}{aeron}", group.transports)])
            .args(group.arguments)
            .arg(format!("--json={}", file.display()))
            .current_dir(&folder)
            .status()
            .context("cannot start ipc-peers")?;
        // A cell that failed is in the file and in the table, with its reason.
        if run.code().is_none_or(|code| code > 1) {
            bail!("ipc-peers ended with {run}");
        }
        results.push(file);
    }
    let threads = Command::new(&program)
        .args(["threads", "--rounds", &trials])
        .status()
        .context("cannot start ipc-peers")?;
    if !threads.success() {
        bail!("ipc-peers threads ended with {threads}");
    }
    let status =
        Command::new(&program).arg("ratios").args(&results).status().context("cannot start ipc-peers")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(folder: &Path, aeron: bool) -> Result<std::path::PathBuf> {
    let target = folder.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--profile", "bench"]).arg("--target-dir").arg(&target).current_dir(folder);
    if aeron {
        cargo.args(["--features", "aeron"]);
    }
    if !cargo.status().context("cannot start cargo")?.success() {
        bail!("peers/ does not build; ZeroMQ needs a C++ compiler (apt-get install g++)");
    }
    Ok(target.join("release/ipc-peers"))
}

/// What Aeron's C driver lacks here to be built; `None` when it can be.
fn why_no_aeron() -> Option<String> {
    let output = Command::new("cmake").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version: Vec<u32> = text
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    if version.as_slice() < [3, 30].as_slice() {
        return Some("needs cmake 3.30 or newer (pip install cmake)".into());
    }
    let has = |pattern: &str| Path::new(pattern).exists();
    if !has("/usr/include/uuid/uuid.h") || !has("/usr/include/bsd/bsd.h") {
        return Some("needs libuuid and libbsd (apt-get install uuid-dev libbsd-dev libclang-dev)".into());
    }
    None
}
