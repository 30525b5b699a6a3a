//! `cargo xtask ci`: every check, one line each, with its log kept.
//!
//! `steps` is the table of two lanes that run side by side; `process` runs one program and can always end it, `tools` knows what may be missing on a
//! fresh machine, `docs` runs the commands of the README and the docs.

mod browser;
mod docs;
mod html;
mod process;
mod steps;
mod tools;

use crate::bench::cargo;
use crate::{api, tidy, workspace};
use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;
use process::{Ended, Supervisor};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use steps::{Action, Lane, STEPS, Step};

/// Everything ends after this long, whatever hangs: a run nobody waits for is a run nobody reads (docs/adr/0007).
const HARD_STOP: Duration = Duration::from_secs(35 * 60);
/// Seconds after which the step `chaos` starts no further cell. Alone the dose takes three minutes, beside the other lane four.
const CHAOS_BUDGET: &str = "300";
/// Lines of a failed step's log that are printed.
const TAIL: usize = 40;
/// Characters of each: a command line of rustc is longer than all else together.
const WIDTH: usize = 240;

pub(crate) fn has_step(name: &str) -> bool {
    STEPS.iter().any(|step| step.name == name)
}

struct Options {
    only: Vec<String>,
    list: bool,
    full: bool,
    install: bool,
}

/// What became of a step; the text is shown on its line.
enum Verdict {
    /// With what there is to add, or nothing.
    Passed(String),
    Failed(String),
    Skipped(String),
}

