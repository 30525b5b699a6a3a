//! The runner of benchmarks is killed: its workers must not outlive it, nor leave names.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

use super::cell::{Cell, DEADLINE, GRACE, MECHANISMS, Violation, names_in, violated};
use super::kill::moment;
use crate::watchdog::children_of;

/// Where the program ipc-bench is; `cargo xtask chaos` builds it and says so.
const VARIABLE: &str = "IPC_CHAOS_BENCH";

/// What workers are meant to be gone within, on a quiet machine.
const TARGET: Duration = Duration::from_millis(500);

/// `rounds` runners are killed, each with its workers at work.
pub fn run(cell: &mut Cell, rounds: u64) {
    let Some(program) = std::env::var_os(VARIABLE) else {
        cell.missed = rounds;
        cell.notes.push("skipped: no ipc-bench to kill; use cargo xtask chaos orphans".into());
        return;
    };
    let mut workers = 0;
    for round in 0..rounds {
        let mechanism = MECHANISMS[round as usize % MECHANISMS.len()];
        let outcome = one_runner(cell, program.as_ref(), mechanism).and_then(|count| {
            workers += count;
            cell.check_traces()
        });
        cell.count(outcome);
    }
    let late = cell.notices.iter().filter(|nanos| u128::from(**nanos) > TARGET.as_nanos()).count();
    cell.notes.push(format!("{workers} workers; {late} rounds took longer than {} ms", TARGET.as_millis()));
}

/// One runner of an endless trial, killed after a while; how many workers it had.
fn one_runner(cell: &mut Cell, program: &Path, mechanism: &str) -> Result<usize, Violation> {
    let names = tempfile::Builder::new().prefix("io-").tempdir().expect("a temporary directory");
    let mut runner = Command::new(program)
        .args(["run", "--allow-debug", "--warmup", "1ms", "-t", mechanism, "-s", "64", "--mode", "rtt"])
        .args(["--trials", "1", "-d", "1h"])
        .current_dir(names.path())
        .env("XDG_RUNTIME_DIR", names.path())
        .env("IPC_BENCH_DIR", names.path().join("results"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let outcome = kill_at_work(cell, &mut runner, &names);
    let _ = runner.kill();
    let _ = runner.wait();
    outcome
}

fn kill_at_work(cell: &mut Cell, runner: &mut Child, names: &TempDir) -> Result<usize, Violation> {
    let began = Instant::now();
    while children_of(runner.id()).len() < 2 {
        if began.elapsed() > 10 * DEADLINE || matches!(runner.try_wait(), Ok(Some(_))) {
            return violated("I5", "the runner starts no two workers");
        }
        std::thread::yield_now();
    }
    // The random moment itself, not a handshake.
    std::thread::sleep(moment(&mut cell.random));
    // Stopped first, so that it starts nobody between the count and the blow.
    let pid = Pid::from_child(runner);
    kill_process(pid, Signal::STOP).expect("our own child");
    let workers: Vec<OwnedFd> = children_of(runner.id())
        .into_iter()
        .filter_map(|worker| pidfd_open(Pid::from_raw(worker as i32)?, PidfdFlags::empty()).ok())
        .collect();
    let blow = Instant::now();
    kill_process(pid, Signal::KILL).expect("our own child");
    let _ = runner.wait();
    for worker in &workers {
        let left = (DEADLINE + GRACE).saturating_sub(blow.elapsed());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut ended = [PollFd::new(worker, PollFlags::IN)];
        if !matches!(poll(&mut ended, Some(&timeout)), Ok(1)) {
            let _ = rustix::process::pidfd_send_signal(worker, Signal::KILL);
            return violated("I4", format!("a worker lives {:?} after its runner", blow.elapsed()));
        }
    }
    cell.notices.push(blow.elapsed().as_nanos() as u64);
    let mut left = names_in(&names.path().join("ipc"));
    left.extend(names_in(names.path()).into_iter().filter(|name| name != "ipc" && name != "results"));
    if left.is_empty() {
        Ok(workers.len())
    } else {
        violated("I4", format!("names left: {}", left.join(", ")))
    }
}
