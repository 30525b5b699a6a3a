//! Unix sockets: streams (`uds:NAME`, `uds:/absolute/path`) and sequenced packets (`uds-seqpacket:…`). They differ in
//! the socket type and in the halves; how connections come into being is written once, over [`Kind`].

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipc_core::frame::Framing;
use ipc_core::hello::{Agreed, FLAG_CRC, Hello};
use ipc_core::{
    Address, Capabilities, Connection, Fingerprint, Listener, OptionError, Options, Pair, PeerInfo, Receiver,
    Sender, SetupError, SetupErrorKind, Transport, Wait, WaitPolicy, frame,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::doorbell::pollable_listener;
use crate::errno::setup_error;
use crate::features::{Features, features};
use crate::handshake::{Handshakes, Opening, agreed_in_a_pair, greet, own_hello, say};
use crate::places::Place;
use crate::rendezvous::Rendezvous;
use crate::seqpacket::{UdsSeqpacketReceiver, UdsSeqpacketSender};
use crate::socket::{Buffers, Socket, halves};
use crate::stream::{Attempts, Shared, StreamReceiver, StreamSender};
use crate::{peer, rendezvous};

/// Longest message when nothing else is asked for: 16 MiB.
pub(crate) const DEFAULT_MAX_MESSAGE: usize = 16 << 20;

/// Sending half of a Unix stream connection.
pub type UdsSender = StreamSender<Socket>;
/// Receiving half of a Unix stream connection.
pub type UdsReceiver = StreamReceiver<Socket>;

/// Unix stream sockets. Works everywhere, also between containers that share a directory.
///
/// ```
/// use ipc_transports::{Sender, Receiver, Transport, Uds, UdsOptions};
/// let (mut one, mut other) = Uds::pair(&UdsOptions::default())?;
/// one.tx.send(b"hello")?;
/// let mut message = Vec::new();
/// other.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Uds;

/// Unix sockets that keep message boundaries (`SOCK_SEQPACKET`): one datagram per message however the reader is
/// timed, and messages no longer than the send buffer (`SO_SNDBUF` − 40 bytes, 208 KiB by default).
///
/// ```
/// use ipc_transports::{Sender, Receiver, Transport, UdsOptions, UdsSeqpacket};
/// let (mut one, mut other) = UdsSeqpacket::pair(&UdsOptions::default())?;
/// one.tx.send(b"hello")?;
/// let mut message = Vec::new();
/// other.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UdsSeqpacket;

/// What tells one type of Unix socket from the other.
#[doc(hidden)]
pub trait Kind: Sized + std::fmt::Debug + 'static {
    const TYPE: SocketType;
    const LAYOUT: u64;
    /// `SO_SNDBUF` that is asked for where the caller asks for none; `None` leaves the kernel's default.
    const SNDBUF: Option<usize>;
    type Tx: Sender;
    type Rx: Receiver;

    /// Longest message `socket` can carry, at most `wanted`.
    fn max_message(socket: BorrowedFd<'_>, wanted: usize) -> usize;
    fn sender(socket: Socket, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> Self::Tx;
    fn receiver(socket: Socket, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> Self::Rx;
}

impl Kind for Uds {
    const TYPE: SocketType = SocketType::STREAM;
    const LAYOUT: u64 = Hello::layout_of("uds stream frame/1");
    /// Where the kernel allows it: a sender that had to wait is woken when three quarters of the buffer are free
    /// (net/unix/af_unix.c, unix_writable). The default holds three messages of 64 KiB, of which a stream then sleeps
    /// once for every two; with this it carries 15 to 19 % more, with 1 MiB no more than that.
    const SNDBUF: Option<usize> = Some(416 << 10);
    type Tx = UdsSender;
    type Rx = UdsReceiver;

    fn max_message(_: BorrowedFd<'_>, wanted: usize) -> usize {
        wanted
    }

    fn sender(socket: Socket, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> UdsSender {
        StreamSender::new(socket, shared, framing, attempts)
    }

    fn receiver(socket: Socket, shared: Arc<Shared>, framing: Framing, attempts: Attempts) -> UdsReceiver {
        StreamReceiver::new(socket, shared, framing, attempts)
    }
}

impl Kind for UdsSeqpacket {
    const TYPE: SocketType = SocketType::SEQPACKET;
    const LAYOUT: u64 = Hello::layout_of("uds seqpacket frame/1");
    const SNDBUF: Option<usize> = None;
    type Tx = UdsSeqpacketSender;
    type Rx = UdsSeqpacketReceiver;

    /// A datagram must fit the send buffer less 32 bytes (net/unix/af_unix.c, unix_dgram_sendmsg); header and checksum
    /// are part of it.
    fn max_message(socket: BorrowedFd<'_>, wanted: usize) -> usize {
        let sndbuf = sockopt::socket_send_buffer_size(socket).unwrap_or(0);
        wanted.min(sndbuf.saturating_sub(32 + frame::HEADER_LEN + 4))
    }

    fn sender(
        socket: Socket,
        shared: Arc<Shared>,
        framing: Framing,
        attempts: Attempts,
    ) -> UdsSeqpacketSender {
        UdsSeqpacketSender::new(socket, shared, framing, attempts)
    }

    fn receiver(
        socket: Socket,
        shared: Arc<Shared>,
        framing: Framing,
        attempts: Attempts,
    ) -> UdsSeqpacketReceiver {
        UdsSeqpacketReceiver::new(socket, shared, framing, attempts)
    }
}

/// Options of [`Uds`]; `None` means the default.
///
/// ```
/// use ipc_transports::{UdsOptions, Uds, Transport};
/// let options = UdsOptions { sndbuf: Some(65536), ..Default::default() };
/// let (near, _far) = Uds::pair(&options)?;
/// # let _ = &near;
/// println!("{:?}", near.effective);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct UdsOptions {
    /// Longest message in bytes, `max_message=`; default 16 MiB, at most 4 GiB − 2. The smaller of both sides counts.
    pub max_message: Option<usize>,
    /// Checksum per frame, `check=crc`; on if either side asks for it. Default none.
    pub check: Option<frame::Check>,
    /// `SO_SNDBUF` in bytes, `sndbuf=`; the kernel caps it at `net.core.wmem_max` and doubles it. Default at least 416 KiB
    /// for [`Uds`], the kernel's for [`UdsSeqpacket`].
    pub sndbuf: Option<usize>,
    /// `SO_RCVBUF` in bytes, `rcvbuf=`; the kernel caps it at `net.core.rmem_max` and doubles it.
    pub rcvbuf: Option<usize>,
    /// `park` (default), after a few looks where messages are long or come in bunches ([`WaitPolicy::Park`]), or `spin`:
    /// non-blocking attempts before a call sleeps, `wait=`. `adaptive` is `park` here.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// `framing=raw` says no hello, for a peer that is no program of ours: frames begin at once. Default `hello`.
    pub framing: Option<Opening>,
    /// A further user whose processes may connect or be connected to, `allow_uid=`; default our own only.
    pub allow_uid: Option<u32>,
}

impl Options for UdsOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "check" => OptionError::fill(&mut self.check, key, value),
            "sndbuf" => OptionError::fill_bytes(&mut self.sndbuf, key, value),
            "rcvbuf" => OptionError::fill_bytes(&mut self.rcvbuf, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "framing" => OptionError::fill(&mut self.framing, key, value),
            "allow_uid" => OptionError::fill(&mut self.allow_uid, key, value),
            _ => Err(OptionError::unknown(
                key,
                &["max_message", "check", "sndbuf", "rcvbuf", "wait", "fingerprint", "framing", "allow_uid"],
            )),
        }
    }
}

impl UdsOptions {
    fn hello<K: Kind>(&self, socket: BorrowedFd<'_>) -> Hello {
        let max_message = K::max_message(socket, self.longest());
        let flags = if self.check == Some(frame::Check::Crc) { FLAG_CRC } else { 0 };
        let fingerprint = self.fingerprint.map_or(0, Fingerprint::number);
        Hello { fingerprint, ..own_hello(K::LAYOUT, max_message, 0, flags) }
    }

    fn longest(&self) -> usize {
        self.max_message.unwrap_or(DEFAULT_MAX_MESSAGE).min(frame::MAX_PAYLOAD)
    }

    fn apply<K: Kind>(&self, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let sndbuf = match (self.sndbuf, K::SNDBUF) {
            // One that is larger already stays; the kernel reports twice what was asked for (socket(7)).
            (None, Some(bytes)) if sockopt::socket_send_buffer_size(socket)? < 2 * bytes => Some(bytes),
            (asked, _) => asked,
        };
        Buffers { sndbuf, rcvbuf: self.rcvbuf }.apply(socket)
    }

    fn opening(&self) -> Opening {
        self.framing.unwrap_or_default()
    }

    fn allowed(&self) -> Vec<u32> {
        self.allow_uid.into_iter().collect()
    }

    fn connection<K: Kind>(
        &self,
        socket: OwnedFd,
        (peer, place): (PeerInfo, Place),
        agreed: Agreed,
        features: &Features,
        op: &'static str,
        target: &str,
    ) -> Result<Connection<K::Tx, K::Rx>, SetupError> {
        let attempts = Attempts::under(self.wait, agreed.share_one_cpu);
        let halves = halves(socket, (peer, place), agreed, features, op, target)?;
        let tx = K::sender(halves.write, halves.shared.clone(), halves.framing, attempts);
        let rx = K::receiver(halves.read, halves.shared, halves.framing, attempts);
        Ok(Connection::new(tx, rx, peer, halves.effective))
    }
}

/// Accepts [`Uds`] connections.
pub type UdsListener = UnixListener<Uds>;
/// Accepts [`UdsSeqpacket`] connections.
pub type UdsSeqpacketListener = UnixListener<UdsSeqpacket>;

/// Accepts connections on a Unix socket.
///
/// ```
/// use ipc_transports::{Listener, Transport, Uds, Wait};
/// let at = format!("uds:doc-listener-{}", std::process::id()).parse()?;
/// let mut listener = Uds::listen(&at, &Default::default())?;
/// let client = std::thread::spawn(move || Uds::connect(&at, &Default::default(), Wait::Forever));
/// let served = listener.incoming().next().expect("it never ends")?;
/// assert_eq!(served.peer.pid, Some(std::process::id()), "the kernel says who connects");
/// # client.join().expect("it does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnixListener<K> {
    rendezvous: Rendezvous,
    handshakes: Handshakes,
    address: Address,
    options: UdsOptions,
    features: &'static Features,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Listener for UnixListener<K> {
    type Tx = K::Tx;
    type Rx = K::Rx;

    fn accept(&mut self, wait: Wait) -> Result<Connection<K::Tx, K::Rx>, SetupError> {
        const OP: &str = "accept on";
        let target = self.address.to_string();
        let allowed = self.options.allowed();
        loop {
            let admit = |socket: &OwnedFd| peer::admitted(socket.as_fd(), &allowed, OP, &target);
            let (socket, greeted) = self.handshakes.next(self.rendezvous.as_fd(), admit, wait, &target)?;
            let fail = |error| setup_error(OP, &target, error);
            let made = self.options.apply::<K>(socket.as_fd()).map_err(fail).and_then(|()| {
                let ours = self.options.hello::<K>(socket.as_fd());
                if self.options.opening() == Opening::Hello {
                    say(socket.as_fd(), &ours, &[]).map_err(fail)?;
                }
                let agreed = greeted.agree(&ours, OP, &target)?;
                self.options.connection::<K>(
                    socket,
                    (greeted.peer, greeted.place),
                    agreed,
                    self.features,
                    OP,
                    &target,
                )
            });
            match made {
                Err(error) if !matches!(error.kind, SetupErrorKind::Limit { .. }) => {}
                done => return done,
            }
        }
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

pollable_listener!(for <K: Kind> UnixListener<K>: handshakes of rendezvous);

macro_rules! transport {
    ($kind:ident, $name:literal) => {
        impl Transport for $kind {
            const NAME: &'static str = $name;
            type Options = UdsOptions;
            type Tx = <$kind as Kind>::Tx;
            type Rx = <$kind as Kind>::Rx;
            type Listener = UnixListener<$kind>;

            fn listen(at: &Address, options: &UdsOptions) -> Result<Self::Listener, SetupError> {
                listen(at, options)
            }

            fn connect(
                to: &Address,
                options: &UdsOptions,
                wait: Wait,
            ) -> Result<Connection<Self::Tx, Self::Rx>, SetupError> {
                connect::<$kind>(to, options, wait)
            }

            fn pair(options: &UdsOptions) -> Result<Pair<$kind>, SetupError> {
                pair::<$kind>(options)
            }

            fn capabilities() -> Capabilities {
                Capabilities {
                    max_clients: None,
                    max_message: max_message_here::<$kind>(&UdsOptions::default()),
                    loan: false,
                    peek: true,
                    pollable: true,
                    priorities: 1,
                }
            }

            fn capabilities_with(options: &UdsOptions) -> Result<Capabilities, SetupError> {
                features("use")?;
                let max_message = max_message_here::<$kind>(options);
                Ok(Capabilities { max_message, ..<$kind>::capabilities() })
            }
        }
    };
}

transport!(Uds, "uds");
transport!(UdsSeqpacket, "uds-seqpacket");

fn listen<K: Kind>(at: &Address, options: &UdsOptions) -> Result<UnixListener<K>, SetupError> {
    let features = features("listen on")?;
    let options = options.resolved(at)?;
    let rendezvous = Rendezvous::bind(at, K::TYPE)?;
    let assumed = (options.opening() == Opening::Raw).then(|| options.hello::<K>(rendezvous.as_fd()));
    Ok(UnixListener {
        rendezvous,
        handshakes: Handshakes::assuming(assumed),
        address: at.clone(),
        options,
        features,
        kind: PhantomData,
    })
}

fn connect<K: Kind>(
    to: &Address,
    options: &UdsOptions,
    wait: Wait,
) -> Result<Connection<K::Tx, K::Rx>, SetupError> {
    const OP: &str = "connect to";
    let features = features(OP)?;
    let options = options.resolved(to)?;
    let target = to.to_string();
    let socket = rendezvous::connect(to, K::TYPE, wait)?;
    let peer = peer::admitted(socket.as_fd(), &options.allowed(), OP, &target)?;
    options.apply::<K>(socket.as_fd()).map_err(|error| setup_error(OP, &target, error))?;
    let ours = options.hello::<K>(socket.as_fd());
    let agreed = match options.opening() {
        Opening::Hello => greet(&socket, peer, &ours, &[], wait, &target)?.1,
        Opening::Raw => ours.with_itself(),
    };
    options.connection::<K>(socket, (peer, Place::default()), agreed, features, OP, &target)
}

type Both<K> = Connection<<K as Kind>::Tx, <K as Kind>::Rx>;

fn pair<K: Kind>(options: &UdsOptions) -> Result<(Both<K>, Both<K>), SetupError> {
    const OP: &str = "pair";
    const TARGET: &str = "of Unix sockets";
    let features = features(OP)?;
    let fail = |error| setup_error(OP, TARGET, error);
    let (one, other) =
        rustix::net::socketpair(AddressFamily::UNIX, K::TYPE, SocketFlags::CLOEXEC, None).map_err(fail)?;
    options.apply::<K>(one.as_fd()).map_err(fail)?;
    options.apply::<K>(other.as_fd()).map_err(fail)?;
    let hello = options.hello::<K>(one.as_fd());
    let agreed = agreed_in_a_pair(&hello);
    let half = |socket: OwnedFd| {
        let peer = peer::admitted(socket.as_fd(), &[], OP, TARGET)?;
        options.connection::<K>(socket, (peer, Place::default()), agreed, features, OP, TARGET)
    };
    Ok((half(one)?, half(other)?))
}

/// The longest message of a socket with these options on this machine.
fn max_message_here<K: Kind>(options: &UdsOptions) -> usize {
    let probe = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, K::TYPE, SocketFlags::CLOEXEC, None)?;
        options.apply::<K>(socket.as_fd())?;
        Ok::<usize, Errno>(K::max_message(socket.as_fd(), options.longest()))
    };
    probe().unwrap_or(0)
}
