//! The second process of a test: the program `peer`, its cues over standard input and output, and its end.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::end::Cue;

/// A running `peer`. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Peer {
    /// Line to the peer. `None` once an [`End`](crate::end::End) has it.
    pub cue: Option<Cue>,
    killer: Killer,
}

impl Peer {
    /// Starts `program` (the path of the binary `peer`) with `arguments`.
    pub fn spawn(program: &Path, arguments: &[&str]) -> Peer {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let cue = stdin.zip(stdout).map(|(stdin, stdout)| Cue::over(stdout, stdin));
        Peer { cue, killer: Killer(Arc::new(Mutex::new(child))) }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.killer.child(|child| child.id())
    }

    /// What kills it, for another thread.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Waits until it has ended by itself; panics unless with success.
    pub fn finish(self) {
        let status = self.killer.child(|child| child.wait()).expect("the peer can be waited for");
        assert!(status.success(), "the far side failed: {status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.killer.kill();
    }
}

/// Ends a peer by SIGKILL.
#[derive(Clone, Debug)]
pub struct Killer(Arc<Mutex<Child>>);

impl Killer {
    fn child<R>(&self, f: impl FnOnce(&mut Child) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills and reaps the peer. Harmless if it has ended.
    pub fn kill(&self) -> Option<ExitStatus> {
        self.child(|child| {
            let _ = child.kill();
            child.wait().ok()
        })
    }

    /// Runs `wait` here, and kills the peer from another thread once this thread sleeps in the kernel. A thread that
    /// spins instead of sleeping is given 100 ms: when the blow falls does not change what must be answered.
    pub fn kill_during<R>(&self, wait: impl FnOnce() -> R) -> R {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let stat = format!("/proc/self/task/{thread}/stat");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let enough = Instant::now() + Duration::from_millis(100);
                while !is_asleep(&stat) && Instant::now() < enough {
                    std::thread::yield_now();
                }
                self.kill();
            });
            wait()
        })
    }
}

/// True if the thread of this `stat` file sleeps.
fn is_asleep(stat: &str) -> bool {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}
