use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use ipc_core::{Address, Connection, Pollable, SetupError, SetupErrorKind, Transport, Wait};
use parking_lot::Mutex;

use crate::{AsyncReceiver, AsyncSender, Handle};

/// What a transport's connect answers.
type Made<T> = Result<Connection<<T as Transport>::Tx, <T as Transport>::Rx>, SetupError>;

/// Where the connecting thread leaves its result.
struct Shared<T: Transport> {
    made: Option<Made<T>>,
    waker: Option<Waker>,
}

/// A connection in the making: [`Handle::connect`].
///
/// ```
/// use ipc_async::Reactor;
/// use ipc_transports::{Listener, Tcp, Transport, Wait};
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let listener = Tcp::listen(&"tcp:127.0.0.1:0".parse()?, &Default::default())?;
/// let connecting = handle.connect::<Tcp>(listener.address(), &Default::default(), Wait::Forever);
/// let mut listener = handle.listener(listener);
/// let (accepted, connected) =
///     reactor.block_on(futures_lite::future::zip(listener.accept(), connecting));
/// accepted?;
/// connected?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Connect<T: Transport> {
    shared: Arc<Mutex<Shared<T>>>,
    handle: Handle,
}

/// `error` of starting a thread: `EAGAIN` is the limit on the user's processes where there is one (pthread_create(3)).
fn no_thread(to: &Address, error: &io::Error) -> SetupError {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max processes")?.split_whitespace().next());
    let (kind, fix) = match soft.and_then(|soft| soft.parse::<u64>().ok()) {
        Some(have) if error.kind() == io::ErrorKind::WouldBlock => {
            let kind = SetupErrorKind::Limit { name: "RLIMIT_NPROC", need: have.saturating_add(1), have };
            (
                kind,
                "; connecting takes a thread, and all threads of the user count: end some or raise it with ulimit -u",
            )
        }
        _ => (SetupErrorKind::Io, ""),
    };
    SetupError::new(kind, "connect to", to).because(io::Error::new(error.kind(), format!("{error}{fix}")))
}

impl<T: Transport> fmt::Debug for Connect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("transport", &T::NAME).finish_non_exhaustive()
    }
}

impl<T: Transport> Connect<T> {
    /// A handshake is a few messages with a deadline and knows no descriptor to await before there is a connection, so it
    /// runs as it is, on a thread of its own; the halves it makes are awaited on the reactor.
    pub(crate) fn new(handle: &Handle, to: &Address, options: &T::Options, wait: Wait) -> Self
    where
        T: Transport<Tx: 'static, Rx: 'static, Options: Send + 'static>,
    {
        let shared = Arc::new(Mutex::new(Shared::<T> { made: None, waker: None }));
        let (theirs, at, options) = (shared.clone(), to.clone(), options.clone());
        let started = thread::Builder::new().name("ipc-connect".into()).spawn(move || {
            let made = T::connect(&at, &options, wait);
            let waker = {
                let mut shared = theirs.lock();
                shared.made = Some(made);
                shared.waker.take()
            };
            // Outside the lock: a waker may run or drop whatever it likes.
            waker.into_iter().for_each(Waker::wake);
        });
        if let Err(error) = started {
            let failed = no_thread(to, &error);
            shared.lock().made = Some(Err(failed));
        }
        Connect { shared, handle: handle.clone() }
    }
}

impl<T> Future for Connect<T>
where
    T: Transport<Tx: Pollable, Rx: Pollable>,
{
    type Output = Result<Connection<AsyncSender<T::Tx>, AsyncReceiver<T::Rx>>, SetupError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut shared = self.shared.lock();
        match shared.made.take() {
            Some(made) => Poll::Ready(made.map(|connection| self.handle.attach(connection))),
            None => {
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
