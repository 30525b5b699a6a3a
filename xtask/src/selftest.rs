//! `cargo xtask selftest-stats`: does the instrument cry wolf, and does it see one? Real `ab` runs without a difference, real
//! ones with a tenth of the cell's own median put in, and comparisons drawn from the trials of the former. Why so many and so
//! short trials: docs/adr/0010.

use crate::bench::{build, cargo};
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// One cell that spins and one that sleeps: the two kinds of noise there are. The one that spins takes a microsecond, for a
/// tenth of 64 bytes over shm is less than the 20 ns below which a gate says nothing.
const CELLS: &[(&str, &[&str])] = &[
    ("shm/rtt/4096/wait=spin", &["-t", "shm", "--wait", "spin", "-s", "4K"]),
    ("uds/rtt/64", &["-t", "uds", "-s", "64"]),
];
const TRIALS: &str = "50";
/// Of what a message of side A took in its latest trial.
const INJECTED: &str = "10%";
const COMMON: &[&str] =
    &["--mode", "rtt", "-d", "20ms", "--warmup", "10ms", "--trials", TRIALS, "--no-html", "--quiet"];

/// The full dose, and what of it may go wrong.
struct Dose {
    null: u32,
    power: u32,
    resamples: u32,
    /// Where the trials come from.
    seed: u32,
    /// Only cells whose name begins like this: the full dose in pieces.
    only: String,
    /// The program to test, where it is not to be built from these sources.
    program: Option<PathBuf>,
}

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let dose = parse(args)?;
    let root = workspace::root()?;
    let bench = match &dose.program {
        Some(program) => program.canonicalize().with_context(|| format!("no {}", program.display()))?,
        None => build(&root)?,
    };
    let place = workspace::metadata(&root)?.target_directory.into_std_path_buf().join("selftest-stats");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let test = Test { bench, place };
    let mut failed = false;
    for (cell, flags) in CELLS.iter().filter(|(cell, _)| cell.starts_with(&*dose.only)) {
        let started = Instant::now();
        let (red, files) = test.repeat(dose.null, flags, false)?;
        let most = allowed_red(dose.null);
        failed |= red > most;
        println!(
            "null   {cell}: {red} red of {} runs, at most {most} ({:.0} s)",
            dose.null,
            started.elapsed().as_secs_f64()
        );
        if !files.is_empty() && dose.resamples > 0 {
            failed |= !resample(&root, &dose, &files)?;
        }
        if dose.power == 0 {
            continue;
        }
        let started = Instant::now();
        let (red, files) = test.repeat(dose.power, flags, true)?;
        let fewest = needed_red(dose.power);
        failed |= red < fewest;
        println!(
            "power  {cell}: {red} red of {} runs with {INJECTED} more, at least {fewest} ({:.0} s)",
            dose.power,
            started.elapsed().as_secs_f64()
        );
        if red < fewest {
            println!("       {}", scatter(&files)?);
        }
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// 2 of 50.
fn allowed_red(runs: u32) -> u32 {
    (runs * 2).div_ceil(50)
}

/// 38 of 40.
fn needed_red(runs: u32) -> u32 {
    runs - (runs * 2).div_ceil(40)
}

fn parse(args: Vec<String>) -> Result<Dose> {
    let mut dose =
        Dose { null: 50, power: 40, resamples: 10_000, seed: 4711, only: String::new(), program: None };
    let mut args = args.into_iter().skip_while(|arg| arg == "--");
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        if flag == "--program" {
            dose.program = Some(value.into());
            continue;
        }
        if flag == "--only" {
            let cells: Vec<&str> = CELLS.iter().map(|(cell, _)| *cell).collect();
            ensure!(
                cells.iter().any(|cell| cell.starts_with(&value)),
                "--only {value}: no such cell; there are {}",
                cells.join(", ")
            );
            dose.only = value;
            continue;
        }
        let number = value.parse().with_context(|| format!("{flag} {value}: not a number"))?;
        match &*flag {
            "--null" => dose.null = number,
            "--power" => dose.power = number,
            "--resamples" => dose.resamples = number,
            "--seed" => dose.seed = number,
            _ => bail!("unknown argument {flag}: see cargo xtask help"),
        }
    }
    Ok(dose)
}

struct Test {
    bench: PathBuf,
    place: PathBuf,
}

impl Test {
    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.bench);
        command.arg("ab").args(COMMON).args(flags).env("IPC_BENCH_DIR", self.place.join("runs"));
        command
    }

    /// So many `ab` runs; how many ended with the exit code of a regression, and their files.
    fn repeat(&self, runs: u32, flags: &[&str], injected: bool) -> Result<(u32, Vec<PathBuf>)> {
        let kind = if injected { "power" } else { "null" };
        let (mut red, mut files) = (0, Vec::new());
        for number in 0..runs {
            let file = self.place.join(format!("{kind}-{}-{number}.json", flags[1]));
            let mut command = self.command(flags);
            command
                .arg("--gate")
                .arg(format!("--json={}", file.display()))
                .stdout(std::process::Stdio::null());
            match injected {
                true => command.arg("--inject").arg(INJECTED),
                // Two programs that are one: the same path that two builds take.
                false => command.arg("--a").arg(&self.bench).arg("--b").arg(&self.bench),
            };
            let status = command.status().context("cannot start ipc-bench")?;
            match status.code() {
                Some(0) => {}
                Some(3) => red += 1,
                _ => bail!("ipc-bench ab ended with {status}"),
            }
            files.push(file);
        }
        Ok((red, files))
    }
}

/// How far the trials of one side lie apart, by the intervals of the medians that are in the files: what is missed on a
/// machine that scatters more than what was put in says nothing against the verdicts.
fn scatter(files: &[PathBuf]) -> Result<String> {
    let mut widths = Vec::new();
    for file in files {
        let run: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        for cell in run["cells"].as_array().into_iter().flatten() {
            let p50 = &cell["summary"]["p50_ns"];
            if let (Some(lo), Some(hi)) = (p50["lo"].as_f64(), p50["hi"].as_f64()) {
                widths.push(hi / lo);
            }
        }
    }
    widths.sort_by(f64::total_cmp);
    let at = |share: f64| widths.get((widths.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(format!(
        "within one side the ends of the interval of p50 are a factor of {:.2} apart in the middle run, {:.2} in the worst \
         tenth; what was put in is 1.10",
        at(0.5),
        at(0.9)
    ))
}

/// Comparisons drawn from the trials of runs without a difference.
fn resample(root: &Path, dose: &Dose, files: &[PathBuf]) -> Result<bool> {
    let status = Command::new(cargo())
        .args(["run", "--quiet", "--release", "-p", "ipc-results", "--example", "resample", "--locked", "--"])
        .args([&dose.resamples.to_string(), TRIALS, &dose.seed.to_string()])
        .args(files)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_doses_keep_the_shares_of_the_full_one() {
        assert_eq!([50, 10, 1, 0].map(allowed_red), [2, 1, 1, 0]);
        assert_eq!([40, 20, 10].map(needed_red), [38, 19, 9]);
        let only = |cell: &str| parse(vec!["--only".into(), cell.into()]);
        assert!(
            only("uds").is_ok() && only("mq").is_err_and(|error| error.to_string().contains("uds/rtt/64"))
        );
        assert!(parse(vec!["--null".into()]).is_err() && parse(vec!["--nil".into(), "1".into()]).is_err());
    }
}
