//! What a process child is: its program, its surroundings, and how it says that it is ready.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;

use crate::health::Health;

/// Names the descriptor on which a process with [`Ready::Handshake`] writes a newline when it is ready.
pub(super) const READY_FD: &str = "IPC_ACTORS_READY_FD";

/// When a process counts as started.
#[derive(Clone)]
pub enum Ready {
    /// As soon as it runs.
    Spawned,
    /// When it has written a newline on the descriptor whose number is in the environment variable
    /// `IPC_ACTORS_READY_FD` (the convention of s6; [`announce_ready`] does it), within this time.
    Handshake(Duration),
    /// When `check`, called with its number every `interval`, says so, within `timeout`. It runs on a worker and must
    /// not block.
    Probe {
        /// Whether it is ready.
        check: Arc<dyn Fn(u32) -> bool + Send + Sync>,
        /// Time between calls.
        interval: Duration,
        /// Time in all.
        timeout: Duration,
    },
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ready::Spawned => f.write_str("Spawned"),
            Ready::Handshake(timeout) => f.debug_tuple("Handshake").field(timeout).finish(),
            Ready::Probe { interval, timeout, .. } => f
                .debug_struct("Probe")
                .field("interval", interval)
                .field("timeout", timeout)
                .finish_non_exhaustive(),
        }
    }
}

/// Tells the supervisor in the parent process that this process is ready. False: it was not started with
/// [`Ready::Handshake`].
///
/// # Errors
/// The descriptor is there and cannot be written to.
pub fn announce_ready() -> io::Result<bool> {
    let Some(number) = std::env::var_os(READY_FD) else { return Ok(false) };
    let path = Path::new("/proc/self/fd").join(number);
    OpenOptions::new().write(true).open(path)?.write_all(b"\n")?;
    Ok(true)
}

/// Where what a process prints goes.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Output {
    /// Where its parent's goes.
    #[default]
    Inherit,
    /// Nowhere.
    Null,
    /// Behind what this file holds.
    Append(PathBuf),
}

impl Output {
    pub(super) fn open(&self) -> io::Result<Stdio> {
        Ok(match self {
            Output::Inherit => Stdio::inherit(),
            Output::Null => Stdio::null(),
            Output::Append(path) => OpenOptions::new().append(true).create(true).open(path)?.into(),
        })
    }
}

