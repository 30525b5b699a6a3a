//! TCP over loopback, or further where asked: `tcp:127.0.0.1:0`, `tcp:[::1]:7777`.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use ipc_core::hello::{Agreed, FLAG_CRC, FLAG_TOKEN, Hello};
use ipc_core::{
    Address, Capabilities, Connection, Fingerprint, Listener, OptionError, Options, Pair, PeerInfo,
    SetupError, SetupErrorKind, Target, Transport, Wait, WaitPolicy, frame,
};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, sockopt};

use crate::doorbell::pollable_listener;
use crate::errno::setup_error;
use crate::features::{Features, features};
use crate::handshake::{Handshakes, Opening, agreed_in_a_pair, greet, own_hello, say, sleep};
use crate::places::Place;
use crate::socket::{Buffers, Socket, halves};
use crate::stream::{Attempts, StreamReceiver, StreamSender};
use crate::token::{self, Gate, Token};
use crate::uds::DEFAULT_MAX_MESSAGE;

const LAYOUT: u64 = Hello::layout_of("tcp stream frame/1");
const BACKLOG: i32 = 4096;

/// A congestion control without pacing that every kernel has and every user may choose.
const UNPACED: &str = "reno";

/// Sending half of a TCP connection.
pub type TcpSender = StreamSender<Socket>;
/// Receiving half of a TCP connection.
pub type TcpReceiver = StreamReceiver<Socket>;

/// TCP with `TCP_NODELAY`. For processes that share nothing but a network, loopback included.
///
/// Any local user can connect to a loopback port: TCP has no credentials. With `token=FILE` both sides must have the
/// same file, whose owner alone may read it, and prove it to each other before the first message; nothing is encrypted.
///
/// ```
/// use ipc_transports::{Listener, Receiver, Sender, Tcp, TcpOptions, Transport, Wait};
/// let options = TcpOptions::default();
/// let mut listener = Tcp::listen(&"tcp:127.0.0.1:0".parse()?, &options)?;
/// let address = listener.address().clone();
/// let client = std::thread::spawn(move || Tcp::connect(&address, &TcpOptions::default(), Wait::Forever));
/// let mut server = listener.accept(Wait::Forever)?;
/// client.join().unwrap()?.tx.send(b"hello")?;
/// let mut message = Vec::new();
/// server.rx.recv(&mut message)?;
/// assert_eq!(message, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tcp;

/// Options of [`Tcp`]; `None` means the default.
///
/// ```
/// use ipc_transports::{TcpOptions, Tcp, Transport};
/// let options = TcpOptions { sndbuf: Some(65536), ..Default::default() };
/// let (near, _far) = Tcp::pair(&options)?;
/// # let _ = &near;
/// println!("{:?}", near.effective);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TcpOptions {
    /// Longest message in bytes, `max_message=`; default 16 MiB, at most 4 GiB − 2. The smaller of both sides counts.
    pub max_message: Option<usize>,
    /// Checksum per frame, `check=crc`; on if either side asks for it. Default none.
    pub check: Option<frame::Check>,
    /// `SO_SNDBUF` in bytes, `sndbuf=`; default autotuned by the kernel.
    pub sndbuf: Option<usize>,
    /// `SO_RCVBUF` in bytes, `rcvbuf=`; default autotuned by the kernel.
    pub rcvbuf: Option<usize>,
    /// `congestion=NAME`: the congestion control, or `system` for the one the system chose. Default `reno` over loopback,
    /// where nothing can be congested and one that paces (`bbr`) waits between segments for nothing; elsewhere `system`.
    pub congestion: Option<String>,
    /// `park` (default), after a few looks where messages are long or come in bunches ([`WaitPolicy::Park`]), or `spin`:
    /// non-blocking attempts before a call sleeps, `wait=`. `adaptive` is `park` here.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// `framing=raw` says no hello, for a peer that is no program of ours: frames begin at once. Default `hello`.
    pub framing: Option<Opening>,
    /// A file with a secret, `token=FILE`, 16 to 4096 bytes, accessible to its owner only: both sides give the same, and
    /// prove to each other that they have it. With it a listener may bind beyond loopback. Not with `framing=raw`.
    pub token: Option<PathBuf>,
    /// `open=yes` lets a listener bind beyond loopback, where anybody who reaches the port can connect.
    pub open: Option<Open>,
}

