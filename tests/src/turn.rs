//! Who may run beside whom: queue tests one at a time on the whole machine, spinning tests alone in this process.

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ipc_transports::Transport;

static CPU: RwLock<()> = RwLock::new(());
static QUEUES: Mutex<()> = Mutex::new(());

/// Permission to run, given back when it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub struct Turn {
    queues: Option<(MutexGuard<'static, ()>, Option<File>)>,
    cpu: Cpu,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Cpu {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Turn {
    /// Waits for the turn of a test of `T` with these options.
    pub fn of<T: Transport>(options: &str) -> Turn {
        let queues = (T::NAME == "mq").then(|| {
            let here = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
            (here, lock_queues_of_the_machine())
        });
        let cpu = if options.contains("wait=spin") {
            Cpu::Alone(CPU.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Cpu::Shared(CPU.read().unwrap_or_else(PoisonError::into_inner))
        };
        Turn { queues, cpu }
    }
}

/// The budget of queues belongs to the user, not to the process: a lock on what the limits are read from keeps other
/// test runs out and leaves nothing behind.
fn lock_queues_of_the_machine() -> Option<File> {
    let limits = File::open("/proc/sys/fs/mqueue").ok()?;
    rustix::fs::flock(&limits, rustix::fs::FlockOperation::LockExclusive).ok()?;
    Some(limits)
}
