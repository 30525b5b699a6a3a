//! The commands of `README.md` and `docs/`, run as a reader would run them: from the root of the workspace, in the
//! order of the page.

use super::process::Ended;
use super::{Run, Verdict};
use crate::console::{Block, blocks};
use crate::tidy::Tree;
use anyhow::Result;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What `cargo xtask bench` alone means here: every default cell for a moment instead of for a measurement.
const SMOKE: &str = "cargo xtask bench -- run -d 20ms --trials 1";

/// What README.md says of it as it is written, the quick preset on two CPUs: 90 s, of which a report may take one.
const QUICK: Duration = Duration::from_secs(89);

pub(super) fn run(run: &Run, log: &Path) -> Result<Verdict> {
    let tree = Tree::read(&run.root)?;
    let pages = tree.files.iter().filter(|file| tree.is_page(file));
    let blocks: Vec<Block> = pages.flat_map(|file| blocks(&file.path, &file.text)).collect();
    let mut commands = 0;
    for block in blocks.iter().filter(|block| block.no_run.is_none()) {
        let script = script(block, run.full);
        let place = format!("{}:{}", block.file.display(), block.line);
        writeln!(File::options().append(true).open(log)?, "== {place}")?;
        let _turn = turn_of_queues();
        match run.supervisor.run(&mut shell(run, &script)?, log)? {
            Ended::Exited(status) if status.success() => commands += block.commands.len(),
            Ended::Exited(_) => return Ok(Verdict::Failed(format!("a command of {place} failed"))),
            Ended::Killed(why) => return Ok(Verdict::Failed(format!("{place}: {why}"))),
        }
    }
    let mut told = format!(", {commands} commands");
    if run.full && commands > 0 {
        match latest_default_run(&results(run))? {
            None => return Ok(Verdict::Failed("no run of cargo xtask bench was saved".into())),
            Some(took) if took > QUICK => {
                return Ok(Verdict::Failed(format!("cargo xtask bench took {took:.1?} of {QUICK:?}")));
            }
            Some(took) => told.push_str(&format!(", cargo xtask bench {took:.1?} of {QUICK:?}")),
        }
    }
    Ok(match commands {
        0 => Verdict::Skipped("no page has a command to run".into()),
        _ => Verdict::Passed(told),
    })
}

/// The budget of message queues is the user's: tests that use them, in the other lane, wait for the same lock. `None` where
/// there are no queues.
fn turn_of_queues() -> Option<File> {
    let limits = File::open("/proc/sys/fs/mqueue").ok()?;
    rustix::fs::flock(&limits, rustix::fs::FlockOperation::LockExclusive).ok()?;
    Some(limits)
}

/// One shell script for a block: each command, then a look at its exit code.
fn script(block: &Block, full: bool) -> String {
    let mut script = String::new();
    for command in &block.commands {
        let text = match command.text.trim() {
            // It is what runs us: it would never end.
            text if text.starts_with("cargo xtask ci") => continue,
            "cargo xtask bench" if !full => SMOKE,
            text => text,
        };
        let exit = command.exit;
        script.push_str(&format!(
            "cat <<'COMMAND'\n$ {text}\nCOMMAND\n{text}\nstatus=$?\n\
             [ $status -eq {exit} ] || {{ echo \"exit code $status, expected {exit}\"; exit 1; }}\n"
        ));
    }
    script
}

/// Where the commands keep what they measured.
fn results(run: &Run) -> PathBuf {
    run.logs.join("ipc-bench")
}

/// How long the latest run in `results` took that was started without arguments and came to its end, as its file says: until
/// the last trial was done.
fn latest_default_run(results: &Path) -> Result<Option<Duration>> {
    let mut latest: Option<(String, Duration)> = None;
    for entry in std::fs::read_dir(results.join("runs"))? {
        // A run that was refused left no file.
        let Ok(text) = std::fs::read_to_string(entry?.path().join("run.json")) else { continue };
        let file: serde_json::Value = serde_json::from_str(&text)?;
        let arguments = file["manifest"]["argv"].as_array().and_then(|all| all.get(1..)).unwrap_or(&[]);
        let (Some(id), Some(ns)) = (file["run_id"].as_str(), file["elapsed_ns"].as_u64()) else { continue };
        let is_default = arguments == ["run"] && file["status"] == "complete";
        if is_default && latest.as_ref().is_none_or(|(before, _)| before.as_str() < id) {
            latest = Some((id.to_owned(), Duration::from_nanos(ns)));
        }
    }
    Ok(latest.map(|(_, took)| took))
}

/// A shell that finds `ipc-bench` by name, and keeps the results of the smoke run out of the person's history.
fn shell(run: &Run, script: &str) -> Result<Command> {
    let target = run.metadata.target_directory.as_std_path();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(target.join("release")).chain(std::env::split_paths(&path));
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .current_dir(&run.root)
        .env("PATH", std::env::join_paths(path)?)
        .env("IPC_BENCH_DIR", results(run))
        .env("NO_COLOR", "1");
    Ok(shell)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(page: &str) -> (bool, String) {
        let block = &blocks(Path::new("README.md"), page)[0];
        let output = Command::new("sh").args(["-c", &script(block, false)]).output().expect("sh runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("text"))
    }

    #[test]
    fn a_command_with_another_exit_code_than_the_page_says_fails_the_block() {
        let (passed, output) = output("```console\n$ true\n$ (exit 3)\n$ echo unreached\n```\n");
        assert!(!passed);
        assert_eq!(output, "$ true\n$ (exit 3)\nexit code 3, expected 0\n");
    }

    #[test]
    fn an_expected_failure_passes() {
        assert!(output("```console\n$ (exit 3)\n? 3\n```\n").0);
        assert!(!output("```console\n$ true\n? 3\n```\n").0);
    }

    #[test]
    fn the_bench_command_is_shortened_and_the_ci_command_left_out() {
        let block =
            &blocks(Path::new("README.md"), "```console\n$ cargo xtask bench\n$ cargo xtask ci\n```\n")[0];
        let short = script(block, false);
        assert!(short.contains("--trials 1") && !short.contains("xtask ci"), "{short}");
        assert!(!script(block, true).contains("--trials 1"));
    }

    #[test]
    fn the_time_of_the_quick_preset_is_that_of_the_latest_whole_run_without_arguments() {
        let results = tempfile::tempdir().expect("a directory");
        let save = |id: &str, arguments: &str, status: &str, seconds: u64| {
            let directory = results.path().join("runs").join(id);
            std::fs::create_dir_all(&directory).expect("a directory");
            let text = format!(
                "{{\"run_id\":\"{id}\",\"manifest\":{{\"argv\":[\"ipc-bench\",{arguments}]}},\
                 \"status\":\"{status}\",\"elapsed_ns\":{seconds}000000000}}"
            );
            std::fs::write(directory.join("run.json"), text).expect("a file");
        };
        save("20261130-1", "\"run\"", "complete", 91);
        save("20261130-3", "\"run\",\"-d\",\"20ms\"", "complete", 3);
        save("20261130-4", "\"run\"", "partial", 4);
        let took = || latest_default_run(results.path()).expect("readable files");
        assert_eq!(took(), Some(Duration::from_secs(91)));
        save("20261130-2", "\"run\"", "complete", 55);
        std::fs::create_dir(results.path().join("runs/20261130-5")).expect("a directory");
        assert_eq!(took(), Some(Duration::from_secs(55)));
    }
}
