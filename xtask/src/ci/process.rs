//! One program at a time, in a process group of its own, its output in a log; ended when its time is over, when we
//! are interrupted, and with everything it left behind.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::cell::Cell;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

const TIME_IS_OVER: &str = "the time for the whole run is over";

pub(super) struct Supervisor {
    deadline: Instant,
    events: Receiver<Event>,
    report: Sender<Event>,
    signal: Cell<Option<i32>>,
}

enum Event {
    /// The program started last has ended; it is not reaped yet.
    Ended,
    /// A signal asks us to stop.
    Signal(i32),
}

pub(super) enum Ended {
    Exited(ExitStatus),
    /// We ended it; the text says why.
    Killed(String),
}

impl Supervisor {
    /// Nothing runs past `deadline`.
    pub(super) fn new(deadline: Instant) -> Result<Self> {
        let (report, events) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch signals")?;
        let sender = report.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                // The receiver is gone only when the process is about to end.
                let _ = sender.send(Event::Signal(signal));
            }
        });
        Ok(Self { deadline, events, report, signal: Cell::new(None) })
    }

    /// Runs `command` to its end, appending both its outputs to `log`.
    pub(super) fn run(&self, command: &mut Command, log: &Path) -> Result<Ended> {
        let out = File::options().create(true).append(true).open(log);
        let out = out.with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let group = Pid::from_child(&child);
        let report = self.report.clone();
        std::thread::spawn(move || {
            // NOWAIT leaves the zombie, and with it the group's number, in place: the kill below cannot hit a
            // stranger who was given the same number.
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            let _ = report.send(Event::Ended);
        });
        let killed = self.wait();
        // On every path: what the program left running in its group ends with it.
        let _ = kill_process_group(group, Signal::KILL);
        if killed.is_some() {
            // Its own end, which our kill brought about, must not be taken for the end of the next program.
            while !matches!(self.events.recv(), Ok(Event::Ended) | Err(_)) {}
        }
        let status = child.wait()?;
        Ok(killed.map_or(Ended::Exited(status), Ended::Killed))
    }

    /// Waits for the program's end (`None`) or for a reason to end it.
    fn wait(&self) -> Option<String> {
        match self.events.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Ended) => None,
            Ok(Event::Signal(signal)) => {
                self.signal.set(Some(signal));
                Some(format!("interrupted by signal {signal}"))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Some(TIME_IS_OVER.into()),
        }
    }

    /// Why no further program should be started, if so.
    pub(super) fn over(&self) -> Option<String> {
        if let Some(signal) = self.signal.get() {
            return Some(format!("interrupted by signal {signal}"));
        }
        (Instant::now() >= self.deadline).then(|| TIME_IS_OVER.into())
    }

    /// The signal that ended the run.
    pub(super) fn interrupted(&self) -> Option<i32> {
        self.signal.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{PidfdFlags, pidfd_open};
    use std::time::Duration;

    fn shell(script: &str, deadline: Duration) -> (Ended, String) {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let supervisor = Supervisor::new(Instant::now() + deadline).expect("a supervisor");
        let ended = supervisor.run(Command::new("sh").args(["-c", script]), &log).expect("sh runs");
        (ended, std::fs::read_to_string(&log).expect("a log"))
    }

    #[test]
    fn a_log_has_both_outputs_of_a_program() {
        let (ended, log) = shell("echo one; echo two >&2; exit 3", Duration::from_secs(10));
        assert!(matches!(ended, Ended::Exited(status) if status.code() == Some(3)));
        assert_eq!(log, "one\ntwo\n");
    }

    #[test]
    fn a_program_that_hangs_ends_at_the_deadline_with_its_children() {
        let (ended, log) = shell("sleep 600 & echo $!; wait", Duration::from_millis(300));
        assert!(matches!(ended, Ended::Killed(why) if why.contains("time")));
        assert_gone(&log);
    }

    #[test]
    fn what_a_program_leaves_in_the_background_ends_with_it() {
        let (ended, log) = shell("sleep 600 & echo $!", Duration::from_secs(10));
        assert!(matches!(ended, Ended::Exited(status) if status.success()));
        assert_gone(&log);
    }

    fn assert_gone(log: &str) {
        let pid = log.trim().parse().ok().and_then(Pid::from_raw).expect("a pid in the log");
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        let deadline = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&deadline));
        assert_eq!(ended, Ok(1), "{pid:?} still runs");
    }
}