/// Who may reach a TCP listener.
///
/// ```
/// use ipc_transports::{Open, SetupErrorKind, Tcp, TcpOptions, Transport};
/// let everywhere = "tcp:0.0.0.0:0".parse()?;
/// let refused = Tcp::listen(&everywhere, &TcpOptions::default()).unwrap_err();
/// assert_eq!(refused.kind, SetupErrorKind::Denied);
/// let listener = Tcp::listen(&everywhere, &TcpOptions { open: Some(Open::Yes), ..Default::default() })?;
/// # drop(listener);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Loopback addresses only.
    No,
    /// Whatever address is named.
    Yes,
}

impl std::str::FromStr for Open {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "yes" => Ok(Open::Yes),
            "no" => Ok(Open::No),
            _ => Err("open is yes or no"),
        }
    }
}

impl Options for TcpOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "check" => OptionError::fill(&mut self.check, key, value),
            "sndbuf" => OptionError::fill_bytes(&mut self.sndbuf, key, value),
            "rcvbuf" => OptionError::fill_bytes(&mut self.rcvbuf, key, value),
            "congestion" => OptionError::fill(&mut self.congestion, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "framing" => OptionError::fill(&mut self.framing, key, value),
            "token" => OptionError::fill(&mut self.token, key, value),
            "open" => OptionError::fill(&mut self.open, key, value),
            _ => Err(OptionError::unknown(
                key,
                &[
                    "max_message",
                    "check",
                    "sndbuf",
                    "rcvbuf",
                    "congestion",
                    "wait",
                    "fingerprint",
                    "framing",
                    "token",
                    "open",
                ],
            )),
        }
    }
}

impl TcpOptions {
    fn hello(&self) -> Hello {
        let crc = if self.check == Some(frame::Check::Crc) { FLAG_CRC } else { 0 };
        let flags = crc | if self.token.is_some() { FLAG_TOKEN } else { 0 };
        let fingerprint = self.fingerprint.map_or(0, Fingerprint::number);
        Hello { fingerprint, ..own_hello(LAYOUT, self.longest(), 0, flags) }
    }

    fn longest(&self) -> usize {
        self.max_message.unwrap_or(DEFAULT_MAX_MESSAGE).min(frame::MAX_PAYLOAD)
    }

    /// The secret of both sides, read anew for each listener and connection.
    fn secret(&self, op: &'static str, address: &Address) -> Result<Option<Token>, SetupError> {
        let Some(path) = &self.token else { return Ok(None) };
        if self.opening() == Opening::Raw {
            let why = "token needs the hello that framing=raw leaves out";
            return Err(refused(SetupErrorKind::BadAddress, op, address, why));
        }
        Token::read(path, op, address).map(Some)
    }

    fn opening(&self) -> Opening {
        self.framing.unwrap_or_default()
    }

    /// Of a socket that is, or will be, connected over loopback or not. Before the connection exists: TCP fixes its
    /// window scale then (tcp(7)).
    fn prepare(
        &self,
        socket: &OwnedFd,
        local: IpAddr,
        op: &'static str,
        target: &str,
    ) -> Result<(), SetupError> {
        let fail = |error| setup_error(op, target, error);
        sockopt::set_tcp_nodelay(socket, true).map_err(fail)?;
        Buffers { sndbuf: self.sndbuf, rcvbuf: self.rcvbuf }.apply(socket.as_fd()).map_err(fail)?;
        let congestion = match self.congestion.as_deref() {
            None if local.to_canonical().is_loopback() => UNPACED,
            None | Some("system") => return Ok(()),
            Some(named) => named,
        };
        sockopt::set_tcp_congestion(socket, congestion).map_err(|error| match error {
            Errno::NOENT | Errno::PERM => {
                let why = format!(
                    "congestion={congestion} is not for us here ({error}); say congestion=system, or one that \
                     /proc/sys/net/ipv4/tcp_allowed_congestion_control names"
                );
                SetupError::new(SetupErrorKind::BadAddress, op, target)
                    .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, why))
            }
            error => fail(error),
        })
    }
}

