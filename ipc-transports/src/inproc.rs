//! `inproc:NAME`: the ring of [`shm`](crate::shm) between threads of one process, found by a name in this process.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use ipc_core::{
    Address, Armed, Capabilities, Connection, Interest, Listener, Options, Pair, Pollable, SetupError,
    SetupErrorKind, Target, Transport, Wait,
};
use rustix::event::{EventfdFlags, eventfd};

use crate::{Shm, ShmOptions, ShmReceiver, ShmSender, Trust};

/// Connections between threads of one process, with the same halves as [`Shm`]. Both ends get the options of the
/// listener. Messages are lent in place without [`Trust`]: nobody else is at the other end.
///
/// ```
/// use ipc_transports::{InProc, Listener, Receiver, Sender, ShmOptions, Transport, Wait};
/// let address = "inproc:doc-example".parse()?;
/// let options = ShmOptions::default();
/// let mut listener = InProc::listen(&address, &options)?;
/// let worker = std::thread::spawn(move || {
///     let mut connection = InProc::connect(&address, &options, Wait::Forever)?;
///     connection.tx.send(b"hello").map_err(std::io::Error::from)
/// });
/// let mut connection = listener.accept(Wait::Forever)?;
/// let mut message = Vec::new();
/// connection.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # worker.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct InProc;

type Half = Connection<ShmSender, ShmReceiver>;

fn trusted(options: ShmOptions) -> ShmOptions {
    ShmOptions { trust: Trust::own_process(), ..options }
}

/// Where connecting threads leave the accepting side's half.
#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<VecDeque<Half>>,
    arrived: Condvar,
    /// Rung for each arrival once an event loop has asked for it.
    bell: OnceLock<OwnedFd>,
    options: ShmOptions,
}

fn listeners() -> MutexGuard<'static, HashMap<String, Arc<Desk>>> {
    static LISTENERS: OnceLock<Mutex<HashMap<String, Arc<Desk>>>> = OnceLock::new();
    locked(LISTENERS.get_or_init(Mutex::default))
}

/// A map or queue is whole between any two statements, so a panic under the lock leaves it usable.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(address: &Address, op: &'static str) -> Result<String, SetupError> {
    match address.target() {
        Target::Name(name) => Ok(name.clone()),
        Target::Path(path) => Ok(path.to_string_lossy().into_owned()),
        _ => Err(SetupError::new(SetupErrorKind::BadAddress, op, address)
            .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, "expected inproc:NAME"))),
    }
}

/// Accepts [`InProc`] connections. Dropped, it frees its name and closes what was not accepted.
///
/// ```
/// use ipc_transports::{InProc, Listener, Receiver, Sender, Transport, Wait};
/// let address = "inproc:doc-listener".parse()?;
/// let mut listener = InProc::listen(&address, &Default::default())?;
/// // A thread of this process; the connection is there before anybody accepts it.
/// let mut client = InProc::connect(&address, &Default::default(), Wait::Forever)?;
/// client.tx.send(b"early")?;
/// let mut served = listener.accept(Wait::Forever)?;
/// assert_eq!(served.rx.recv(&mut Vec::new())?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct InProcListener {
    name: String,
    address: Address,
    desk: Arc<Desk>,
}

impl Listener for InProcListener {
    type Tx = ShmSender;
    type Rx = ShmReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Half, SetupError> {
        let mut waiting = locked(&self.desk.waiting);
        loop {
            if let Some(half) = waiting.pop_front() {
                return Ok(half);
            }
            waiting = match wait.remaining() {
                None => self.desk.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    return Err(SetupError::new(SetupErrorKind::TimedOut, "accept on", &self.address));
                }
                Some(left) => {
                    self.desk.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

impl Pollable for InProcListener {
    fn fd(&self) -> BorrowedFd<'_> {
        self.desk.bell.get().expect("a listener is armed before its descriptor is asked for").as_fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> std::io::Result<Armed> {
        let bell = match self.desk.bell.get() {
            Some(bell) => bell,
            None => {
                let fresh = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                self.desk.bell.get_or_init(|| fresh)
            }
        };
        // Drained before looking: whoever arrives after the look rings again.
        let _ = rustix::io::read(bell, &mut [0; 8]);
        Ok(if locked(&self.desk.waiting).is_empty() { Armed::MaySleep } else { Armed::Ready })
    }
}

impl Drop for InProcListener {
    fn drop(&mut self) {
        listeners().remove(&self.name);
    }
}

impl Transport for InProc {
    const NAME: &'static str = "inproc";
    type Options = ShmOptions;
    type Tx = ShmSender;
    type Rx = ShmReceiver;
    type Listener = InProcListener;

    fn listen(at: &Address, options: &ShmOptions) -> Result<InProcListener, SetupError> {
        const OP: &str = "listen on";
        let options = trusted(options.resolved(at)?);
        // Bad options are the listener's to hear of, not each client's.
        Shm::pair(&options)?;
        let name = name_of(at, OP)?;
        let mut listeners = listeners();
        if listeners.contains_key(&name) {
            return Err(SetupError::new(SetupErrorKind::InUse { pid: Some(std::process::id()) }, OP, at));
        }
        let desk = Arc::new(Desk { options, ..Desk::default() });
        listeners.insert(name.clone(), Arc::clone(&desk));
        Ok(InProcListener { name, address: at.clone(), desk })
    }

    /// Never waits: the connection is usable at once, before it is accepted.
    fn connect(to: &Address, options: &ShmOptions, _: Wait) -> Result<Half, SetupError> {
        const OP: &str = "connect to";
        options.resolved(to)?;
        let name = name_of(to, OP)?;
        let desk = listeners().get(&name).cloned();
        let desk = desk.ok_or_else(|| SetupError::new(SetupErrorKind::NotFound, OP, to))?;
        let (ours, theirs) = Shm::pair(&desk.options)?;
        locked(&desk.waiting).push_back(theirs);
        desk.arrived.notify_one();
        if let Some(bell) = desk.bell.get() {
            // Full after 2^64 − 2 rings only.
            let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        }
        Ok(ours)
    }

    fn pair(options: &ShmOptions) -> Result<Pair<InProc>, SetupError> {
        Shm::pair(&trusted(options.clone()))
    }

    fn capabilities() -> Capabilities {
        Shm::capabilities()
    }

    fn capabilities_with(options: &ShmOptions) -> Result<Capabilities, SetupError> {
        Shm::capabilities_with(options)
    }
}

#[cfg(test)]
mod tests {
    use ipc_core::{PeekReceiver, Sender};

    use super::*;

    /// Copies would all lie in one buffer.
    #[test]
    fn messages_are_lent_where_they_lie_in_the_ring() {
        let paired = InProc::pair(&ShmOptions::default()).unwrap();
        let address = "inproc:lent-in-place".parse().unwrap();
        let mut listener = InProc::listen(&address, &ShmOptions::default()).unwrap();
        let client = InProc::connect(&address, &ShmOptions::default(), Wait::Forever).unwrap();
        for (mut near, mut far) in [paired, (client, listener.accept(Wait::Forever).unwrap())] {
            let [first, second] = [0, 1].map(|_| {
                near.tx.send(b"a line of the ring each").unwrap();
                far.rx.recv_ref(Wait::Forever).unwrap().as_ptr().addr()
            });
            assert_eq!(second - first, 64);
        }
    }
}
