use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use ipc_core::{Address, Connection, Interest, Listener, Pollable, Receiver, Sender, Transport, Wait};
use mio::unix::SourceFd;
use mio::{Events, Token};
use parking_lot::Mutex;

use crate::table::Table;
use crate::timer::{Sleep, Timeout, Timers};
use crate::{AsyncListener, AsyncReceiver, AsyncSender, Connect};

/// The token of the reactor's own waker.
const WAKER: Token = Token(usize::MAX);

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// What handles and futures share with the reactor.
pub(crate) struct Shared {
    registry: mio::Registry,
    waker: mio::Waker,
    pub(crate) table: Mutex<Table>,
    pub(crate) timers: Mutex<Timers>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("registered", &self.table.lock().len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes a sleeping reactor look at its timers, or at whether it is to stop.
    pub(crate) fn interrupt(&self) {
        // An eventfd write fails only when 2^64 − 2 of them are unread; then the reactor is woken anyway.
        let _ = self.waker.wake();
    }

    /// # Errors
    /// A descriptor or epoll limit is reached.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<(usize, RawFd)> {
        let token = self.table.lock().insert();
        let interest = match interest {
            Interest::Readable => mio::Interest::READABLE,
            Interest::Writable => mio::Interest::WRITABLE,
        };
        let raw = fd.as_raw_fd();
        match self.registry.register(&mut SourceFd(&raw), Token(token), interest) {
            Ok(()) => Ok((token, raw)),
            Err(error) => {
                self.table.lock().remove(token);
                Err(error)
            }
        }
    }

    /// Undoes [`register`](Shared::register), before the descriptor is closed.
    pub(crate) fn deregister(&self, token: usize, fd: RawFd) {
        // Fails only for a descriptor that is not registered, which is what is wanted.
        let _ = self.registry.deregister(&mut SourceFd(&fd));
        self.table.lock().remove(token);
    }
}

/// Attaches halves and listeners to a reactor, and makes timeouts. Cheap to clone.
///
/// ```
/// use ipc_async::Reactor;
/// use std::time::{Duration, Instant};
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let moment = Instant::now() + Duration::from_millis(1);
/// reactor.block_on(handle.sleep_until(moment));
/// assert!(Instant::now() >= moment);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// Both halves of a connection, awaitable.
    pub fn attach<Tx, Rx>(
        &self,
        connection: Connection<Tx, Rx>,
    ) -> Connection<AsyncSender<Tx>, AsyncReceiver<Rx>>
    where
        Tx: Sender + Pollable,
        Rx: Receiver + Pollable,
    {
        connection.map(|tx| self.sender(tx), |rx| self.receiver(rx))
    }

    /// A sending half, awaitable.
    pub fn sender<S: Sender + Pollable>(&self, half: S) -> AsyncSender<S> {
        AsyncSender::new(self, half)
    }

    /// A receiving half, awaitable.
    pub fn receiver<R: Receiver + Pollable>(&self, half: R) -> AsyncReceiver<R> {
        AsyncReceiver::new(self, half)
    }

    /// A listener, awaitable.
    pub fn listener<L: Listener + Pollable>(&self, listener: L) -> AsyncListener<L> {
        AsyncListener::new(self, listener)
    }

    /// Connects to `to` within `wait`; the halves are attached to this reactor. The handshake begins at once, on a thread
    /// of its own that ends with it.
    ///
    /// **Dropped early**, the handshake still goes on until it is done or `wait` is over, and its connection is closed
    /// then: the listener may see a client that leaves at once.
    ///
    /// ```
    /// use futures_lite::future;
    /// use ipc_async::Reactor;
    /// use ipc_transports::{Tcp, TcpOptions, Transport, Wait};
    ///
    /// let mut reactor = Reactor::new()?;
    /// let handle = reactor.handle();
    /// let listener = Tcp::listen(&"tcp:127.0.0.1:0".parse()?, &TcpOptions::default())?;
    /// let mut listener = handle.listener(listener);
    /// let to = listener.address().clone();
    /// reactor.block_on(async {
    ///     let connecting = handle.connect::<Tcp>(&to, &TcpOptions::default(), Wait::Forever);
    ///     let (mut near, far) = future::try_zip(connecting, listener.accept()).await?;
    ///     near.tx.send(b"hello").await?;
    ///     # drop(far);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connect<T>(&self, to: &Address, options: &T::Options, wait: Wait) -> Connect<T>
    where
        T: Transport<Tx: Pollable + 'static, Rx: Pollable + 'static, Options: Send + 'static>,
    {
        Connect::new(self, to, options, wait)
    }

    /// Ready at `deadline`.
    ///
    /// **Dropped early**, the deadline is forgotten.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::new(self, deadline)
    }

    /// The output of `future`, or [`TimedOut`](crate::TimedOut) after `duration`; `future` is then dropped.
    ///
    /// **Dropped early**, `future` is dropped with it.
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> Timeout<F> {
        Timeout::new(self, duration, future)
    }
}

