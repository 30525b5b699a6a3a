//! Two processes per trial: this program again, one side each, told everything on its command line.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ipc_limits::{Bare, Driver, End, Link, Params};
use ipc_transports::{
    Address, AnyListener, Connection, Listener, Shm, ShmOptions, Transport, Uds, UdsSeqpacket, Wait,
};
use ipc_transports::{Mq, Pipe, ShmDirect, Tcp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::carrier::{BareInPlace, BareLoop, Copying, Lending};
use super::loops::{self, Figures, Shape, Work};
use crate::os;
use crate::pin::{self, Pins};
use crate::scratch::{self, Scratch};
use crate::signals::Signals;

/// Name of the hidden subcommand that runs one side.
pub(crate) const COMMAND: &str = "__limit";

/// How long a trial may take beyond its length.
const PATIENCE: Duration = Duration::from_secs(20);

/// What carries the messages of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Through {
    /// A transport by scheme, with the options of its address.
    Transport { scheme: &'static str, query: &'static str, how: How },
    /// A bare loop.
    Bare(Params),
}

/// In which way a transport is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum How {
    /// By its own type.
    Static,
    /// Through `AnyConnection`.
    Any,
    /// By its own type, in a process that has no `membarrier`: a fence per message.
    Fenced,
    /// `shm` between two sides that let each other map their memory writable.
    Trusting,
}