pub(crate) fn main(args: Vec<String>) -> Result<ExitCode> {
    let options = parse(args)?;
    if options.list {
        for step in STEPS {
            let when = if step.full { " (--full)" } else { "" };
            println!("{:12} {:4} s  {}{when}", step.name, step.budget_s, step.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let root = workspace::root()?;
    let metadata = workspace::metadata(&root)?;
    let logs = metadata.target_directory.as_std_path().join("ci");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let deadline = Instant::now() + HARD_STOP;
    let run = |supervisor| Run {
        root: root.clone(),
        metadata: metadata.clone(),
        logs: logs.clone(),
        full: options.full,
        supervisor,
    };
    let (checks, program) = (run(Supervisor::new(deadline)?), run(Supervisor::new(deadline)?));
    if options.install {
        tools::install(&checks)?;
    }
    let options = &options;
    let (checks, program) = std::thread::scope(|scope| {
        let beside = scope.spawn(move || program.lane(Lane::Program, options));
        let checks = checks.lane(Lane::Checks, options);
        (checks, beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let tally = checks?.and(program?);
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    Ok(ExitCode::from(match tally.signal {
        Some(signal) => 128 + signal as u8,
        None => u8::from(tally.failed > 0),
    }))
}

/// What became of the steps of a lane.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
    /// The signal that ended the run.
    signal: Option<i32>,
}

impl Tally {
    fn and(self, other: Tally) -> Tally {
        Tally {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            signal: self.signal.or(other.signal),
        }
    }
}

fn parse(args: Vec<String>) -> Result<Options> {
    let on_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let mut options = Options { only: Vec::new(), list: false, full: false, install: on_ci };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => options.list = true,
            "--full" => options.full = true,
            "--install" => options.install = true,
            "--only" => {
                options.only.push(args.next().context("--only needs the name of a step: see --list")?)
            }
            _ => match arg.strip_prefix("--only=") {
                Some(name) => options.only.push(name.into()),
                None => bail!("ci has no argument {arg}: see cargo xtask help"),
            },
        }
    }
    for name in &options.only {
        if !has_step(name) {
            let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step {name}; the steps are {}", names.join(", "));
        }
    }
    Ok(options)
}

/// One invocation of `ci`: where everything is, and who ends what hangs.
struct Run {
    root: PathBuf,
    metadata: Metadata,
    logs: PathBuf,
    full: bool,
    supervisor: Supervisor,
}

impl Run {
    fn lane(&self, lane: Lane, options: &Options) -> Result<Tally> {
        let mut tally = Tally::default();
        for step in STEPS.iter().filter(|step| step.lane == lane) {
            let asked_for = options.only.iter().any(|name| name == step.name);
            if !asked_for && (!options.only.is_empty() || step.full && !self.full) {
                continue;
            }
            let started = Instant::now();
            let verdict = self.verdict(step)?;
            let took = started.elapsed().as_secs_f64();
            match verdict {
                Verdict::Passed(note) => {
                    tally.passed += 1;
                    let over = if took > step.budget_s as f64 { " (over budget)" } else { "" };
                    println!("✓ {} {took:.1} s of {}{over}{note}", step.name, step.budget_s);
                }
                Verdict::Failed(why) => {
                    tally.failed += 1;
                    let line = format!("✗ {} {took:.1} s of {}: {why}\n", step.name, step.budget_s);
                    // In one piece: the other lane prints too.
                    print!("{line}{}", self.tail(step));
                }
                Verdict::Skipped(why) => {
                    tally.skipped += 1;
                    println!("– {} skipped: {why}", step.name);
                }
            }
        }
        tally.signal = self.supervisor.interrupted();
        Ok(tally)
    }

    fn verdict(&self, step: &Step) -> Result<Verdict> {
        if let Some(why) = self.supervisor.over() {
            return Ok(Verdict::Skipped(why));
        }
        for need in step.needs {
            if !need.is_met() {
                let (subcommand, component) = (need.subcommand, need.component);
                let why = format!("no cargo {subcommand} (rustup component add {component})");
                return Ok(Verdict::Skipped(why));
            }
        }
        let log = self.log(step.name);
        // The log of an earlier run would be taken for this one's.
        std::fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
        match step.action {
            Action::Cargo(calls) => self.cargo(calls, &log),
            Action::Tidy => {
                let report = tidy::check(&self.root)?;
                std::fs::write(&log, report.to_string())?;
                Ok(match report.problems.len() {
                    0 => Verdict::Passed(String::new()),
                    count => Verdict::Failed(format!("{count} problems")),
                })
            }
            Action::Api => self.api(&log),
            Action::Loom => {
                self.one(crate::loom::models(&self.root, &self.target().join("loom"), "model"), &log)
            }
            Action::Chaos => {
                match self.one(crate::chaos::build(&self.root, "dev"), &log)? {
                    Verdict::Passed(_) => {}
                    verdict => return Ok(verdict),
                }
                let mut chaos = crate::chaos::program(&self.root, "dev")?;
                chaos.args(["run", "--budget", CHAOS_BUDGET]);
                Ok(match self.one(chaos, &log)? {
                    // What the budget left out, which on a quiet machine is nothing.
                    Verdict::Passed(_) => {
                        let text = read(&log);
                        let left_out = text.lines().find(|line| line.contains("cells not started"));
                        Verdict::Passed(left_out.unwrap_or_default().to_owned())
                    }
                    verdict => verdict,
                })
            }
            Action::Callgrind => self.callgrind(&log),
            Action::Html => html::run(self, &log),
            Action::Docs => docs::run(self, &log),
        }
    }

    /// In a process of its own, which the supervisor can end.
    fn callgrind(&self, log: &Path) -> Result<Verdict> {
        // This program, even if a step has built it anew since it was started: its path would name the other one.
        let mut command = Command::new("/proc/self/exe");
        command.arg("callgrind").current_dir(&self.root);
        let verdict = self.one(command, log)?;
        let text = read(log);
        let skipped = text.lines().find_map(|line| line.strip_prefix("skipped: "));
        Ok(match (verdict, skipped) {
            (Verdict::Passed(_), Some(why)) => Verdict::Skipped(why.to_owned()),
            (verdict, _) => verdict,
        })
    }

    /// Runs cargo into a log, until the first call that fails.
    fn cargo(&self, calls: &[&[&str]], log: &Path) -> Result<Verdict> {
        for args in calls {
            let mut command = Command::new(cargo());
            command.args(*args).current_dir(&self.root).env("RUSTDOCFLAGS", "-D warnings");
            match self.one(command, log)? {
                Verdict::Passed(_) => {}
                verdict => return Ok(verdict),
            }
        }
        let tests = tests_passed(&read(log)).map(|count| format!(", {count} tests passed"));
        Ok(Verdict::Passed(tests.unwrap_or_default()))
    }

    fn api(&self, log: &Path) -> Result<Verdict> {
        let doc = self.metadata.target_directory.join("doc");
        if !doc.join("ipc_core/all.html").exists() {
            return Ok(Verdict::Skipped("the docs step has not run (cargo xtask api)".into()));
        }
        Ok(match api::compare(&self.root, doc.as_std_path())? {
            api::Outcome::Same { items, shown } => {
                Verdict::Passed(format!(", {items} public items, {shown} pages with an example"))
            }
            api::Outcome::Unknown(why) => Verdict::Skipped(why),
            api::Outcome::Differs(lines) => {
                std::fs::write(log, lines.join("\n"))?;
                Verdict::Failed(format!(
                    "{} lines differ or lack an example; if a line with + or - is meant: cargo xtask api --write",
                    lines.len()
                ))
            }
        })
    }

    /// Runs one program into a log.
    fn one(&self, mut command: Command, log: &Path) -> Result<Verdict> {
        Ok(match self.supervisor.run(&mut command, log)? {
            Ended::Exited(status) if status.success() => Verdict::Passed(String::new()),
            Ended::Exited(status) => Verdict::Failed(status.to_string()),
            Ended::Killed(why) => Verdict::Failed(why),
        })
    }

    fn target(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The end of a failed step's log without the tests that passed, and before it the names of the failed ones, which
    /// may stand far above the end.
    fn tail(&self, step: &Step) -> String {
        let log = self.log(step.name);
        let text = read(&log);
        let lines: Vec<_> = text.lines().filter(|line| !line.ends_with(" ... ok")).collect();
        let (above, tail) = lines.split_at(lines.len().saturating_sub(TAIL));
        let failed_test = |line: &&&str| line.starts_with("test ") && line.ends_with(" ... FAILED");
        let mut shown = String::new();
        for line in above.iter().filter(failed_test).chain(tail) {
            shown.push_str("    ");
            shown.extend(line.chars().take(WIDTH));
            shown.push('\n');
        }
        shown + &format!("    the whole log: {}\n", log.display())
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

/// The sum over the `test result:` lines of a log; `None` without such a line.
fn tests_passed(log: &str) -> Option<u64> {
    let results = log.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    results.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Result<Options> {
        parse(line.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn only_takes_names_of_steps() {
        assert_eq!(args("--only fmt --only=tidy").expect("two steps").only, ["fmt", "tidy"]);
        let error = args("--only nonsense").err().expect("refused").to_string();
        assert!(error.contains("clippy"), "{error}");
        assert!(args("--only").is_err());
        assert!(args("nonsense").is_err());
    }

    #[test]
    fn passed_tests_are_summed_over_binaries() {
        let log = "test result: ok. 40 passed; 0 failed\ntext\ntest result: ok. 2 passed; 1 ignored\n";
        assert_eq!(tests_passed(log), Some(42));
        assert_eq!(tests_passed("Finished"), None);
    }

    #[test]
    fn step_names_are_unique() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
