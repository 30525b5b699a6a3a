//! The worker processes of one trial: started together, listened to together, ended together.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ipc_limits::End;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use crate::arm::Arm;
use crate::logging;
use crate::protocol::{self, Complaint, Reply, Request, Role};
use crate::signals::Signals;
use crate::worker;

/// How long a worker that has said everything may take to exit by itself.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long to wait for the other worker's side of the story before believing one that blames it.
const SECOND_OPINION: Duration = Duration::from_secs(1);

/// Bytes of a worker's stderr that are kept.
const KEPT_STDERR: usize = 4096;

/// Why a trial did not end well.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// This program was asked to stop.
    Interrupted(i32),
    /// A worker ended without a result, as was seen then.
    Died { role: Role, how: String, last_line: Option<String>, seen: Instant },
    /// Nobody said anything for so long.
    Silent(Duration),
    /// A command of the user's did not end with 0.
    Hook { name: &'static str, command: String, how: String },
    /// A worker gave up.
    Complaint(Role, Complaint),
    /// A process could not be started, or what it said was not understood.
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Io(error)
    }
}

impl From<rustix::io::Errno> for Trouble {
    fn from(errno: rustix::io::Errno) -> Trouble {
        Trouble::Io(errno.into())
    }
}

/// Workers in a process group of their own. Dropped, it leaves none behind.
#[derive(Debug)]
pub(crate) struct Crew<'a> {
    workers: Vec<Worker>,
    /// Words that start a worker; empty for this very program.
    program: Vec<String>,
    signals: &'a Signals,
}

#[derive(Debug)]
struct Worker {
    role: Role,
    child: Child,
    /// Readable when the process has ended, reaped or not; a bare pid could be another's by then.
    pidfd: OwnedFd,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
    inbox: Vec<u8>,
    complaints: Vec<u8>,
    /// Has said Done or Failed: its end is no news.
    finished: bool,
}

impl<'a> Crew<'a> {
    pub(crate) fn new(signals: &'a Signals) -> Crew<'a> {
        Crew { workers: Vec::new(), program: Vec::new(), signals }
    }

    /// Workers of one side of an `ab`.
    pub(crate) fn of(arm: Option<&Arm>, signals: &'a Signals) -> Crew<'a> {
        let program = arm.and_then(|arm| arm.program.clone()).unwrap_or_default();
        Crew { workers: Vec::new(), program, signals }
    }

    /// Starts one more worker, which inherits the descriptors of `end`. `what` is for people who look at `ps`.
    pub(crate) fn start(&mut self, role: Role, what: &str, end: Option<&End>) -> Result<(), Trouble> {
        let mut command = match &self.program[..] {
            // This very program, even if the file it was started from has been replaced meanwhile.
            [] => Command::new("/proc/self/exe"),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words);
                command
            }
        };
        if self.program.is_empty() {
            command.arg0("ipc-bench");
        }
        command.args([worker::COMMAND, &role.name(), what]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The first worker leads the group. Its number stays taken until it is reaped, which is after the last signal.
        command.process_group(self.workers.first().map_or(0, |first| first.child.id() as i32));
        logging::pass_to(&mut command);
        if let Some(end) = end {
            end.pass_to(&mut command);
        }
        let child = command.spawn()?;
        log::debug!("{what}: {} is process {}", role.name(), child.id());
        self.adopt(role, child)
    }

    /// Listens to a process from now on, and ends it with the others.
    fn adopt(&mut self, role: Role, mut child: Child) -> Result<(), Trouble> {
        let pidfd = match pidfd_open(pid(&child), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                // Out of descriptors: nobody would see its end.
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::Error::from(error).into());
            }
        };
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a worker was started without pipes").into());
        };
        rustix::io::ioctl_fionbio(&stdout, true)?;
        rustix::io::ioctl_fionbio(&stderr, true)?;
        let (inbox, complaints) = (Vec::new(), Vec::new());
        self.workers.push(Worker {
            role,
            child,
            pidfd,
            stdin,
            stdout,
            stderr,
            inbox,
            complaints,
            finished: false,
        });
        Ok(())
    }

    /// Starts so many processes that work beside the others.
    pub(crate) fn start_hogs(&mut self, count: usize, what: &str) -> Result<(), Trouble> {
        (0..count as u16).try_for_each(|number| self.start(Role::Hog(number), what, None))
    }

    /// Expects no more of a worker that has ended.
    pub(crate) fn bury(&mut self, role: Role) {
        self.workers
            .iter_mut()
            .filter(|worker| worker.role == role)
            .for_each(|worker| worker.finished = true);
    }

    /// Who is there, in the order of their start.
    pub(crate) fn roles(&self) -> Vec<Role> {
        self.workers.iter().map(|worker| worker.role).collect()
    }

    /// Process ids of those that measure.
    pub(crate) fn measuring(&self) -> Vec<u32> {
        let measuring = self.workers.iter().filter(|worker| !matches!(worker.role, Role::Hog(_)));
        measuring.map(|worker| worker.child.id()).collect()
    }

    /// Tells one worker something.
    pub(crate) fn tell(&mut self, role: Role, request: &Request) -> Result<(), Trouble> {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.role == role) else {
            return Err(io::Error::other("nobody has this role").into());
        };
        log::debug!("to {}: {}", role.name(), request.name());
        match protocol::write(&mut worker.stdin, request) {
            // It has ended: what it said last, or how it died, is the better story.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// The next thing any worker says that is not a complaint.
    pub(crate) fn next(&mut self, patience: Duration) -> Result<(Role, Reply), Trouble> {
        let (role, reply) = self.hear(patience)?;
        let Reply::Failed(complaint) = reply else { return Ok((role, reply)) };
        if complaint.blames_the_peer {
            let deadline = Instant::now() + SECOND_OPINION;
            while let Some(left) = deadline.checked_duration_since(Instant::now()) {
                match self.hear(left) {
                    Ok((role, Reply::Failed(other))) if !other.blames_the_peer => {
                        return Err(Trouble::Complaint(role, other));
                    }
                    Ok(_) => {}
                    Err(Trouble::Silent(_)) => break,
                    Err(trouble) => return Err(trouble),
                }
            }
        }
        Err(Trouble::Complaint(role, complaint))
    }

    /// The next thing any worker says.
    fn hear(&mut self, patience: Duration) -> Result<(Role, Reply), Trouble> {
        let deadline = Instant::now() + patience;
        loop {
            for worker in &mut self.workers {
                if let Some(reply) = worker.take()? {
                    return Ok((worker.role, reply));
                }
            }
            let gone = self.wait(deadline.saturating_duration_since(Instant::now()))?;
            if let Some(signal) = self.signals.caught() {
                return Err(Trouble::Interrupted(signal));
            }
            for worker in &mut self.workers {
                worker.listen()?;
            }
            if let Some(index) = gone {
                // It had ended before we listened, so all it ever said is here, the last of it maybe cut short.
                let worker = &mut self.workers[index];
                return match worker.take()? {
                    Some(reply) => Ok((worker.role, reply)),
                    None => Err(worker.obituary()),
                };
            }
            if Instant::now() >= deadline {
                return Err(Trouble::Silent(patience));
            }
        }
    }

    /// Sleeps until something happened; the worker that has ended though it had not finished.
    fn wait(&self, patience: Duration) -> Result<Option<usize>, Trouble> {
        let mut fds = vec![PollFd::new(self.signals, PollFlags::IN)];
        for worker in &self.workers {
            // A finished worker's pipes are at their end for ever, and would never let us sleep.
            let events = if worker.finished { PollFlags::empty() } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(worker.pidfd.as_fd(), events));
            if !worker.finished {
                fds.push(PollFd::from_borrowed_fd(worker.stdout.as_fd(), events));
            }
        }
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let gone = |worker: &Worker| !worker.finished && worker.has_ended();
        Ok(self.workers.iter().position(gone))
    }

    /// Lets everybody who has finished exit by itself, then ends the group.
    pub(crate) fn dismiss(self) {
        let deadline = Instant::now() + FAREWELL;
        // A hog does not end by itself.
        for worker in self.workers.iter().filter(|worker| !matches!(worker.role, Role::Hog(_))) {
            let patience = deadline.saturating_duration_since(Instant::now());
            let timeout =
                Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
            let _ = poll(&mut [PollFd::new(&worker.pidfd, PollFlags::IN)], Some(&timeout));
        }
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        if let Some(leader) = self.workers.first() {
            // Fails only when all have ended.
            let _ = kill_process_group(pid(&leader.child), Signal::KILL);
        }
        for worker in &mut self.workers {
            let _ = worker.child.wait();
            // Its last words, after those that were waited for.
            let _ = worker.listen();
        }
    }
}

