//! `cargo xtask callgrind [--write]`: instructions per message of the hot paths, held to `targets/instructions.tsv`.
//!
//! Wall time on a shared machine cannot gate; instructions can. Each workload of `ipc-transports/examples/hot_paths.rs`
//! runs twice under callgrind, the second time with twice the messages: the difference is the messages' alone. What the
//! kernel does for them is not in it.

use crate::bench::cargo;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The committed counts, below the root.
const COUNTS: &str = "targets/instructions.tsv";
/// Rounds of the shorter run.
const ROUNDS: u64 = 1000;
/// How far a count may be from the committed one.
const TOLERANCE: f64 = 0.01;

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let write = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--write"] => true,
        _ => bail!("usage: cargo xtask callgrind [--write]"),
    };
    let root = workspace::root()?;
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let compiler = compiler()?;
    let path = root.join(COUNTS);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let committed = Counts::parse(&committed)?;
    if !write && committed.compiler != compiler {
        println!("skipped: {COUNTS} was counted with {}, this is {compiler}", committed.compiler);
        return Ok(ExitCode::SUCCESS);
    }
    let program = build(&root)?;
    let mut counts = Counts { compiler, per_round: BTreeMap::new() };
    for name in names(&program)? {
        let per_round =
            (count(&program, &name, 2 * ROUNDS)? - count(&program, &name, ROUNDS)?) / ROUNDS as f64;
        let was = committed.per_round.get(&name).copied();
        println!("{:24} {per_round:8.1} instructions{}", name, shown(per_round, was));
        counts.per_round.insert(name, per_round);
    }
    if write {
        std::fs::write(&path, counts.to_string()).with_context(|| format!("cannot write {COUNTS}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let changed = changed(&committed.per_round, &counts.per_round);
    if changed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "more than {} % from {COUNTS}: {}; if that is meant: cargo xtask callgrind --write",
        TOLERANCE * 100.0,
        changed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// Why nothing can be counted here.
fn why_not() -> Option<String> {
    let version = Command::new("valgrind").arg("--version").output();
    let runs = version.is_ok_and(|output| output.status.success());
    (!runs).then(|| "no valgrind (apt-get install valgrind)".to_owned())
}

/// Version and architecture: another one counts differently.
fn compiler() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("cannot start rustc")?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(format!("{version}, {}", std::env::consts::ARCH))
}

fn build(root: &Path) -> Result<PathBuf> {
    let arguments =
        ["build", "--profile", "bench", "--locked", "--package", "ipc-transports", "--example", "hot_paths"];
    let built =
        Command::new(cargo()).args(arguments).current_dir(root).status().context("cannot start cargo")?;
    if !built.success() {
        bail!("hot_paths does not build");
    }
    let target = workspace::metadata(root)?.target_directory.into_std_path_buf();
    Ok(target.join("release/examples/hot_paths"))
}

fn names(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program).output().context("cannot start hot_paths")?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Instructions of one whole run.
fn count(program: &Path, name: &str, rounds: u64) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([name, &rounds.to_string()])
        .output()
        .context("cannot start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} under callgrind: {}\n{text}", output.status);
    }
    collected(&text).with_context(|| format!("{name}: callgrind says no count:\n{text}"))
}

/// The number behind `Collected : `.
fn collected(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What is committed: the compiler in the first line, then a name and a number each.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    compiler: String,
    per_round: BTreeMap<String, f64>,
}

impl Counts {
    fn parse(text: &str) -> Result<Counts> {
        let mut lines = text.lines();
        let compiler = lines.next().unwrap_or_default().trim_start_matches("# ").to_owned();
        let mut per_round = BTreeMap::new();
        for line in lines {
            let (name, count) = line.split_once('\t').with_context(|| format!("{COUNTS}: {line:?}"))?;
            per_round.insert(name.to_owned(), count.parse().with_context(|| format!("{COUNTS}: {line:?}"))?);
        }
        Ok(Counts { compiler, per_round })
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("# {}\n", self.compiler);
        for (name, count) in &self.per_round {
            writeln!(text, "{name}\t{count:.1}")?;
        }
        f.write_str(&text)
    }
}

fn shown(now: f64, was: Option<f64>) -> String {
    was.map_or(String::new(), |was| format!(", {:+.2} %", (now / was - 1.0) * 100.0))
}

/// The workloads that differ, or that only one of the two has.
fn changed(committed: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> Vec<String> {
    let mut names: Vec<&String> = committed.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&&String| match (committed.get(**name), now.get(**name)) {
        (Some(was), Some(now)) => (now / was - 1.0).abs() > TOLERANCE,
        _ => true,
    };
    names.iter().filter(differs).map(|name| (*name).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_their_text_and_a_change_of_two_percent_is_told() {
        let counts = Counts {
            compiler: "rustc 1, x86_64".into(),
            per_round: [("a".to_owned(), 100.0), ("b".to_owned(), 52.5)].into(),
        };
        assert_eq!(Counts::parse(&counts.to_string()).expect("parses"), counts);
        let mut now = counts.per_round.clone();
        now.insert("a".into(), 100.9);
        assert!(changed(&counts.per_round, &now).is_empty());
        now.insert("a".into(), 102.0);
        now.insert("c".into(), 1.0);
        assert_eq!(changed(&counts.per_round, &now), ["a", "c"]);
        assert!(Counts::parse("# rustc\nnonsense").is_err());
    }

    #[test]
    fn the_count_is_read_from_what_callgrind_prints() {
        let text = "==7== Events    : Ir\n==7== Collected : 12345\n==7==\n";
        assert_eq!(collected(text), Some(12345.0));
        assert_eq!(collected("no such line"), None);
    }
}