/// Waits for readiness on behalf of futures, on the thread that drives it: [`block_on`](Reactor::block_on) or
/// [`turn`](Reactor::turn). The lowest latency there is: no other thread is involved.
///
/// ```
/// use ipc_async::Reactor;
/// use ipc_transports::{Transport, Uds};
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let (near, far) = Uds::pair(&Default::default())?;
/// let (mut near, mut far) = (handle.attach(near), handle.attach(far));
/// reactor.block_on(async {
///     near.tx.send(b"hello").await?;
///     let mut message = Vec::new();
///     far.rx.recv(&mut message).await?;
///     assert_eq!(message, b"hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reactor {
    poll: mio::Poll,
    events: Events,
    handle: Handle,
    /// Wakers taken from the table, to be woken when its lock is released.
    woken: Vec<Waker>,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl Reactor {
    /// A reactor with nothing to wait for.
    ///
    /// # Errors
    /// A descriptor limit is reached.
    pub fn new() -> io::Result<Reactor> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, WAKER)?;
        let shared = Shared { registry, waker, table: Mutex::default(), timers: Mutex::default() };
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS),
            handle: Handle { shared: Arc::new(shared) },
            woken: Vec::new(),
        })
    }

    /// What attaches halves to this reactor.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `future` to its end on this thread, turning the reactor whenever it has to wait.
    ///
    /// # Panics
    /// `epoll_wait` fails for another reason than a signal, which a valid descriptor rules out.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let signal = Arc::new(Signal {
            woken: AtomicBool::new(false),
            thread: thread::current().id(),
            handle: self.handle(),
        });
        let waker = Waker::from(signal.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            // A future that wakes itself to let others run must not keep their events from them.
            let mut timeout = signal.woken.load(SeqCst).then_some(Duration::ZERO);
            loop {
                if let Err(error) = self.turn(timeout) {
                    panic!("epoll_wait failed: {error}");
                }
                if signal.woken.swap(false, SeqCst) {
                    break;
                }
                timeout = None;
            }
        }
    }

    /// Waits for events, at most until `timeout` has passed or the next timer is due, and wakes whoever waits for them.
    /// For event loops of one's own.
    ///
    /// # Errors
    /// The system call failed; an interruption by a signal is none.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let shared = &*self.handle.shared;
        let next_timer = shared.timers.lock().time_left();
        let timeout = [timeout, next_timer].into_iter().flatten().min();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            done => done?,
        }
        if !self.events.is_empty() {
            let mut table = shared.table.lock();
            self.woken.extend(self.events.iter().filter_map(|event| table.event(event.token().0)));
        }
        if next_timer.is_some() {
            shared.timers.lock().take_due(&mut self.woken);
        }
        // Outside the locks: a waker may run or drop whatever it likes.
        self.woken.drain(..).for_each(Waker::wake);
        Ok(())
    }

    /// Gives the reactor to a thread of its own, so that its futures can be awaited under any executor.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn into_thread(mut self) -> io::Result<ReactorThread> {
        let handle = self.handle();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("ipc-reactor".into()).spawn(move || {
            while !stopped.load(SeqCst) {
                self.turn(None)?;
            }
            Ok(())
        })?;
        Ok(ReactorThread { handle, stop, thread: Some(thread) })
    }
}

/// Wakes a thread that runs [`Reactor::block_on`].
struct Signal {
    woken: AtomicBool,
    thread: ThreadId,
    handle: Handle,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The thread itself looks at the flag before it sleeps; any other has to interrupt its sleep.
        if !self.woken.swap(true, SeqCst) && thread::current().id() != self.thread {
            self.handle.shared.interrupt();
        }
    }
}

/// A [`Reactor`] on a thread of its own. Dropped, it stops: futures that still wait for it are never woken again.
///
/// ```
/// use futures_lite::future;
/// use ipc_async::ReactorThread;
/// use ipc_transports::{Sender, Shm, Transport};
/// let reactor = ReactorThread::start()?;
/// let (near, mut far) = Shm::pair(&Default::default())?;
/// let mut rx = reactor.handle().receiver(near.rx);
/// far.tx.send(b"hello")?;
/// // Any executor will do.
/// let message = future::block_on(async {
///     let mut message = Vec::new();
///     rx.recv(&mut message).await.map(|_| message)
/// })?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReactorThread {
    handle: Handle,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ReactorThread {
    /// Starts a fresh reactor on a thread.
    ///
    /// # Errors
    /// No descriptor or no thread is left.
    pub fn start() -> io::Result<ReactorThread> {
        Reactor::new()?.into_thread()
    }

    /// What attaches halves to this reactor.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for ReactorThread {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        self.handle.shared.interrupt();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
