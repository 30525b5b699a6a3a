//! Unix stream sockets: `uds:NAME`, `uds:/absolute/path`.

use std::os::fd::AsFd;

use ipc_core::hello::{FLAG_CRC, Hello};
use ipc_core::{
    Address, Capabilities, Connection, Listener, OptionError, Options, Pair, SetupError, SetupErrorKind,
    Transport, Wait, WaitPolicy, frame,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::errno::setup_error;
use crate::features::{Features, features};
use crate::handshake::{Greeted, Handshakes, greet, own_hello, say};
use crate::rendezvous::Rendezvous;
use crate::socket::{Buffers, Socket, connection};
use crate::stream::{StreamReceiver, StreamSender};
use crate::{peer, rendezvous};

/// Longest message when nothing else is asked for: 16 MiB.
pub(crate) const DEFAULT_MAX_MESSAGE: usize = 16 << 20;

const LAYOUT: u64 = Hello::layout_of("uds stream frame/1");

/// Sending half of a Unix socket connection.
pub type UdsSender = StreamSender<Socket>;
/// Receiving half of a Unix socket connection.
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

/// Options of [`Uds`]; `None` means the default.
#[derive(Clone, Debug, Default)]
pub struct UdsOptions {
    /// Longest message in bytes, `max_message=`; default 16 MiB, at most 4 GiB − 2. The smaller of both sides counts.
    pub max_message: Option<usize>,
    /// Checksum per frame, `check=crc`; on if either side asks for it. Default none.
    pub check: Option<frame::Check>,
    /// `SO_SNDBUF` in bytes, `sndbuf=`; the kernel caps it at `net.core.wmem_max` and doubles it.
    pub sndbuf: Option<usize>,
    /// `SO_RCVBUF` in bytes, `rcvbuf=`; the kernel caps it at `net.core.rmem_max` and doubles it.
    pub rcvbuf: Option<usize>,
    /// `park` (default) or `spin`: non-blocking attempts before a call sleeps, `wait=`. `adaptive` is `park` here.
    pub wait: Option<WaitPolicy>,
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
            "allow_uid" => OptionError::fill(&mut self.allow_uid, key, value),
            _ => Err(OptionError::unknown(
                key,
                &["max_message", "check", "sndbuf", "rcvbuf", "wait", "allow_uid"],
            )),
        }
    }
}

impl UdsOptions {
    fn hello(&self) -> Hello {
        let max_message = self.max_message.unwrap_or(DEFAULT_MAX_MESSAGE).min(frame::MAX_PAYLOAD);
        let flags = if self.check == Some(frame::Check::Crc) { FLAG_CRC } else { 0 };
        own_hello(LAYOUT, max_message, 0, flags)
    }

    fn buffers(&self) -> Buffers {
        Buffers { sndbuf: self.sndbuf, rcvbuf: self.rcvbuf }
    }

    fn policy(&self) -> WaitPolicy {
        self.wait.unwrap_or(WaitPolicy::Park)
    }
}

/// Accepts [`Uds`] connections.
#[derive(Debug)]
pub struct UdsListener {
    rendezvous: Rendezvous,
    handshakes: Handshakes,
    address: Address,
    options: UdsOptions,
    features: &'static Features,
}

impl Listener for UdsListener {
    type Tx = UdsSender;
    type Rx = UdsReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Connection<UdsSender, UdsReceiver>, SetupError> {
        const OP: &str = "accept on";
        let target = self.address.to_string();
        let allowed: Vec<u32> = self.options.allow_uid.into_iter().collect();
        loop {
            let admit = |socket: &_| peer::admitted(AsFd::as_fd(socket), &allowed, OP, &target);
            let (socket, greeted) = self.handshakes.next(self.rendezvous.as_fd(), admit, wait, &target)?;
            match answer(&socket, &greeted, &self.options, &target).and_then(|agreed| {
                connection(socket, greeted.peer, agreed, self.options.policy(), self.features, OP, &target)
            }) {
                Err(error) if !matches!(error.kind, SetupErrorKind::Limit { .. }) => {}
                done => return done,
            }
        }
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

/// Answers a client's hello with ours.
fn answer(
    socket: &std::os::fd::OwnedFd,
    greeted: &Greeted,
    options: &UdsOptions,
    target: &str,
) -> Result<ipc_core::hello::Agreed, SetupError> {
    const OP: &str = "accept on";
    let ours = options.hello();
    options.buffers().apply(socket.as_fd()).map_err(|error| setup_error(OP, target, error))?;
    say(socket.as_fd(), &ours, &[]).map_err(|error| setup_error(OP, target, error))?;
    greeted.agree(&ours, OP, target)
}

impl Transport for Uds {
    const NAME: &'static str = "uds";
    type Options = UdsOptions;
    type Tx = UdsSender;
    type Rx = UdsReceiver;
    type Listener = UdsListener;

    fn listen(at: &Address, options: &UdsOptions) -> Result<UdsListener, SetupError> {
        let features = features("listen on")?;
        let options = options.resolved(at)?;
        Ok(UdsListener {
            rendezvous: Rendezvous::bind(at, SocketType::STREAM)?,
            handshakes: Handshakes::default(),
            address: at.clone(),
            options,
            features,
        })
    }

    fn connect(
        to: &Address,
        options: &UdsOptions,
        wait: Wait,
    ) -> Result<Connection<UdsSender, UdsReceiver>, SetupError> {
        const OP: &str = "connect to";
        let features = features(OP)?;
        let options = options.resolved(to)?;
        let target = to.to_string();
        let allowed: Vec<u32> = options.allow_uid.into_iter().collect();
        let socket = rendezvous::connect(to, SocketType::STREAM, wait)?;
        let peer = peer::admitted(socket.as_fd(), &allowed, OP, &target)?;
        options.buffers().apply(socket.as_fd()).map_err(|error| setup_error(OP, &target, error))?;
        let (_, agreed) = greet(&socket, peer, &options.hello(), &[], wait, &target)?;
        connection(socket, peer, agreed, options.policy(), features, OP, &target)
    }

    fn pair(options: &UdsOptions) -> Result<Pair<Uds>, SetupError> {
        const OP: &str = "pair";
        let features = features(OP)?;
        let fail = |error| setup_error(OP, "of Unix sockets", error);
        let (one, other) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(fail)?;
        let hello = options.hello();
        let agreed = hello
            .agree(&hello, ipc_core::hello::PROTOCOL)
            .map_err(|kind| SetupError::new(kind, OP, "of Unix sockets"))?;
        let half = |socket: std::os::fd::OwnedFd| {
            options.buffers().apply(socket.as_fd()).map_err(fail)?;
            let peer = peer::admitted(socket.as_fd(), &[], OP, "of Unix sockets")?;
            connection(socket, peer, agreed, options.policy(), features, OP, "of Unix sockets")
        };
        Ok((half(one)?, half(other)?))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            max_clients: None,
            max_message: DEFAULT_MAX_MESSAGE,
            loan: false,
            peek: true,
            pollable: true,
            priorities: 1,
        }
    }
}