/// A command for [`Child::process`](crate::Child::process). Its standard input is empty.
#[derive(Clone)]
pub struct Cmd {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) ready: Ready,
    pub(super) kill_after: Duration,
    pub(super) context: SecurityContext,
    pub(super) health: Option<Arc<dyn Fn(u32) -> Health + Send + Sync>>,
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmd")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("ready", &self.ready)
            .field("kill_after", &self.kill_after)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl Cmd {
    /// Runs `program`, looked for in `PATH` unless it has a slash.
    pub fn new(program: impl AsRef<OsStr>) -> Cmd {
        Cmd {
            program: program.as_ref().into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            ready: Ready::Spawned,
            kill_after: Duration::from_secs(5),
            context: SecurityContext::default(),
            health: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Cmd {
        self.args.push(arg.as_ref().into());
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Cmd {
        self.env.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    /// Sets where its standard output goes.
    #[must_use]
    pub fn stdout(self, stdout: Output) -> Cmd {
        Cmd { stdout, ..self }
    }

    /// Sets where its standard error goes.
    #[must_use]
    pub fn stderr(self, stderr: Output) -> Cmd {
        Cmd { stderr, ..self }
    }

    /// Sets when it counts as started; as soon as it runs unless said.
    #[must_use]
    pub fn ready(self, ready: Ready) -> Cmd {
        Cmd { ready, ..self }
    }

    /// Sets how long after SIGTERM its group is sent SIGKILL, 5 s unless said.
    #[must_use]
    pub fn kill_after(self, kill_after: Duration) -> Cmd {
        Cmd { kill_after, ..self }
    }

    /// Sets what it may; what is not set is as its supervisor says.
    #[must_use]
    pub fn security(self, context: SecurityContext) -> Cmd {
        Cmd { context, ..self }
    }

    /// Answers health checks ([`Child::health`](crate::Child::health)) by calling `check` with its number, on a worker.
    #[must_use]
    pub fn health(self, check: impl Fn(u32) -> Health + Send + Sync + 'static) -> Cmd {
        Cmd { health: Some(Arc::new(check)), ..self }
    }
}

/// A resource of a process that can be limited; `setrlimit(2)` says what each means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Limit {
    /// Address space in bytes.
    AddressSpace,
    /// Size of a core file in bytes.
    Core,
    /// CPU time in seconds.
    Cpu,
    /// Size of a file it writes in bytes.
    FileSize,
    /// Locked memory in bytes.
    LockedMemory,
    /// One more than its highest descriptor.
    OpenFiles,
    /// Processes and threads of its user.
    Processes,
    /// Stack in bytes.
    Stack,
}

impl Limit {
    fn resource(self) -> Resource {
        match self {
            Limit::AddressSpace => Resource::As,
            Limit::Core => Resource::Core,
            Limit::Cpu => Resource::Cpu,
            Limit::FileSize => Resource::Fsize,
            Limit::LockedMemory => Resource::Memlock,
            Limit::OpenFiles => Resource::Nofile,
            Limit::Processes => Resource::Nproc,
            Limit::Stack => Resource::Stack,
        }
    }
}

/// What a process may. Each part that is `None` is as the supervisor above says, and for the root's children as this
/// process has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityContext {
    /// Its user. Set by root, it also takes away the supplementary groups.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Its whole environment, instead of this process's; [`Cmd::env`] adds to it.
    pub env: Option<Vec<(OsString, OsString)>>,
    /// Its working directory.
    pub dir: Option<PathBuf>,
    /// Its limits, soft and hard alike.
    pub limits: Option<Vec<(Limit, u64)>>,
    /// Whether it is kept from gaining privileges by what it executes (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: Option<bool>,
    /// The CPUs it runs on.
    pub cpus: Option<Vec<usize>>,
    /// The directory of a control group (version 2) that it joins, and that is killed as a whole.
    pub cgroup: Option<PathBuf>,
    /// Whether it goes on when this process dies. Unless said it is killed (`PR_SET_PDEATHSIG`); processes that it
    /// started itself are not.
    pub outlives_parent: Option<bool>,
}

impl SecurityContext {
    /// Changes nothing.
    pub fn new() -> Self {
        SecurityContext::default()
    }

    /// This context, and where it says nothing, `outer`.
    #[must_use]
    pub fn within(&self, outer: &SecurityContext) -> SecurityContext {
        SecurityContext {
            uid: self.uid.or(outer.uid),
            gid: self.gid.or(outer.gid),
            env: self.env.as_ref().or(outer.env.as_ref()).cloned(),
            dir: self.dir.as_ref().or(outer.dir.as_ref()).cloned(),
            limits: self.limits.as_ref().or(outer.limits.as_ref()).cloned(),
            no_new_privileges: self.no_new_privileges.or(outer.no_new_privileges),
            cpus: self.cpus.as_ref().or(outer.cpus.as_ref()).cloned(),
            cgroup: self.cgroup.as_ref().or(outer.cgroup.as_ref()).cloned(),
            outlives_parent: self.outlives_parent.or(outer.outlives_parent),
        }
    }

    /// Sets what `Command` can set.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Some(env) = &self.env {
            command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if let Some(gid) = self.gid {
            command.gid(gid);
        }
        if let Some(uid) = self.uid {
            command.uid(uid);
        }
    }

    pub(super) fn limits(&self) -> Vec<(Resource, Rlimit)> {
        let limits = self.limits.iter().flatten();
        let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
        limits.map(|(limit, value)| (limit.resource(), both(*value))).collect()
    }

    pub(super) fn cpu_set(&self) -> Option<CpuSet> {
        let mut set = CpuSet::new();
        self.cpus.as_ref()?.iter().for_each(|cpu| set.set(*cpu));
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_as_the_supervisor_says() {
        let outer = SecurityContext {
            uid: Some(1),
            dir: Some("/".into()),
            no_new_privileges: Some(true),
            ..SecurityContext::new()
        };
        let inner =
            SecurityContext { uid: Some(2), no_new_privileges: Some(false), ..SecurityContext::new() };
        let both = inner.within(&outer);
        assert_eq!((both.uid, both.no_new_privileges), (Some(2), Some(false)));
        assert_eq!(both.dir, Some("/".into()));
        assert_eq!(SecurityContext::new().within(&outer), outer);
    }
}
