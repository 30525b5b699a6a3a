//! Pipes, one per direction: `pipe:NAME` and `pipe:/absolute/path` between any two processes, `pipe:` between a parent
//! and the child it spawns.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ipc_core::frame::{self, Check, Framing};
use ipc_core::hello::{Agreed, FLAG_CRC, HELLO_LEN, Hello, NotAHello};
use ipc_core::{
    Address, Capabilities, Connection, Fingerprint, Listener, OptionError, Options, Pair, PeerInfo,
    SendError, SetupError, SetupErrorKind, Target, Transport, Wait, WaitPolicy,
};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags, Result as SysResult};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::control::{self, Control, ControlListener, Half};
use crate::doorbell::pollable_listener;
use crate::errno::setup_error;
use crate::features::{Features, RWF_NOSIGNAL, features};
use crate::handshake::{agreed_in_a_pair, own_hello, sleep};
use crate::sigpipe::{self, SigPipe};
use crate::stream::{Attempts, Link, Mode, Shared, StreamReceiver, StreamSender};
use crate::uds::DEFAULT_MAX_MESSAGE;

const LAYOUT: u64 = Hello::layout_of("pipe stream frame/1");

/// As in `socket.rs`: a dying process closes its descriptors before its pidfd tells.
const EXIT_GRACE: Duration = Duration::from_millis(10);

/// Sending half of a pipe connection.
pub type PipeSender = StreamSender<PipeEnd>;
/// Receiving half of a pipe connection.
pub type PipeReceiver = StreamReceiver<PipeEnd>;

/// Two pipes, one per direction. The cheapest kernel transport for a parent and its child.
///
/// ```no_run
/// use ipc_transports::{Pipe, PipeOptions, Receiver, Sender, Wait};
/// // The parent. The child calls `Pipe::connect(&"pipe:".parse()?, …)`.
/// let mut command = std::process::Command::new("child-program");
/// let (mut child, mut connection) = Pipe::spawn(&mut command, &PipeOptions::default(), Wait::Forever)?;
/// connection.tx.send(b"hello")?;
/// drop(connection);
/// child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pipe;

/// Options of [`Pipe`]; `None` means the default.
///
/// ```
/// use ipc_transports::{PipeOptions, Pipe, Transport};
/// let options = PipeOptions { capacity: Some(8192), ..Default::default() };
/// let (near, _far) = Pipe::pair(&options)?;
/// # let _ = &near;
/// println!("{:?}", near.effective);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PipeOptions {
    /// Longest message in bytes, `max_message=`; default 16 MiB, at most 4 GiB − 2. The smaller of both sides counts.
    pub max_message: Option<usize>,
    /// Checksum per frame, `check=crc`; on if either side asks for it. Default none.
    pub check: Option<Check>,
    /// Bytes each pipe holds, `capacity=`: the kernel rounds up to a power of two pages and unprivileged processes are
    /// held to `/proc/sys/fs/pipe-max-size`; what it refuses leaves the default of 64 KiB. The listening (or spawning)
    /// side makes the pipes and decides.
    pub capacity: Option<usize>,
    /// `park` (default), after a few looks where messages are long or come in bunches ([`WaitPolicy::Park`]), or `spin`:
    /// non-blocking attempts before a call sleeps, `wait=`. `adaptive` is `park` here.
    pub wait: Option<WaitPolicy>,
    /// Identity of the message types, `fingerprint=0x…`; a peer that states another one is refused. Default not stated.
    pub fingerprint: Option<Fingerprint>,
    /// A further user whose processes may connect or be connected to, `allow_uid=`; default our own only.
    pub allow_uid: Option<u32>,
}

impl Options for PipeOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            "check" => OptionError::fill(&mut self.check, key, value),
            "capacity" => OptionError::fill_bytes(&mut self.capacity, key, value),
            "wait" => OptionError::fill(&mut self.wait, key, value),
            "fingerprint" => OptionError::fill(&mut self.fingerprint, key, value),
            "allow_uid" => OptionError::fill(&mut self.allow_uid, key, value),
            _ => Err(OptionError::unknown(
                key,
                &["max_message", "check", "capacity", "wait", "fingerprint", "allow_uid"],
            )),
        }
    }
}