/// One side, as text on the command line.
#[derive(Debug, Serialize, Deserialize)]
struct Side {
    client: bool,
    link: Where,
    work: Work,
    cpu: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Where {
    Address { address: String, how: How },
    Bare { end: String },
}

/// Makes one trial.
///
/// # Errors
/// A side failed, died or hung; or a signal came.
pub(super) fn trial(through: &Through, work: &Work, pins: Pins, signals: &Signals) -> io::Result<Figures> {
    let deadline = Instant::now() + work.length * 2 + PATIENCE;
    let side = |client, link| Side {
        client,
        link,
        work: *work,
        cpu: if client { pins.client } else { pins.server },
    };
    match through {
        Through::Bare(params) => {
            let (near, far) = ipc_limits::create(params)?;
            let _server = start(&side(false, Where::Bare { end: far.to_string() }), Some(&far), false)?;
            let client = start(&side(true, Where::Bare { end: near.to_string() }), Some(&near), false)?;
            // The peer's death shows only when nobody else holds the descriptors.
            drop((near, far));
            figures(client, deadline, signals)
        }
        Through::Transport { scheme, query, how } => {
            let scratch = Scratch::choose()?;
            scratch::make(scratch.path())?;
            let fenced = *how == How::Fenced;
            let at = |address: String| Where::Address { address, how: *how };
            let mut server = start(&side(false, at(address(scheme, query, scratch.path()))), None, fenced)?;
            let told = server.line(deadline, signals)?;
            let client = start(&side(true, at(told)), None, fenced)?;
            figures(client, deadline, signals)
        }
    }
}

/// Where a transport's server listens.
fn address(scheme: &str, query: &str, directory: &Path) -> String {
    let target =
        if scheme == "tcp" { "127.0.0.1:0".to_owned() } else { directory.join("s").display().to_string() };
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{scheme}:{target}{query}")
}

fn figures(mut client: Running, deadline: Instant, signals: &Signals) -> io::Result<Figures> {
    let line = client.line(deadline, signals)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// A side that runs. Dropped, it does not.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

fn start(side: &Side, end: Option<&End>, fenced: bool) -> io::Result<Running> {
    // This very program, even if the file it was started from has been replaced meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("ipc-bench").arg(COMMAND).arg(serde_json::to_string(side).map_err(io::Error::other)?);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    if fenced {
        command.env("IPC_DENY_FEATURES", "membarrier");
    }
    if let Some(end) = end {
        end.pass_to(&mut command);
    }
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe from a side"))?;
    Ok(Running { child, stdout: BufReader::new(stdout) })
}

impl Running {
    /// The line it says next.
    fn line(&mut self, deadline: Instant, signals: &Signals) -> io::Result<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [
            PollFd::from_borrowed_fd(self.stdout.get_ref().as_fd(), PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the two sides hang")),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if signals.caught().is_some() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut line = String::new();
        // A line is written at once and shorter than a pipe's buffer.
        self.stdout.read_line(&mut line)?;
        if line.ends_with('\n') {
            line.pop();
            return Ok(line);
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "a side ended without a result; what it said is above",
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one side.
pub(crate) fn main(text: Option<String>) -> ExitCode {
    // The runner starts sides from its main thread, whose end this means.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let done = text
        .ok_or_else(|| io::Error::other("no side to run"))
        .and_then(|text| serde_json::from_str(&text).map_err(io::Error::other))
        .and_then(|side: Side| run(&side));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("one side of a trial: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(side: &Side) -> io::Result<()> {
    if let Some(cpu) = side.cpu {
        pin::pin_this_thread(cpu)?;
    }
    let (address, how) = match &side.link {
        Where::Bare { end } => {
            let link = End::inherited(end)?.open()?;
            return match (side.work.shape, link) {
                (Shape::InPlace, Link::Ring(ring)) => {
                    over(side, &mut BareInPlace(BareLoop::new(ring, side.work.size)))
                }
                (_, link) => link.drive(Drive(side)),
            };
        }
        Where::Address { address, how } => (address.parse::<Address>().map_err(io::Error::other)?, *how),
    };
    if how == How::Any {
        return any(side, &address);
    }
    match (address.scheme(), side.work.shape) {
        ("shm", Shape::InPlace) => {
            let options = ShmOptions { trust: os::trust_our_own_worker(), ..ShmOptions::default() };
            let Connection { tx, rx, .. } = connection::<Shm>(side, &address, &options)?;
            over(side, &mut Lending(Copying(tx, rx)))
        }
        ("shm", _) if how == How::Trusting => {
            let options = ShmOptions { trust: os::let_our_own_worker_write(), ..ShmOptions::default() };
            copying_with::<Shm>(side, &address, &options)
        }
        ("shm", _) => copying::<Shm>(side, &address),
        ("shm-direct", _) => copying::<ShmDirect>(side, &address),
        ("uds", _) => copying::<Uds>(side, &address),
        ("uds-seqpacket", _) => copying::<UdsSeqpacket>(side, &address),
        ("tcp", _) => copying::<Tcp>(side, &address),
        ("pipe", _) => copying::<Pipe>(side, &address),
        ("mq", _) => copying::<Mq>(side, &address),
        (other, _) => Err(io::Error::other(format!("no row uses {other}"))),
    }
}

struct Drive<'a>(&'a Side);

impl Driver for Drive<'_> {
    type Output = io::Result<()>;

    fn drive<B: Bare>(self, link: B) -> io::Result<()> {
        over(self.0, &mut BareLoop::new(link, self.0.work.size))
    }
}

/// Tells the runner where the client finds us.
fn listening(address: &Address) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{address}")?;
    stdout.flush()
}

fn connection<T: Transport>(
    side: &Side,
    address: &Address,
    options: &T::Options,
) -> io::Result<Connection<T::Tx, T::Rx>> {
    if side.client {
        return Ok(T::connect(address, options, Wait::Forever)?);
    }
    let mut listener = T::listen(address, options)?;
    listening(listener.address())?;
    Ok(listener.accept(Wait::Forever)?)
}

fn copying<T: Transport>(side: &Side, address: &Address) -> io::Result<()> {
    copying_with::<T>(side, address, &T::Options::default())
}

fn copying_with<T: Transport>(side: &Side, address: &Address, options: &T::Options) -> io::Result<()> {
    let Connection { tx, rx, .. } = connection::<T>(side, address, options)?;
    over(side, &mut Copying(tx, rx))
}

fn any(side: &Side, address: &Address) -> io::Result<()> {
    let Connection { tx, rx, .. } = if side.client {
        ipc_transports::connect(address, Wait::Forever)?
    } else {
        let mut listener: AnyListener = ipc_transports::listen(address)?;
        listening(listener.address())?;
        listener.accept(Wait::Forever)?
    };
    over(side, &mut Copying(tx, rx))
}

fn over(side: &Side, end: &mut impl super::carrier::Carrier) -> io::Result<()> {
    if !side.client {
        return loops::server(end, &side.work);
    }
    let figures = loops::client(end, &side.work)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&figures).map_err(io::Error::other)?)?;
    stdout.flush()
}
