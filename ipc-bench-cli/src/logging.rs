//! Logs: what the runner and its workers do between trials and outside the timed part of one. Nothing is logged between
//! warm-up and the last message.
//!
//! The runner logs to stderr or a file. Workers log to the same place: to stderr through the runner, which forwards their lines
//! where somebody asked for more than warnings, and to a file of their own per kind of worker beside the runner's.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::args::Global;
use crate::error::Failure;
use crate::report;

/// Flags of the commands that measure.
#[derive(Debug, Default, Args)]
pub(crate) struct LogArgs {
    /// Where the log goes: stderr, or a file that is appended to; each kind of worker has one of its own beside it:
    /// FILE.client, FILE.server [default: stderr]
    #[arg(id = "log-file", long, value_name = "FILE", env = FILE, hide_env = true)]
    log_file: Option<PathBuf>,

    /// How much is logged: off, error, warn, info, debug [default: warn; with -v info, with -vv debug]
    #[arg(id = "log-level", long, value_name = "LEVEL", hide_possible_values = true)]
    log_level: Option<Level>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    /// Nothing.
    Off,
    /// What ends a run.
    Error,
    /// What somebody should look at.
    Warn,
    /// What was measured, as it is measured.
    Info,
    /// Every process and what it was told.
    Debug,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Level::Off => LevelFilter::Off,
            Level::Error => LevelFilter::Error,
            Level::Warn => LevelFilter::Warn,
            Level::Info => LevelFilter::Info,
            Level::Debug => LevelFilter::Debug,
        }
    }
}

const FILE: &str = "IPC_BENCH_LOG_FILE";
const LEVEL: &str = "IPC_BENCH_LOG_LEVEL";

/// What the workers of this process are told.
static CHOSEN: OnceLock<Chosen> = OnceLock::new();

#[derive(Debug)]
struct Chosen {
    file: Option<PathBuf>,
    level: Level,
}

/// Begins the log of the runner.
///
/// # Errors
/// The file cannot be written, or two flags name a level.
pub(crate) fn start(args: &LogArgs, global: &Global) -> Result<(), Failure> {
    if args.log_level.is_some() && global.verbose > 0 {
        return Err(Failure::usage("--verbose and --log-level cannot both be given")
            .why("each says how much is logged")
            .fix("leave one of them out"));
    }
    open_log(args, global, "runner")
}

/// Begins the log of a command that measures nothing.
///
/// # Errors
/// The variable names no level.
pub(crate) fn start_quietly(global: &Global) -> Result<(), Failure> {
    open_log(&LogArgs::default(), global, "ipc-bench")
}

fn open_log(args: &LogArgs, global: &Global, who: &str) -> Result<(), Failure> {
    let told = match global.verbose {
        0 => args.log_level.map_or_else(from_outside, |level| Ok(Some(level)))?,
        1 => Some(Level::Info),
        _ => Some(Level::Debug),
    };
    let level = told.unwrap_or(if global.quiet { Level::Error } else { Level::Warn });
    // Workers may have another working directory one day, and a file is meant from here.
    let file = args.log_file.as_deref().filter(|file| *file != Path::new("stderr"));
    let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    let opened = file.as_deref().map(open).transpose().map_err(|error| {
        Failure::usage(format!("--log-file {} cannot be written", file.clone().unwrap_or_default().display()))
            .why(error)
            .fix("name a file in a directory that is there, or stderr")
    })?;
    begin(level, opened, who);
    // Twice only where a test of this crate runs two commands in one process; the first one holds.
    let _ = CHOSEN.set(Chosen { file, level });
    log::info!("{}", report::version());
    Ok(())
}

/// The level that a variable names.
fn from_outside() -> Result<Option<Level>, Failure> {
    let Some(text) = env::var(LEVEL).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    Level::from_str(&text, true).map(Some).map_err(|_| {
        Failure::usage(format!("{LEVEL}={text}: not understood"))
            .why("there are off, error, warn, info, debug")
            .fix("name one of them, or unset the variable")
    })
}

/// Begins the log of a worker, as its runner was told.
pub(crate) fn start_in_worker(role: &str) {
    let level = env::var(LEVEL).ok().and_then(|text| Level::from_str(&text, true).ok());
    let file = env::var_os(FILE).filter(|file| *file != "stderr").map(PathBuf::from);
    // Who measures does not end because it cannot tell of it; the runner found the directory writable.
    let file = file.and_then(|file| open(&of_worker(&file, role)).ok());
    begin(level.unwrap_or(Level::Warn), file, role);
}

/// Tells a worker where to log.
pub(crate) fn pass_to(command: &mut Command) {
    let Some(Chosen { file, level }) = CHOSEN.get() else { return };
    command.env(FILE, file.as_deref().unwrap_or(Path::new("stderr")));
    command
        .env(LEVEL, level.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()));
}

/// Somebody reads along on stderr: progress would be drawn across it, and what workers say there is wanted.
pub(crate) fn talks() -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen.file.is_none() && chosen.level > Level::Warn)
}

/// Hands on what a worker said on its stderr.
pub(crate) fn forward(text: &[u8]) {
    if talks() {
        // A closed stderr has nobody to be told of it.
        let _ = std::io::stderr().write_all(text);
    }
}

/// `run.log.client` of `run.log`: one file for all workers of a kind, since each trial has fresh ones.
fn of_worker(file: &Path, role: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(role);
    name.into()
}

fn open(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}

fn begin(level: Level, file: Option<File>, who: &str) {
    let who = format!("{who} {}", std::process::id());
    let mut builder = Builder::new();
    builder.filter_level(level.filter()).format(move |out, record| {
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        writeln!(out, "{now} {:<5} {who}: {}", record.level(), record.args())
    });
    if let Some(file) = file {
        builder.target(Target::Pipe(Box::new(file)));
    }
    // Only the first one holds, as above.
    let _ = builder.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_worker_has_a_file_beside_the_runners() {
        assert_eq!(of_worker(Path::new("logs/run.log"), "client"), Path::new("logs/run.log.client"));
        assert!(Level::Debug > Level::Warn && Level::Off < Level::Error);
    }
}