impl PipeOptions {
    fn hello(&self) -> Hello {
        let flags = if self.check == Some(Check::Crc) { FLAG_CRC } else { 0 };
        let fingerprint = self.fingerprint.map_or(0, Fingerprint::number);
        Hello { fingerprint, ..own_hello(LAYOUT, self.longest(), 0, flags) }
    }

    fn longest(&self) -> usize {
        self.max_message.unwrap_or(DEFAULT_MAX_MESSAGE).min(frame::MAX_PAYLOAD)
    }

    fn new_pipe(&self) -> SysResult<(OwnedFd, OwnedFd)> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        self.resize(&write);
        Ok((read, write))
    }

    fn resize(&self, pipe: &OwnedFd) {
        if let Some(bytes) = self.capacity {
            // Refused above the user's share of pipe pages; the effective value tells.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, bytes);
        }
    }
}

/// One end of one pipe.
#[derive(Debug)]
pub struct PipeEnd {
    fd: OwnedFd,
    /// `O_NONBLOCK` is set because the kernel has no `RWF_NOWAIT` for pipes.
    nonblocking: bool,
    sigpipe: SigPipe,
    peer: Peer,
}

/// Where a pipe's end learns about the process at the other one.
#[derive(Clone, Debug)]
enum Peer {
    Control(Arc<Control>),
    Process(Option<Arc<OwnedFd>>),
}

impl PipeEnd {
    fn new(fd: OwnedFd, peer: Peer, features: &Features) -> SysResult<PipeEnd> {
        if !features.rwf_nowait {
            rustix::io::ioctl_fionbio(&fd, true)?;
        }
        Ok(PipeEnd { fd, nonblocking: !features.rwf_nowait, sigpipe: SigPipe::choose(features), peer })
    }

    /// Repeats `attempt` until it can be done, sleeping in between; for pipes that had to be made non-blocking.
    fn until_ready(
        &self,
        readiness: PollFlags,
        mut attempt: impl FnMut() -> SysResult<usize>,
    ) -> SysResult<usize> {
        loop {
            match attempt() {
                Err(Errno::AGAIN) => sleep(&mut [PollFd::new(&self.fd, readiness)], None)?,
                done => return done,
            };
        }
    }

    fn try_flag(&self) -> ReadWriteFlags {
        if self.nonblocking { ReadWriteFlags::empty() } else { ReadWriteFlags::NOWAIT }
    }

