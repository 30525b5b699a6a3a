//! `cargo xtask against COMMIT`: the transports of this tree and of a commit in turns, for what a change has cost.
//!
//! `ipc-transports/examples/turns.rs`, as it is here, is built with either; each trial is two processes on a CPU each, and
//! trials alternate, so that what the machine does meanwhile hits both. CPUs are kept from halting: how long the host of a
//! virtual machine takes to wake one is no property of a transport. On a machine that others use, `chrt -f 10 cargo xtask
//! against …` gives the trials precedence.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// How much slower a transport may have become.
const TOLERANCE: f64 = 1.05;

/// Addresses, each with a place for a name of our own.
const ADDRESSES: [(&str, &str); 7] = [
    ("uds", "uds:NAME"),
    ("uds-seqpacket", "uds-seqpacket:NAME"),
    ("tcp", "tcp:127.0.0.1:0"),
    ("pipe", "pipe:NAME"),
    ("mq", "mq:NAME"),
    ("shm", "shm:NAME"),
    ("shm-direct", "shm-direct:NAME"),
];

/// A workload and the size of its messages.
const WORKLOADS: [(&str, &str); 2] = [("rtt", "64"), ("stream", "4096")];

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let (mut commit, mut rounds, mut millis, mut only) = (None, 21usize, "100".to_owned(), None);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => rounds = value()?.parse().context("--rounds takes a number")?,
            "--millis" => millis = value()?,
            "--only" => only = Some(value()?),
            flag if flag.starts_with('-') => {
                bail!("unknown argument {flag}; the flags are --rounds N, --millis MS and --only TRANSPORT")
            }
            _ if commit.is_none() => commit = Some(arg),
            _ => bail!("one commit at a time; {arg} is a second one"),
        }
    }
    let Some(commit) = commit else {
        bail!("usage: cargo xtask against COMMIT [--rounds N] [--millis MS] [--only TRANSPORT]")
    };
    let names = ADDRESSES.map(|(name, _)| name);
    if let Some(only) = only.as_ref().filter(|only| !names.contains(&only.as_str())) {
        bail!("--only {only}: there are {}", names.join(", "));
    }
    if rounds < MIN_ROUNDS {
        bail!("--rounds {rounds}: an interval needs {MIN_ROUNDS} of them");
    }
    let root = workspace::root()?;
    let commit = resolved(&root, &commit)?;
    let programs = [then(&root, &commit)?, build(&root, &root.join("target/against/now"))?];
    let _awake = [Awake::on(&programs[1], "0")?, Awake::on(&programs[1], "1")?];
    println!("{rounds} rounds of {millis} ms; cost: time per message, now over {commit}\n");
    println!("| | then | now | cost | |\n|---|--:|--:|--:|---|");
    let mut worse = Vec::new();
    for (name, address) in ADDRESSES {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for (workload, size) in WORKLOADS {
            let row = format!("{name} {workload} {size} B");
            let mut times = [const { Vec::new() }; 2];
            for round in 0..rounds {
                // ABBA: neither is always the first.
                for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                    let own = format!("against-{}-{round}-{which}", std::process::id());
                    let address = address.replace("NAME", &own);
                    let trial = [workload, &address, size, &millis, "0", "1"];
                    times[which].push(run(&programs[which], &trial).with_context(|| row.clone())?);
                }
            }
            let costs: Vec<f64> = times[1].iter().zip(&times[0]).map(|(now, then)| now / then).collect();
            let (middle, low, high) = median(costs);
            let verdict = match () {
                () if high <= TOLERANCE => "within 5 %",
                () if low > TOLERANCE => "**slower**",
                () => "not decided",
            };
            if low > TOLERANCE {
                worse.push(row.clone());
            }
            let [then, now] = times.map(|times| median(times).0);
            println!("| {row} | {then:.0} ns | {now:.0} ns | {middle:.2} [{low:.2}–{high:.2}] | {verdict} |");
        }
    }
    if worse.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nslower than at {commit} by more than 5 %: {}", worse.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The commit's own name: what is built of it stays valid, unlike what is built of a branch.
fn resolved(root: &Path, commit: &str) -> Result<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--verify", "--short=12", &format!("{commit}^{{commit}}")])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!("{commit}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The program with the transports of `commit`, in a tree of its own below `target`.
fn then(root: &Path, commit: &str) -> Result<PathBuf> {
    let tree = root.join("target/against").join(commit);
    std::fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    let mut archive = Command::new("git")
        .args(["archive", "--format=tar", commit])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start git")?;
    let tar = archive.stdout.take().context("git has no stdout")?;
    let unpacked = Command::new("tar").arg("-x").current_dir(&tree).stdin(tar).status();
    if !archive.wait()?.success() || !unpacked.context("cannot start tar")?.success() {
        bail!("{commit} cannot be unpacked; git's message is above");
    }
    let example = "ipc-transports/examples/turns.rs";
    std::fs::copy(root.join(example), tree.join(example))
        .with_context(|| format!("cannot copy {example}"))?;
    build(&tree, &root.join("target/against").join(format!("{commit}-built")))
}

/// Both alike, whatever the profile of the commit says.
fn build(tree: &Path, target: &Path) -> Result<PathBuf> {
    let status = Command::new(cargo())
        .args(["build", "--profile", "bench", "--package", "ipc-transports", "--example", "turns"])
        .args(["--config", "profile.release.lto=\"fat\"", "--config", "profile.bench.lto=\"fat\""])
        .arg("--target-dir")
        .arg(target)
        .current_dir(tree)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the transports in {} do not build; cargo's messages are above", tree.display());
    }
    Ok(target.join("release/examples/turns"))
}

/// Nanoseconds per message of one trial.
fn run(program: &Path, trial: &[&str]) -> Result<f64> {
    let output = Command::new(program).args(trial).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!("a trial failed: {}", output.status);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().with_context(|| format!("a trial said {said:?}"))
}

/// A loop of the lowest class on a CPU: it never halts, and gives way to all else.
struct Awake(Child);

impl Awake {
    fn on(program: &Path, cpu: &str) -> Result<Awake> {
        let mut chrt = Command::new("chrt");
        chrt.args(["--idle", "0"]).arg(program).args(["awake", cpu]);
        Ok(Awake(chrt.spawn().context("cannot start chrt (Debian: util-linux)")?))
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Below this many values no pair of them holds the median with 95 %.
const MIN_ROUNDS: usize = 6;

/// The median, and the narrowest pair of order statistics that holds it with at least 95 %, by the binomial distribution
/// (Conover, Practical Nonparametric Statistics, 3.2).
fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let (mut outside, mut chance, mut cut) = (0.0, 0.5f64.powi(count as i32), 0);
    for below in 0..count / 2 {
        outside += 2.0 * chance;
        if outside > 0.05 {
            break;
        }
        cut = below;
        chance *= (count - below) as f64 / (below + 1) as f64;
    }
    let middle = f64::midpoint(values[(count - 1) / 2], values[count / 2]);
    (middle, values[cut], values[count - 1 - cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_median_is_that_of_the_tables() {
        // Conover, table A3: 9 values, the second and the eighth (96.1 %); 21, the sixth and the sixteenth (97.3 %).
        let upto = |count: u32| median((1..=count).map(f64::from).collect());
        assert_eq!(upto(9), (5.0, 2.0, 8.0));
        assert_eq!(upto(21), (11.0, 6.0, 16.0));
        assert_eq!(upto(6), (3.5, 1.0, 6.0), "98.4 %");
    }
}