impl Worker {
    fn has_ended(&self) -> bool {
        let mut fd = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// The first whole thing it said that was not taken yet.
    fn take(&mut self) -> io::Result<Option<Reply>> {
        let reply = protocol::take(&mut self.inbox)?;
        self.finished |= matches!(reply, Some(Reply::Done(_) | Reply::Failed(_)));
        if let Some(name) = reply.as_ref().and_then(Reply::name) {
            log::debug!("from {}: {name}", self.role.name());
        }
        Ok(reply)
    }

    /// Reads what there is on both pipes.
    fn listen(&mut self) -> io::Result<()> {
        drain(&mut self.stdout, &mut self.inbox)?;
        let known = self.complaints.len();
        drain(&mut self.stderr, &mut self.complaints)?;
        logging::forward(&self.complaints[known..]);
        let excess = self.complaints.len().saturating_sub(KEPT_STDERR);
        self.complaints.drain(..excess);
        Ok(())
    }

    /// How it died and what it said last. Leaves the zombie, see [`Crew::start`].
    fn obituary(&mut self) -> Trouble {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let how = match waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
            Ok(Some(status)) => match (status.terminating_signal(), status.exit_status()) {
                (Some(9), _) => "signal 9; the kernel does that when memory runs out".to_owned(),
                (Some(signal), _) => format!("signal {signal}"),
                (None, Some(code)) => format!("exit code {code}"),
                (None, None) => "for an unknown reason".to_owned(),
            },
            _ => "for an unknown reason".to_owned(),
        };
        let text = String::from_utf8_lossy(&self.complaints);
        let last_line = text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
        Trouble::Died { role: self.role, how, last_line, seen: Instant::now() }
    }
}

/// Appends what is there now.
fn drain(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<()> {
    match from.read_to_end(to) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other.map(drop),
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_dies_within_a_word_is_told_of() {
        let signals = Signals::catch().unwrap();
        let mut crew = Crew::new(&signals);
        let mut command = Command::new("sh");
        // A frame of 16 bytes that ends after three.
        command.args(["-c", r"printf '\020\000\000\000abc'; echo last words >&2; kill -KILL $$"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        crew.adopt(Role::Client, command.spawn().unwrap()).unwrap();
        match crew.next(Duration::from_secs(60)) {
            Err(Trouble::Died { role: Role::Client, how, last_line, .. }) => {
                assert!(how.starts_with("signal 9"), "{how}");
                assert_eq!(last_line.as_deref(), Some("last words"));
            }
            other => panic!("{other:?}"),
        }
    }
}