    #[inline]
    fn write_once(&self, parts: &[IoSlice<'_>], flags: ReadWriteFlags) -> SysResult<usize> {
        match self.sigpipe {
            SigPipe::Suppressed => rustix::io::pwritev2(&self.fd, parts, u64::MAX, flags | RWF_NOSIGNAL),
            SigPipe::Ignored => rustix::io::pwritev2(&self.fd, parts, u64::MAX, flags),
            SigPipe::Masked => sigpipe::masked(|| rustix::io::pwritev2(&self.fd, parts, u64::MAX, flags)),
        }
    }
}

impl Link for PipeEnd {
    #[inline]
    fn write(&self, parts: &[IoSlice<'_>], mode: Mode) -> SysResult<usize> {
        match mode {
            Mode::Try => self.write_once(parts, self.try_flag()),
            Mode::Block if self.nonblocking => {
                self.until_ready(PollFlags::OUT, || self.write_once(parts, ReadWriteFlags::empty()))
            }
            Mode::Block => self.write_once(parts, ReadWriteFlags::empty()),
        }
    }

    #[inline]
    fn read(&self, parts: &mut [IoSliceMut<'_>], mode: Mode) -> SysResult<usize> {
        match mode {
            Mode::Try => rustix::io::preadv2(&self.fd, parts, u64::MAX, self.try_flag()),
            Mode::Block if self.nonblocking => {
                self.until_ready(PollFlags::IN, || rustix::io::readv(&self.fd, parts))
            }
            Mode::Block => rustix::io::readv(&self.fd, parts),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn peer_pidfd(&self) -> Option<BorrowedFd<'_>> {
        match &self.peer {
            Peer::Control(control) => control.pidfd(),
            Peer::Process(pidfd) => pidfd.as_ref().map(|fd| fd.as_fd()),
        }
    }

    fn why_unwritable(&self, peer_said_goodbye: bool) -> SendError {
        let left = match &self.peer {
            Peer::Control(control) => control.has_left(Half::Receiver),
            Peer::Process(Some(pidfd)) => {
                matches!(sleep(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(EXIT_GRACE)), Ok(0))
            }
            Peer::Process(None) => false,
        };
        if peer_said_goodbye || left { SendError::Closed } else { SendError::PeerDied }
    }

    fn make_room(&self) {
        if let Ok(bytes) = rustix::pipe::fcntl_getpipe_size(&self.fd) {
            let _ = rustix::pipe::fcntl_setpipe_size(&self.fd, 2 * bytes);
        }
    }

    /// The goodbye went out as a frame; closing the descriptor ends the pipe.
    fn close_write(&self) {}

    fn close_read(&self) {
        if let Peer::Control(control) = &self.peer {
            control.say_goodbye(Half::Receiver);
        }
    }
}

fn connection(
    (read, write): (OwnedFd, OwnedFd),
    peer: (Peer, PeerInfo),
    agreed: Agreed,
    options: &PipeOptions,
    features: &Features,
) -> SysResult<Connection<PipeSender, PipeReceiver>> {
    let effective = vec![
        ("send_capacity", rustix::pipe::fcntl_getpipe_size(&write)? as u64),
        ("recv_capacity", rustix::pipe::fcntl_getpipe_size(&read)? as u64),
        ("max_message", agreed.max_message),
    ];
    let framing = Framing {
        max_message: agreed.max_message as usize,
        check: if agreed.crc { Check::Crc } else { Check::None },
    };
    let shared = Arc::new(Shared::default());
    let (peer, info) = peer;
    let write = PipeEnd::new(write, peer.clone(), features)?;
    let read = PipeEnd::new(read, peer, features)?;
    let attempts = Attempts::under(options.wait, agreed.share_one_cpu);
    let tx = StreamSender::new(write, shared.clone(), framing, attempts);
    let rx = StreamReceiver::new(read, shared, framing, attempts);
    Ok(Connection::new(tx, rx, info, effective))
}

/// Accepts [`Pipe`] connections.
///
/// ```
/// use ipc_transports::{Listener, Pipe, Transport, Wait};
/// let at = format!("pipe:doc-listener-{}", std::process::id()).parse()?;
/// let mut listener = Pipe::listen(&at, &Default::default())?;
/// let client = std::thread::spawn(move || Pipe::connect(&at, &Default::default(), Wait::Forever));
/// let served = listener.accept(Wait::Forever)?;
/// assert_eq!(served.peer.pid, Some(std::process::id()));
/// # client.join().expect("it does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PipeListener {
    control: ControlListener,
    options: PipeOptions,
    features: &'static Features,
}

impl Listener for PipeListener {
    type Tx = PipeSender;
    type Rx = PipeReceiver;

    fn accept(&mut self, wait: Wait) -> Result<Connection<PipeSender, PipeReceiver>, SetupError> {
        let target = self.control.address().to_string();
        let fail = |error: Errno| setup_error("pipe2 for", &target, error);
        let options = &self.options;
        let respond = |_: &Hello, _, agreed| {
            let (from_client, to_server) = options.new_pipe().map_err(fail)?;
            let (from_server, to_client) = options.new_pipe().map_err(fail)?;
            Ok((vec![from_server, to_server], ((from_client, to_client), agreed)))
        };
        let (control, peer, (ends, agreed)) = self.control.accept(wait, || options.hello(), respond)?;
        let peer = (Peer::Control(Arc::new(control)), peer);
        connection(ends, peer, agreed, options, self.features).map_err(fail)
    }

    fn address(&self) -> &Address {
        self.control.address()
    }
}

pollable_listener!(PipeListener: control);

impl Pipe {
    /// Starts `command` with a pipe to its standard input and one from its standard output, and completes the hello
    /// with it. The child calls [`Pipe::connect`](Transport::connect) with the address `pipe:`.
    ///
    /// # Errors
    /// `Io` when the command does not start, `TimedOut` when the child does not say hello within `wait`; the child is
    /// then killed and reaped.
    pub fn spawn(
        command: &mut Command,
        options: &PipeOptions,
        wait: Wait,
    ) -> Result<(Child, Connection<PipeSender, PipeReceiver>), SetupError> {
        const OP: &str = "spawn";
        let features = features(OP)?;
        let target = format!("{:?}", command.get_program());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| SetupError::new(SetupErrorKind::Io, OP, &target).because(error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SetupError::new(SetupErrorKind::Io, OP, &target));
        };
        let (write, read) = (OwnedFd::from(stdin), OwnedFd::from(stdout));
        options.resize(&write);
        options.resize(&read);
        let peer = process_peer(child.id(), features);
        let made = inherited((read, write), peer, options, features, wait, OP, &target, Turn::Second);
        match made {
            Ok(connection) => Ok((child, connection)),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }
}

/// The process `pid` as peer of a pipe without control socket.
fn process_peer(pid: u32, features: &Features) -> (Peer, PeerInfo) {
    let pidfd = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .filter(|_| features.pidfd)
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    (Peer::Process(pidfd.map(Arc::new)), PeerInfo::new(None, Some(pid)))
}

/// Who speaks first over inherited pipes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

/// A connection over two pipes that parent and child already share: the hellos go over them too.
#[allow(clippy::too_many_arguments, reason = "one caller per side; a struct would only rename them")]
fn inherited(
    (read, write): (OwnedFd, OwnedFd),
    peer: (Peer, PeerInfo),
    options: &PipeOptions,
    features: &Features,
    wait: Wait,
    op: &'static str,
    target: &str,
    turn: Turn,
) -> Result<Connection<PipeSender, PipeReceiver>, SetupError> {
    let fail = |error: Errno| setup_error(op, target, error);
    let ours = options.hello();
    let mut theirs = None;
    for speak in [turn == Turn::First, turn == Turn::Second] {
        if speak {
            // A fresh pipe takes 64 bytes at once.
            let sent = if features.rwf_nosignal {
                rustix::io::pwritev2(&write, &[IoSlice::new(&ours.encode())], u64::MAX, RWF_NOSIGNAL)
            } else {
                sigpipe::masked(|| rustix::io::write(&write, &ours.encode()))
            };
            sent.map_err(fail)?;
        } else {
            theirs = Some(read_hello(&read, wait, op, target)?);
        }
    }
    let Some((theirs, protocol)) = theirs else { return Err(fail(Errno::PROTO)) };
    let agreed = ours.agree(&theirs, protocol).map_err(|kind| SetupError::new(kind, op, target))?;
    connection((read, write), peer, agreed, options, features).map_err(fail)
}

fn read_hello(
    pipe: &OwnedFd,
    wait: Wait,
    op: &'static str,
    target: &str,
) -> Result<(Hello, u32), SetupError> {
    let mut bytes = [0; HELLO_LEN];
    let mut got = 0;
    let refuse = |why: &str| {
        SetupError::new(SetupErrorKind::Io, op, target)
            .because(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()))
    };
    while got < HELLO_LEN {
        let ready = sleep(&mut [PollFd::new(pipe, PollFlags::IN)], wait.remaining())
            .map_err(|error| setup_error(op, target, error))?;
        if ready == 0 {
            if wait.is_over() {
                return Err(SetupError::new(SetupErrorKind::TimedOut, op, target));
            }
            continue;
        }
        match rustix::io::read(pipe, &mut bytes[got..]) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(setup_error(op, target, error)),
            Ok(0) => return Err(SetupError::new(SetupErrorKind::HungUp, op, target)),
            Ok(read) => got += read,
        }
    }
    Hello::decode(&bytes)
        .map_err(|NotAHello| refuse("the other process does not speak this protocol: no hello"))
}

/// Standard input and output of this process as pipes of our own; in their place come `/dev/null` and standard error,
/// so that a stray `println!` cannot end up between two messages.
fn take_stdio(target: &str) -> Result<(OwnedFd, OwnedFd), SetupError> {
    const OP: &str = "connect to";
    let fail = |error: Errno| setup_error(OP, target, error);
    let is_pipe = |fd: BorrowedFd<'_>| {
        rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo())
    };
    let (stdin, stdout) = (io::stdin(), io::stdout());
    if !is_pipe(stdin.as_fd()) || !is_pipe(stdout.as_fd()) {
        return Err(SetupError::new(SetupErrorKind::BadAddress, OP, target).because(io::Error::new(
            io::ErrorKind::InvalidInput,
            "standard input and output are no pipes; start this program through Pipe::spawn, or use pipe:NAME",
        )));
    }
    let read = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).map_err(fail)?;
    let write = rustix::io::fcntl_dupfd_cloexec(&stdout, 3).map_err(fail)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(fail)?;
    rustix::stdio::dup2_stdin(&null).map_err(fail)?;
    rustix::stdio::dup2_stdout(io::stderr()).map_err(fail)?;
    Ok((read, write))
}

