//! Processes of the operating system as children of supervisors: what needs the kernel.
//!
//! A process is started in a group of its own and known by its pidfd, never by its number alone. When the pidfd says
//! that it ended, the group is killed *before* the process is reaped: until then nobody else can have its number, so
//! the kill hits what the process left behind and nothing else (a pidfd does not hold a group:
//! <https://github.com/jdx/pitchfork/pull/632>).
//!
//! Invariant of the unsafe code: a descriptor in [`Watches`] is kept open by the map until it is deleted from the
//! poller; what runs between fork and exec calls the kernel and nothing else.
#![allow(unsafe_code)]

mod actor;
mod command;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use polling::{Event, Poller};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::process::{self as kernel, Pid, PidfdFlags, Signal};

pub use actor::{Process, ProcessRequest};
pub use command::{Cmd, Limit, Output, Ready, SecurityContext, announce_ready};

use crate::exit::ExitReason;
use crate::fail;

/// Runs when its descriptor is readable, once. `true`: or when the reactor ends.
type Call = Box<dyn FnOnce(bool) + Send>;

/// Descriptors that the reactor waits for.
#[derive(Default)]
pub(crate) struct Watches {
    state: Mutex<WatchState>,
}

#[derive(Default)]
struct WatchState {
    next: usize,
    watched: HashMap<usize, (Arc<OwnedFd>, Call)>,
    ended: bool,
}

impl Watches {
    /// Calls `call` once when `fd` is readable; returns the number for [`unwatch`](Self::unwatch).
    pub(crate) fn watch(&self, poller: &Poller, fd: Arc<OwnedFd>, call: Call) -> io::Result<usize> {
        let mut state = self.state.lock();
        if state.ended {
            drop(state);
            call(true);
            return Ok(usize::MAX);
        }
        let key = state.next;
        // SAFETY: the map below keeps the descriptor open until `unwatch`, `fire` or `end` has deleted it.
        fail::io("reactor.add").and_then(|()| unsafe { poller.add(fd.as_raw_fd(), Event::readable(key)) })?;
        state.next += 1;
        state.watched.insert(key, (fd, call));
        Ok(key)
    }

    pub(crate) fn unwatch(&self, poller: &Poller, key: usize) {
        let removed = self.state.lock().watched.remove(&key);
        if let Some((fd, _)) = removed {
            // It fails for a descriptor that is not there, and this one is.
            let _ = poller.delete(fd.as_fd());
        }
    }

    /// The descriptor with this number is readable.
    pub(crate) fn fire(&self, poller: &Poller, key: usize) {
        let Some((fd, call)) = self.state.lock().watched.remove(&key) else { return };
        let _ = poller.delete(fd.as_fd());
        call(false);
    }

    /// The reactor ends: calls everything that is left.
    pub(crate) fn end(&self, poller: &Poller) {
        let left: Vec<_> = {
            let mut state = self.state.lock();
            state.ended = true;
            state.watched.drain().collect()
        };
        for (_, (fd, call)) in left {
            let _ = poller.delete(fd.as_fd());
            call(true);
        }
    }
}

/// A process and whatever else is in its group, until it is reaped.
pub(crate) struct Group {
    child: Child,
    pid: Pid,
    pub(crate) pidfd: Arc<OwnedFd>,
    cgroup: Option<PathBuf>,
}

impl Group {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        fail::errno("process.signal")?;
        Ok(kernel::pidfd_send_signal(&*self.pidfd, signal)?)
    }

    /// Kills the process and its group, and its control group if it has one.
    pub(crate) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            // Older kernels have no such file; then the group is all.
            let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
        }
        // Nobody left in the group is what was wanted.
        let _ = kernel::kill_process_group(self.pid, Signal::KILL);
    }

    /// Waits for the process, which has ended or was killed, and says how it ended.
    pub(crate) fn reap(mut self) -> ExitReason {
        let ended = self.child.wait();
        match fail::io("process.reap").and(ended) {
            Ok(status) => reason(status),
            Err(error) => ExitReason::Error(format!("waitid: {error}").into()),
        }
    }
}

fn reason(status: ExitStatus) -> ExitReason {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitReason::Exited(code),
        (None, Some(signal)) => ExitReason::Signaled(signal),
        (None, None) => ExitReason::Error(status.to_string().into()),
    }
}

/// Makes the process. The second: where it says that it is ready, if it is to.
///
/// # Errors
/// What `exec` and the calls before it fail with; no process is left behind.
pub(crate) fn spawn(cmd: &Cmd, context: &SecurityContext) -> io::Result<(Group, Option<OwnedFd>)> {
    let mut command = Command::new(&cmd.program);
    command.args(&cmd.args).process_group(0).stdin(Stdio::null());
    command.stdout(cmd.stdout.open()?).stderr(cmd.stderr.open()?);
    context.apply(&mut command);
    command.envs(&cmd.env);
    let pipe = match cmd.ready {
        Ready::Handshake(_) => {
            fail::errno("process.pipe")?;
            Some(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
        }
        _ => None,
    };
    if let Some((_, theirs)) = &pipe {
        command.env(command::READY_FD, theirs.as_raw_fd().to_string());
    }
    let cgroup = context.cgroup.clone();
    let membership = match &cgroup {
        Some(path) => {
            let file = path.join("cgroup.procs");
            Some(rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?)
        }
        None => None,
    };
    let parent = kernel::getpid();
    let (limits, cpus) = (context.limits(), context.cpu_set());
    let (no_new_privileges, outlives) =
        (context.no_new_privileges.unwrap_or(false), context.outlives_parent.unwrap_or(false));
    let theirs = pipe.as_ref().map(|(_, theirs)| theirs.as_raw_fd());
    let prepare = move || {
        if !outlives {
            kernel::set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have died before the line above.
            if kernel::getppid() != Some(parent) {
                return Err(rustix::io::Errno::SRCH.into());
            }
        }
        if let Some(membership) = &membership {
            rustix::io::write(membership, b"0")?;
        }
        for (resource, limit) in &limits {
            kernel::setrlimit(*resource, *limit)?;
        }
        if let Some(cpus) = &cpus {
            rustix::thread::sched_setaffinity(None, cpus)?;
        }
        if no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        if let Some(theirs) = theirs {
            // SAFETY: the pipe lives in the caller's frame until the process is made.
            let theirs = unsafe { std::os::fd::BorrowedFd::borrow_raw(theirs) };
            rustix::io::fcntl_setfd(theirs, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls and allocates nothing; it is the only thread of the child.
    unsafe { command.pre_exec(prepare) };
    let mut child = fail::io("process.fork").and_then(|()| command.spawn())?;
    drop(command);
    let pid = Pid::from_child(&child);
    let pidfd = fail::errno("process.pidfd").and_then(|()| kernel::pidfd_open(pid, PidfdFlags::empty()));
    let pidfd = match pidfd {
        Ok(pidfd) => Arc::new(pidfd),
        Err(error) => {
            // Not reaped yet, so the number is still its own.
            let _ = kernel::kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            return Err(error.into());
        }
    };
    Ok((Group { child, pid, pidfd, cgroup }, pipe.map(|(ours, _)| ours)))
}
