use crate::{Address, Incoming, Options, Receiver, Sender, SetupError, Wait};

/// What the kernel says about the process at the other end.
///
/// ```
/// use ipc_core::PeerInfo;
/// let peer = PeerInfo::new(Some(1000), Some(4242));
/// assert_eq!(peer.uid, Some(1000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// User id, from `SO_PEERCRED`; `None` over TCP.
    pub uid: Option<u32>,
    /// Process id at connect time, from `SO_PEERCRED`. For messages to people only: a pid can be reused.
    pub pid: Option<u32>,
}

impl PeerInfo {
    /// What `SO_PEERCRED` told.
    pub fn new(uid: Option<u32>, pid: Option<u32>) -> Self {
        PeerInfo { uid, pid }
    }
}

/// Both halves of one bidirectional connection.
///
/// ```
/// use ipc_core::Connection;
/// /// What really is in force, for a log.
/// fn settings<Tx, Rx>(connection: &Connection<Tx, Rx>) -> String {
///     connection.effective.iter().map(|(name, value)| format!("{name}={value} ")).collect()
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<Tx, Rx> {
    /// The sending half.
    pub tx: Tx,
    /// The receiving half.
    pub rx: Rx,
    /// Who is at the other end.
    pub peer: PeerInfo,
    /// Settings really in force after negotiation and after the kernel had its say, e.g. `("sndbuf", 212992)`. Bytes
    /// unless the name says otherwise.
    pub effective: Vec<(&'static str, u64)>,
}

impl<Tx, Rx> Connection<Tx, Rx> {
    /// Puts a connection together; transports call this.
    pub fn new(tx: Tx, rx: Rx, peer: PeerInfo, effective: Vec<(&'static str, u64)>) -> Self {
        Connection { tx, rx, peer, effective }
    }

    /// The same connection with other halves, e.g. wrapped ones.
    pub fn map<Tx2, Rx2>(
        self,
        tx: impl FnOnce(Tx) -> Tx2,
        rx: impl FnOnce(Rx) -> Rx2,
    ) -> Connection<Tx2, Rx2> {
        Connection { tx: tx(self.tx), rx: rx(self.rx), peer: self.peer, effective: self.effective }
    }
}

/// Accepts connections at one address. Dropped, it removes what it had put there.
pub trait Listener: Send {
    /// Sending half of an accepted connection.
    type Tx: Sender;
    /// Receiving half of an accepted connection.
    type Rx: Receiver;

    /// Waits for the next client that completes its handshake. A client that fails it costs that client only.
    ///
    /// # Errors
    /// `TimedOut` when no client came before `wait` was over (also for [`Wait::Never`]); `Limit` when this process
    /// has no descriptor left for one more client; `Io` when the listener itself failed.
    fn accept(&mut self, wait: Wait) -> Result<Connection<Self::Tx, Self::Rx>, SetupError>;

    /// The address to connect to, with what the system chose (the port of `tcp:127.0.0.1:0`) filled in.
    fn address(&self) -> &Address;

    /// Clients as they come, for a loop that hands each to a thread of its own. What happens when descriptors run out:
    /// [`Incoming`].
    ///
    /// ```
    /// # use ipc_core::{Listener, Receiver, Sender};
    /// # fn over<L: Listener>(listener: &mut L) where L::Tx: 'static, L::Rx: 'static {
    /// for connection in listener.incoming() {
    ///     match connection {
    ///         Ok(mut connection) => drop(std::thread::spawn(move || connection.tx.send(b"hello"))),
    ///         Err(error) => eprintln!("{error}"),
    ///     }
    /// }
    /// # }
    /// ```
    fn incoming(&mut self) -> Incoming<'_, Self>
    where
        Self: Sized,
    {
        Incoming::new(self)
    }
}

/// What a mechanism can do on this machine.
///
/// ```
/// use ipc_core::{Capabilities, Transport};
/// fn fits<T: Transport>(len: usize) -> bool {
///     let Capabilities { max_message, .. } = T::capabilities();
///     len <= max_message
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Clients one listener serves at once; `None`: as many as there are descriptors.
    pub max_clients: Option<usize>,
    /// Longest message in bytes.
    pub max_message: usize,
    /// The sender is a [`LoanSender`](crate::LoanSender).
    pub loan: bool,
    /// The receiver is a [`PeekReceiver`](crate::PeekReceiver).
    pub peek: bool,
    /// Both halves are [`Pollable`](crate::Pollable).
    pub pollable: bool,
    /// Distinct message priorities; 1 means none.
    pub priorities: u32,
}

/// Both ends of a connection inside one process.
///
/// ```
/// use ipc_core::{Pair, SetupError, Transport};
/// fn pair<T: Transport>() -> Result<Pair<T>, SetupError> {
///     T::pair(&T::Options::default())
/// }
/// ```
pub type Pair<T> = (
    Connection<<T as Transport>::Tx, <T as Transport>::Rx>,
    Connection<<T as Transport>::Tx, <T as Transport>::Rx>,
);

/// A mechanism: how connections of one scheme come into being. Implement it to bring your own.
///
/// ```
/// use ipc_core::{Receiver, Sender, Transport};
/// /// The same program over any mechanism.
/// fn say_hello<T: Transport>() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
///     let (mut near, mut far) = T::pair(&T::Options::default())?;
///     near.tx.send(b"hello")?;
///     let mut message = Vec::new();
///     far.rx.recv(&mut message)?;
///     Ok(message)
/// }
/// ```
pub trait Transport: 'static {
    /// The address scheme, e.g. `"uds"`.
    const NAME: &'static str;
    /// Options of this mechanism.
    type Options: Options;
    /// Sending half.
    type Tx: Sender;
    /// Receiving half.
    type Rx: Receiver;
    /// Listener.
    type Listener: Listener<Tx = Self::Tx, Rx = Self::Rx>;

    /// Starts listening. Fields set in `options` win over the query of the address.
    ///
    /// # Errors
    /// `InUse` when a live listener has the address, `Denied`, `Limit`, `NameTooLong`, `BadAddress`, `Unsupported`.
    fn listen(at: &Address, options: &Self::Options) -> Result<Self::Listener, SetupError>;

    /// Connects and completes the handshake within `wait`.
    ///
    /// # Errors
    /// `NotFound` when nobody listens there, `Denied`, `Mismatch` when the programs do not fit together,
    /// `TimedOut`, `Limit`, `BadAddress`, `Unsupported`.
    fn connect(
        to: &Address,
        options: &Self::Options,
        wait: Wait,
    ) -> Result<Connection<Self::Tx, Self::Rx>, SetupError>;

    /// A connected pair inside this process.
    ///
    /// # Errors
    /// `Limit` or `Unsupported`.
    fn pair(options: &Self::Options) -> Result<Pair<Self>, SetupError>
    where
        Self: Sized;

    /// What this mechanism can do here with default options; [`capabilities_with`](Transport::capabilities_with) tells
    /// whether it can be used at all.
    fn capabilities() -> Capabilities;

    /// What this mechanism can do here with `options`, of which both sides have the same. Makes no connection, so one
    /// can still fail for want of what others hold: memory, queues, descriptors. By default what
    /// [`capabilities`](Transport::capabilities) says, whatever the options.
    ///
    /// # Errors
    /// `Unsupported` when this kernel has not what the mechanism needs, `BadAddress` for an option out of its range.
    fn capabilities_with(options: &Self::Options) -> Result<Capabilities, SetupError> {
        let _ = options;
        Ok(Self::capabilities())
    }
}