/// The two descriptors a listener handed over, if they are what they must be.
fn checked_ends(fds: Vec<OwnedFd>, target: &str) -> Result<(OwnedFd, OwnedFd), SetupError> {
    let refuse = |why: &str| {
        SetupError::new(SetupErrorKind::Denied, "connect to", target)
            .because(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()))
    };
    let Ok([read, write]) = <[OwnedFd; 2]>::try_from(fds) else {
        return Err(refuse("the listener did not hand over two pipes"));
    };
    for (fd, access) in [(&read, OFlags::RDONLY), (&write, OFlags::WRONLY)] {
        let fifo = rustix::fs::fstat(fd)
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo());
        let mode = rustix::fs::fcntl_getfl(fd).map(|flags| flags & OFlags::RWMODE);
        if !fifo || mode != Ok(access) {
            return Err(refuse("the listener handed over something other than a pipe's read and write end"));
        }
    }
    Ok((read, write))
}

impl Transport for Pipe {
    const NAME: &'static str = "pipe";
    type Options = PipeOptions;
    type Tx = PipeSender;
    type Rx = PipeReceiver;
    type Listener = PipeListener;

    fn listen(at: &Address, options: &PipeOptions) -> Result<PipeListener, SetupError> {
        const OP: &str = "listen on";
        let features = features(OP)?;
        let options = options.resolved(at)?;
        if *at.target() == Target::Inherited {
            return Err(SetupError::new(SetupErrorKind::BadAddress, OP, at).because(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a bare pipe: connects a child to its parent; the parent uses Pipe::spawn, others pipe:NAME",
            )));
        }
        let control = ControlListener::bind(at, options.allow_uid.as_slice(), features)?;
        Ok(PipeListener { control, options, features })
    }

    fn connect(
        to: &Address,
        options: &PipeOptions,
        wait: Wait,
    ) -> Result<Connection<PipeSender, PipeReceiver>, SetupError> {
        const OP: &str = "connect to";
        let features = features(OP)?;
        let options = options.resolved(to)?;
        let target = to.to_string();
        if *to.target() == Target::Inherited {
            let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get() as u32);
            let peer = process_peer(parent, features);
            let ends = take_stdio(&target)?;
            return inherited(ends, peer, &options, features, wait, OP, &target, Turn::First);
        }
        let allowed = options.allow_uid.as_slice();
        let (control, greeted, agreed) =
            control::connect(to, allowed, features, &options.hello(), &[], wait)?;
        let ends = checked_ends(greeted.fds, &target)?;
        let peer = (Peer::Control(Arc::new(control)), greeted.peer);
        connection(ends, peer, agreed, &options, features).map_err(|error| setup_error(OP, &target, error))
    }

    fn pair(options: &PipeOptions) -> Result<Pair<Pipe>, SetupError> {
        const OP: &str = "pair";
        let features = features(OP)?;
        let fail = |error: Errno| setup_error(OP, "of pipes", error);
        let hello = options.hello();
        let agreed = agreed_in_a_pair(&hello);
        let (control, other_control, peer) = control::pair(features)?;
        let (read, other_write) = options.new_pipe().map_err(fail)?;
        let (other_read, write) = options.new_pipe().map_err(fail)?;
        let half = |ends, control: Control| {
            connection(ends, (Peer::Control(Arc::new(control)), peer), agreed, options, features)
                .map_err(fail)
        };
        Ok((half((read, write), control)?, half((other_read, other_write), other_control)?))
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

    fn capabilities_with(options: &PipeOptions) -> Result<Capabilities, SetupError> {
        features("use")?;
        Ok(Capabilities { max_message: options.longest(), ..Pipe::capabilities() })
    }
}