/// Accepts [`Tcp`] connections.
///
/// ```
/// use ipc_transports::{Listener, Receiver, Sender, Target, Tcp, Transport, Wait};
/// let mut listener = Tcp::listen(&"tcp:127.0.0.1:0".parse()?, &Default::default())?;
/// // The port that the kernel chose is in the address.
/// let to = listener.address().clone();
/// assert!(matches!(to.target(), Target::Inet(address) if address.port() != 0));
/// let client = std::thread::spawn(move || Tcp::connect(&to, &Default::default(), Wait::Forever));
/// let mut served = listener.accept(Wait::Forever)?;
/// let mut client = client.join().expect("it does not panic")?;
/// client.tx.send(b"hello")?;
/// assert_eq!(served.rx.recv(&mut Vec::new())?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TcpListener {
    socket: OwnedFd,
    handshakes: Handshakes,
    address: Address,
    options: TcpOptions,
    features: &'static Features,
}

impl Listener for TcpListener {
    type Tx = TcpSender;
    type Rx = TcpReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Connection<TcpSender, TcpReceiver>, SetupError> {
        const OP: &str = "accept on";
        let target = self.address.to_string();
        loop {
            let admit = |_: &OwnedFd| Ok(PeerInfo::default());
            let (socket, greeted) = self.handshakes.next(self.socket.as_fd(), admit, wait, &target)?;
            let ours = greeted.owed.as_ref().map_or_else(|| self.options.hello(), |owed| owed.hello);
            let fail = |error| setup_error(OP, &target, error);
            let answered = local_ip(&socket)
                .map_err(fail)
                .and_then(|ip| self.options.prepare(&socket, ip, OP, &target))
                .and_then(|()| {
                    match (&greeted.owed, self.options.opening()) {
                        (Some(owed), _) => owed.pay(socket.as_fd()),
                        (None, Opening::Hello) => say(socket.as_fd(), &ours, &[]),
                        (None, Opening::Raw) => Ok(()),
                    }
                    .map_err(fail)
                })
                .and_then(|()| greeted.agree(&ours, OP, &target))
                .and_then(|agreed| connection(socket, agreed, &self.options, self.features, OP, &target));
            match answered {
                Err(error) if !matches!(error.kind, SetupErrorKind::Limit { .. }) => {}
                done => return done,
            }
        }
    }

    fn address(&self) -> &Address {
        &self.address
    }
}

pollable_listener!(TcpListener: handshakes of socket);

/// The IP address and port of `address`.
fn inet(address: &Address, op: &'static str) -> Result<SocketAddr, SetupError> {
    match address.target() {
        Target::Inet(inet) => Ok(*inet),
        _ => Err(refused(
            SetupErrorKind::BadAddress,
            op,
            address,
            "expected tcp:IP:PORT, as in tcp:127.0.0.1:0",
        )),
    }
}

fn connection(
    socket: OwnedFd,
    agreed: Agreed,
    options: &TcpOptions,
    features: &Features,
    op: &'static str,
    target: &str,
) -> Result<Connection<TcpSender, TcpReceiver>, SetupError> {
    let attempts = Attempts::under(options.wait, agreed.share_one_cpu);
    let on_this_machine = local_ip(&socket).is_ok_and(|ip| ip.to_canonical().is_loopback());
    let attempts = if on_this_machine { attempts } else { attempts.far() };
    let halves = halves(socket, (PeerInfo::default(), Place::default()), agreed, features, op, target)?;
    let tx = StreamSender::new(halves.write, halves.shared.clone(), halves.framing, attempts);
    let rx = StreamReceiver::new(halves.read, halves.shared, halves.framing, attempts);
    Ok(Connection::new(tx, rx, PeerInfo::default(), halves.effective))
}

fn refused(kind: SetupErrorKind, op: &'static str, address: &Address, why: &str) -> SetupError {
    SetupError::new(kind, op, address)
        .because(std::io::Error::new(std::io::ErrorKind::InvalidInput, why.to_owned()))
}

/// A socket connected to `inet`, in blocking mode.
fn dial(
    inet: SocketAddr,
    options: &TcpOptions,
    wait: Wait,
    op: &'static str,
    target: &str,
) -> Result<OwnedFd, SetupError> {
    let fail = |error| setup_error(op, target, error);
    let socket = new_socket(inet).map_err(fail)?;
    options.prepare(&socket, inet.ip(), op, target)?;
    connect_within(&socket, inet, wait).map_err(fail)?;
    Ok(socket)
}

/// Connects `socket`, which does not block and then does; an expired `wait` is `TIMEDOUT`.
fn connect_within(socket: &OwnedFd, inet: SocketAddr, wait: Wait) -> rustix::io::Result<()> {
    match rustix::net::connect(socket, &inet) {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            while sleep(&mut [PollFd::new(socket, PollFlags::OUT)], wait.remaining())? == 0 {
                if wait.is_over() {
                    return Err(Errno::TIMEDOUT);
                }
            }
            sockopt::socket_error(socket).and_then(|result| result)?;
        }
        Err(error) => return Err(error),
    }
    rustix::io::ioctl_fionbio(socket, false)
}

fn new_socket(inet: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if inet.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

impl Transport for Tcp {
    const NAME: &'static str = "tcp";
    type Options = TcpOptions;
    type Tx = TcpSender;
    type Rx = TcpReceiver;
    type Listener = TcpListener;

    fn listen(at: &Address, options: &TcpOptions) -> Result<TcpListener, SetupError> {
        const OP: &str = "listen on";
        let features = features(OP)?;
        let options = options.resolved(at)?;
        let inet = inet(at, OP)?;
        let token = options.secret(OP, at)?;
        if !inet.ip().is_loopback() && token.is_none() && options.open != Some(Open::Yes) {
            let why = "anybody who reaches this port could connect; use a loopback address, a secret by ?token=FILE, \
                       or say ?open=yes";
            return Err(refused(SetupErrorKind::Denied, OP, at, why));
        }
        let fail = |error: Errno| setup_error(OP, at, error);
        let socket = new_socket(inet).map_err(fail)?;
        // A port in TIME_WAIT is free; one with a live listener is refused all the same (socket(7)).
        sockopt::set_socket_reuseaddr(&socket, true).map_err(fail)?;
        options.prepare(&socket, inet.ip(), OP, &at.to_string())?;
        rustix::net::bind(&socket, &inet).map_err(fail)?;
        rustix::net::listen(&socket, BACKLOG).map_err(fail)?;
        let bound = rustix::net::getsockname(&socket).and_then(inet_of).map_err(fail)?;
        let handshakes = match token {
            Some(token) => Handshakes::behind(Gate { token, hello: options.hello() }),
            None => Handshakes::assuming((options.opening() == Opening::Raw).then(|| options.hello())),
        };
        Ok(TcpListener {
            socket,
            handshakes,
            address: at.with_target(Target::Inet(bound)),
            options,
            features,
        })
    }

    fn connect(
        to: &Address,
        options: &TcpOptions,
        wait: Wait,
    ) -> Result<Connection<TcpSender, TcpReceiver>, SetupError> {
        const OP: &str = "connect to";
        let features = features(OP)?;
        let options = options.resolved(to)?;
        let inet = inet(to, OP)?;
        let token = options.secret(OP, to)?;
        let target = to.to_string();
        let socket = dial(inet, &options, wait, OP, &target)?;
        // A connect to an unused local port can meet itself (simultaneous open); nobody is listening there.
        if rustix::net::getsockname(&socket).and_then(inet_of) == Ok(inet) {
            return Err(SetupError::new(SetupErrorKind::NotFound, OP, to));
        }
        let ours = options.hello();
        let agreed = match options.opening() {
            Opening::Hello => {
                let (greeted, agreed) = greet(&socket, PeerInfo::default(), &ours, &[], wait, &target)?;
                match token {
                    Some(token) => token.show(&socket, &ours, &greeted.hello, wait, &target)?,
                    None => token::none_wanted(&greeted.hello, &target)?,
                }
                agreed
            }
            Opening::Raw => ours.with_itself(),
        };
        connection(socket, agreed, &options, features, OP, &target)
    }

    fn pair(options: &TcpOptions) -> Result<Pair<Tcp>, SetupError> {
        const OP: &str = "pair over";
        let features = features(OP)?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let target = any.to_string();
        let fail = |error: Errno| setup_error(OP, &target, error);
        let listener = new_socket(any).map_err(fail)?;
        options.prepare(&listener, any.ip(), OP, &target)?;
        rustix::io::ioctl_fionbio(&listener, false).map_err(fail)?;
        rustix::net::bind(&listener, &any).map_err(fail)?;
        rustix::net::listen(&listener, 1).map_err(fail)?;
        let bound = rustix::net::getsockname(&listener).and_then(inet_of).map_err(fail)?;
        // Connected means waiting in the backlog: nothing below can wait for somebody who does not come.
        let client = dial(bound, options, Wait::Forever, OP, &target)?;
        let ours = rustix::net::getsockname(&client).and_then(inet_of).map_err(fail)?;
        let server = loop {
            match rustix::net::acceptfrom_with(&listener, SocketFlags::CLOEXEC) {
                Ok((socket, Some(from))) if inet_of(from.clone()) == Ok(ours) => break socket,
                // Anybody may knock at a port.
                Ok(_) | Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(fail(error)),
            }
        };
        options.prepare(&server, any.ip(), OP, &target)?;
        let hello = options.hello();
        let agreed = agreed_in_a_pair(&hello);
        let made = |socket| connection(socket, agreed, options, features, OP, &target);
        Ok((made(client)?, made(server)?))
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

    fn capabilities_with(options: &TcpOptions) -> Result<Capabilities, SetupError> {
        features("use")?;
        Ok(Capabilities { max_message: options.longest(), ..Tcp::capabilities() })
    }
}

/// The address at our end of `socket`: loopback if the peer's is.
fn local_ip(socket: &OwnedFd) -> rustix::io::Result<IpAddr> {
    rustix::net::getsockname(socket).and_then(inet_of).map(|inet| inet.ip())
}

fn inet_of(address: SocketAddrAny) -> rustix::io::Result<SocketAddr> {
    SocketAddr::try_from(address)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use ipc_core::Pollable;

    /// The congestion control of both ends of a connection to a listener at `address`.
    fn control(address: &str) -> Result<[String; 2], SetupError> {
        let at: Address = address.parse()?;
        let mut listener = Tcp::listen(&at, &TcpOptions::default())?;
        let Target::Inet(bound) = listener.address().target().clone() else { unreachable!("tcp") };
        let loopback = SocketAddr::from(([127, 0, 0, 1], bound.port()));
        let to = listener.address().with_target(Target::Inet(loopback));
        let client = std::thread::spawn(move || Tcp::connect(&to, &TcpOptions::default(), Wait::Forever));
        let server = listener.accept(Wait::Forever)?;
        let client = client.join().expect("it does not panic")?;
        Ok([client.tx.fd(), server.tx.fd()]
            .map(|fd| sockopt::tcp_congestion(fd).expect("a connected socket")))
    }

    #[test]
    fn over_loopback_nothing_is_paced() {
        for address in ["tcp:127.0.0.1:0", "tcp:0.0.0.0:0?open=yes"] {
            assert_eq!(control(address).expect("a connection"), ["reno", "reno"], "{address}");
        }
        let (near, far) = Tcp::pair(&TcpOptions::default()).expect("a pair");
        for half in [near.tx.fd(), far.tx.fd()] {
            assert_eq!(sockopt::tcp_congestion(half).expect("a connected socket"), "reno");
        }
    }

    #[test]
    fn the_congestion_control_asked_for_is_the_one_in_force() {
        let systems = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("Linux");
        let systems = systems.trim();
        for (asked, expected) in [("system", systems), (systems, systems), ("reno", "reno")] {
            let got = control(&format!("tcp:127.0.0.1:0?congestion={asked}")).expect(asked);
            assert_eq!(got, [expected, expected], "{asked}");
        }
    }

    #[test]
    fn a_congestion_control_that_is_not_there_is_refused_by_name() {
        let refused = control("tcp:127.0.0.1:0?congestion=nosuch").expect_err("no such module");
        assert_eq!(refused.kind, SetupErrorKind::BadAddress);
        let text = format!("{refused:?}");
        assert!(text.contains("congestion=nosuch") && text.contains("congestion=system"), "{text}");
    }
}
