//! The exchange of hellos that begins every connection, over any socket. The connecting side speaks first; the
//! listener answers. Descriptors may ride along on Unix sockets.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ipc_core::hello::{Agreed, HELLO_LEN, Hello, NotAHello};
use ipc_core::{Armed, PeerInfo, SetupError, SetupErrorKind, Wait};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags,
};

use crate::doorbell::Doorbell;
use crate::errno::setup_error;
use crate::fault::fault_point;
use crate::places::{Place, Places};
use crate::token::{Challenge, Gate, Owed};

/// A client that has not said its hello after this long is dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Handshakes under way at once; more clients wait in the kernel's backlog.
const MAX_PENDING: usize = 16;

/// Most descriptors that letting one client in takes, in any mechanism. shm: the peer's two eventfds, and a memory and two
/// eventfds of our own, each twice while they are handed over; its pidfd comes when the copies are gone.
const ROOM: usize = 8;

/// Most descriptors in one hello.
pub(crate) const MAX_FDS: usize = 4;

/// How a connection over a socket begins.
///
/// ```
/// use ipc_transports::Opening;
/// assert_eq!("raw".parse(), Ok(Opening::Raw));
/// assert_eq!(Opening::default(), Opening::Hello);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opening {
    /// Both sides say hello.
    #[default]
    Hello,
    /// With the first frame: the peer is a foreign program that knows no hello. Our own settings count for both.
    Raw,
}

impl std::str::FromStr for Opening {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hello" => Ok(Opening::Hello),
            "raw" => Ok(Opening::Raw),
            _ => Err("framing is hello or raw"),
        }
    }
}

/// What the other side said.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) hello: Hello,
    protocol: u32,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) peer: PeerInfo,
    /// At a listener that asks for a token: our hello, which the client has, and our proof, which it has not.
    pub(crate) owed: Option<Owed>,
    /// At a listener: the client's place, to be kept as long as the connection.
    pub(crate) place: Place,
}

impl Greeted {
    #[cfg(any(test, fuzzing, feature = "__fault-points"))]
    pub(crate) fn made_up(hello: Hello, fds: Vec<OwnedFd>) -> Greeted {
        Greeted { hello, protocol: 1, fds, peer: PeerInfo::default(), owed: None, place: Place::default() }
    }

    /// Checks that our hello and theirs fit together.
    pub(crate) fn agree(&self, ours: &Hello, op: &'static str, target: &str) -> Result<Agreed, SetupError> {
        ours.agree(&self.hello, self.protocol).map_err(|kind| SetupError::new(kind, op, target))
    }
}

/// Our hello: the mechanism's part given, nonce and CPUs filled in.
pub(crate) fn own_hello(layout: u64, max_message: usize, capacity: usize, flags: u32) -> Hello {
    let (cpus, first_cpu) = allowed_cpus(None);
    Hello {
        flags,
        layout,
        max_message: max_message as u64,
        capacity: capacity as u64,
        fingerprint: 0,
        nonce: u64::from_le_bytes(random()),
        cpus,
        first_cpu,
    }
}

/// What both ends of a pair keep to. They go to threads that nobody knows yet, so they share one CPU only if the process
/// has no other (its first thread's mask): the thread that makes them may be pinned, and theirs pinned elsewhere.
pub(crate) fn agreed_in_a_pair(hello: &Hello) -> Agreed {
    let process = allowed_cpus(Some(rustix::process::getpid()));
    let share_one_cpu = (hello.cpus, hello.first_cpu) == process && hello.cpus == 1;
    Agreed { share_one_cpu, ..hello.with_itself() }
}

/// How many CPUs the thread `of` may run on, and the lowest; `None` is this thread.
fn allowed_cpus(of: Option<rustix::process::Pid>) -> (u32, u32) {
    match rustix::thread::sched_getaffinity(of) {
        Ok(set) => {
            let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| set.is_set(*cpu)).unwrap_or(0);
            (set.count(), first as u32)
        }
        // More CPUs than the set holds: certainly not one.
        Err(_) => (u32::MAX, 0),
    }
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Fails only when interrupted: the sizes asked for here are below 256 bytes (getrandom(2)).
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

/// Sends our hello; a fresh socket always has room for it.
pub(crate) fn say(socket: BorrowedFd<'_>, hello: &Hello, fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    fault_point!("hello.say");
    let bytes = hello.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    let sent = loop {
        match rustix::net::sendmsg(
            socket,
            &[IoSlice::new(&bytes)],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        ) {
            Err(Errno::INTR) => {}
            done => break done?,
        }
    };
    fault_point!("hello.said");
    if sent == HELLO_LEN { Ok(()) } else { Err(Errno::IO) }
}

/// Says our hello and waits for the answer.
///
/// # Errors
/// `TimedOut`; `Mismatch` when the hellos do not fit, `Io` when the answer is none; `HungUp` when the listener refused us
/// or died.
pub(crate) fn greet(
    socket: &OwnedFd,
    peer: PeerInfo,
    ours: &Hello,
    fds: &[BorrowedFd<'_>],
    wait: Wait,
    target: &str,
) -> Result<(Greeted, Agreed), SetupError> {
    const OP: &str = "connect to";
    say(socket.as_fd(), ours, fds).map_err(|error| setup_error(OP, target, error))?;
    let mut pending = Pending::new(peer, None, Place::default());
    loop {
        if let Some(greeted) = pending.read(socket.as_fd(), OP, target)? {
            let agreed = greeted.agree(ours, OP, target)?;
            return Ok((greeted, agreed));
        }
        if wait.is_over() {
            return Err(SetupError::new(SetupErrorKind::TimedOut, OP, target));
        }
        let mut poll = [PollFd::new(socket, PollFlags::IN)];
        sleep(&mut poll, wait.remaining()).map_err(|error| setup_error(OP, target, error))?;
    }
}

/// Clients of one listener that have connected but not yet said their whole hello.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// The hello that clients are taken to have said, which say none themselves ([`Opening::Raw`]).
    assumed: Option<Hello>,
    /// What clients must show beyond their hello.
    gate: Option<Gate>,
    pending: Vec<Guest>,
    /// Of clients in the middle of their hello, and of connections.
    places: Places,
    doorbell: Option<Doorbell>,
}

/// A client in the middle of its hello.
#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    deadline: Instant,
    pending: Pending,
    /// Set between its hello and its proof.
    challenge: Option<Challenge>,
    /// The doorbell rings for it.
    watched: bool,
}

impl Handshakes {
    /// For clients that say no hello: each is taken to have said `hello`.
    pub(crate) fn assuming(hello: Option<Hello>) -> Self {
        Handshakes { assumed: hello, ..Handshakes::default() }
    }

    /// For clients that show at `gate` that they have its token.
    pub(crate) fn behind(gate: Gate) -> Self {
        Handshakes { gate: Some(gate), ..Handshakes::default() }
    }

    /// Waits for the next client with a whole hello, and proof where one is asked for. `admit` judges a client as it connects; one that is refused, that
    /// is of another user with as many connections as [a user may have](crate::places::MOST), that hangs up, sends something else or takes longer than a second is dropped without disturbing the others.
    ///
    /// # Errors
    /// `TimedOut`; `Limit` when this process has fewer than [`ROOM`] descriptors left: clients then keep their places, in
    /// the backlog or here, and are let in once there is room again; `Io` when the listening socket failed.
    pub(crate) fn next(
        &mut self,
        listener: BorrowedFd<'_>,
        admit: impl Fn(&OwnedFd) -> Result<PeerInfo, SetupError>,
        wait: Wait,
        target: &str,
    ) -> Result<(OwnedFd, Greeted), SetupError> {
        const OP: &str = "accept on";
        loop {
            while self.pending.len() < MAX_PENDING {
                match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
                    Ok(socket) => {
                        let admitted = admit(&socket).ok();
                        let placed = admitted.and_then(|peer| Some((peer, self.places.take(peer.uid)?)));
                        if let Some((peer, place)) = placed {
                            let pending = Pending::new(peer, self.assumed.as_ref(), place);
                            let deadline = Instant::now() + PATIENCE;
                            self.pending.push(Guest {
                                socket,
                                deadline,
                                pending,
                                challenge: None,
                                watched: false,
                            });
                        }
                    }
                    Err(Errno::AGAIN) => break,
                    // The client left before we came; others may be waiting (accept(2)).
                    Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                    Err(error) => return Err(setup_error(OP, target, error)),
                }
            }
            if !self.pending.is_empty() {
                // Before a hello is read: descriptors that come with one are lost if there is no room for them.
                make_sure_of_room(listener).map_err(|error| setup_error(OP, target, error))?;
            }
            for at in (0..self.pending.len()).rev() {
                let guest = &mut self.pending[at];
                let deadline = guest.deadline;
                match guest.read(self.gate.as_ref(), OP, target) {
                    Ok(Some(greeted)) => {
                        let socket = self.dismiss(at);
                        if !has_hung_up(&socket) {
                            return Ok((socket, greeted));
                        }
                    }
                    Ok(None) if Instant::now() < deadline => {}
                    _ => drop(self.dismiss(at)),
                }
            }
            if wait.is_over() {
                return Err(SetupError::new(SetupErrorKind::TimedOut, OP, target));
            }
            let left = [wait.remaining(), self.patience_left()];
            let mut poll = Vec::with_capacity(1 + self.pending.len());
            if self.pending.len() < MAX_PENDING {
                poll.push(PollFd::from_borrowed_fd(listener, PollFlags::IN));
            }
            poll.extend(self.pending.iter().map(|guest| PollFd::new(&guest.socket, PollFlags::IN)));
            sleep(&mut poll, left.into_iter().flatten().min())
                .map_err(|error| setup_error(OP, target, error))?;
        }
    }

    /// Time until the first client in the middle of its hello has had its second.
    fn patience_left(&self) -> Option<Duration> {
        let first = self.pending.iter().map(|guest| guest.deadline).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Takes a client out, who is let in or sent away.
    fn dismiss(&mut self, at: usize) -> OwnedFd {
        let guest = self.pending.swap_remove(at);
        if let Some(doorbell) = self.doorbell.as_ref().filter(|_| guest.watched) {
            doorbell.forget(guest.socket.as_fd());
        }
        guest.socket
    }

    /// [`Pollable::fd`](ipc_core::Pollable::fd) of the listener.
    pub(crate) fn fd<'a>(&'a self, listener: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.doorbell.as_ref().map_or(listener, |doorbell| doorbell.as_fd())
    }

    /// [`Pollable::arm`](ipc_core::Pollable::arm) of the listener: from now on its descriptor becomes ready when
    /// [`next`](Handshakes::next) has something to do.
    ///
    /// # Errors
    /// A descriptor or epoll limit is reached.
    pub(crate) fn arm(&mut self, listener: BorrowedFd<'_>) -> std::io::Result<Armed> {
        let left = self.patience_left();
        let doorbell = match &mut self.doorbell {
            Some(doorbell) => doorbell,
            none => none.insert(Doorbell::over(listener)?),
        };
        doorbell.hear_knocks(listener, self.pending.len() < MAX_PENDING)?;
        for guest in self.pending.iter_mut().filter(|guest| !guest.watched) {
            doorbell.watch(guest.socket.as_fd())?;
            guest.watched = true;
        }
        doorbell.ring_after(left)?;
        Ok(doorbell.look())
    }
}

impl Guest {
    /// Takes what is there; the client, once it has said all it must.
    fn read(
        &mut self,
        gate: Option<&Gate>,
        op: &'static str,
        target: &str,
    ) -> Result<Option<Greeted>, SetupError> {
        let socket = self.socket.as_fd();
        let fail = |error| setup_error(op, target, error);
        let Some(gate) = gate else { return self.pending.read(socket, op, target) };
        if self.challenge.is_none() {
            let Some(greeted) = self.pending.read(socket, op, target)? else { return Ok(None) };
            self.challenge = Some(gate.challenge(socket, greeted).map_err(fail)?);
        }
        match &mut self.challenge {
            Some(challenge) => gate.judge(socket, challenge).map_err(fail),
            None => Ok(None),
        }
    }
}

/// Makes sure that there is room for [`ROOM`] more descriptors, by taking and giving back as many: a client is let in
/// whole or stays where it is.
fn make_sure_of_room(listener: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut taken: [Option<OwnedFd>; ROOM] = [const { None }; ROOM];
    for place in &mut taken {
        *place = Some(rustix::io::fcntl_dupfd_cloexec(listener, 0)?);
    }
    Ok(())
}

/// Whether this process can have no more descriptors.
fn is_full(socket: BorrowedFd<'_>) -> bool {
    rustix::io::fcntl_dupfd_cloexec(socket, 0).is_err()
}

/// Whether a client that has said its hello gave up waiting for ours: it sends nothing more before it has it.
fn has_hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    matches!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1))
}

/// A hello on its way in.
#[derive(Debug)]
struct Pending {
    bytes: [u8; HELLO_LEN],
    got: usize,
    fds: Vec<OwnedFd>,
    peer: PeerInfo,
    place: Place,
}

impl Pending {
    fn new(peer: PeerInfo, assumed: Option<&Hello>, place: Place) -> Self {
        let (bytes, got) = assumed.map_or(([0; HELLO_LEN], 0), |hello| (hello.encode(), HELLO_LEN));
        Pending { bytes, got, fds: Vec::new(), peer, place }
    }

    /// Takes what is there, never a byte beyond the hello. `None`: not whole yet.
    fn read(
        &mut self,
        socket: BorrowedFd<'_>,
        op: &'static str,
        target: &str,
    ) -> Result<Option<Greeted>, SetupError> {
        let differ = |what, ours, theirs| {
            Err(SetupError::new(SetupErrorKind::Mismatch { what, ours, theirs }, op, target))
        };
        while self.got < HELLO_LEN {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                socket,
                &mut [IoSliceMut::new(&mut self.bytes[self.got..])],
                &mut control,
                RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
            );
            let received = match received {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(setup_error(op, target, error)),
                Ok(received) => received,
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            if received.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > MAX_FDS {
                // The kernel drops what does not fit into the message's room and what we have no number for alike
                // (scm_detach_fds); the one is the peer's fault, the other our limit.
                if self.fds.len() < MAX_FDS && is_full(socket) {
                    return Err(setup_error(op, target, Errno::MFILE));
                }
                let (ours, theirs) = (MAX_FDS as u64, self.fds.len() as u64 + 1);
                return differ("descriptors in the hello, at most", ours, theirs);
            }
            if received.flags.contains(ReturnFlags::TRUNC) {
                return differ("length of the hello", HELLO_LEN as u64, HELLO_LEN as u64 + 1);
            }
            if received.bytes == 0 {
                return Err(SetupError::new(SetupErrorKind::HungUp, op, target));
            }
            self.got += received.bytes;
        }
        match Hello::decode(&self.bytes) {
            Ok((hello, protocol)) => {
                let fds = std::mem::take(&mut self.fds);
                let place = std::mem::take(&mut self.place);
                Ok(Some(Greeted { hello, protocol, fds, peer: self.peer, owed: None, place }))
            }
            // Some other program.
            Err(NotAHello) => {
                let first = |bytes: &[u8; HELLO_LEN]| {
                    bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
                };
                let own = own_hello(0, 0, 0, 0).encode();
                differ("their first bytes: one says no hello", first(&own), first(&self.bytes))
            }
        }
    }
}

/// What lies in `socket`, for a harness.
#[cfg(any(test, fuzzing, feature = "__fault-points"))]
pub(crate) fn read_made_up(socket: BorrowedFd<'_>) -> Result<Option<Greeted>, SetupError> {
    Pending::new(PeerInfo::default(), None, Place::default()).read(socket, "read", "made-up input")
}

/// `ppoll` that takes an interruption for a wake-up; callers look again anyway.
pub(crate) fn sleep(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> rustix::io::Result<usize> {
    let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(fds, timeout.as_ref()) {
        Err(Errno::INTR) => Ok(0),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::MOST;
    use rustix::net::{AddressFamily, SocketType};

    /// A path that is gone with the test.
    struct Removed(std::path::PathBuf);

    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// What a listener makes of a client that has said its hello: let in, or hung up on.
    fn knock(handshakes: &mut Handshakes, listener: &OwnedFd) -> Option<Greeted> {
        let name = rustix::net::getsockname(listener).expect("its own name");
        let client = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        rustix::net::connect(&client, &name).expect("a listener");
        say(client.as_fd(), &own_hello(1, 100, 0, 0), &[]).expect("room");
        let another = rustix::process::geteuid().as_raw() ^ 1;
        let admit = |_: &OwnedFd| Ok(PeerInfo::new(Some(another), None));
        handshakes.next(listener.as_fd(), admit, Wait::Never, "a test").ok().map(|(_, greeted)| greeted)
    }

    #[test]
    fn another_users_clients_beyond_the_quota_are_hung_up_on_until_one_leaves() {
        let path = std::env::temp_dir().join(format!("ipc-quota-test-{:016x}", u64::from_le_bytes(random())));
        let name = rustix::net::SocketAddrUnix::new(&path).expect("a short path");
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("one");
        rustix::net::bind(&listener, &name).and_then(|()| rustix::net::listen(&listener, 8)).expect("a name");
        let mut handshakes = Handshakes::default();
        let _removed = Removed(path);
        let mut connections: Vec<Greeted> =
            (0..MOST).map(|_| knock(&mut handshakes, &listener).expect("a place")).collect();
        assert!(knock(&mut handshakes, &listener).is_none());
        connections.pop();
        assert!(knock(&mut handshakes, &listener).is_some());
    }

    #[test]
    fn a_pair_made_by_a_pinned_thread_does_not_share_its_cpu() {
        let (of_the_process, _) = allowed_cpus(Some(rustix::process::getpid()));
        let agreed = std::thread::spawn(|| {
            let allowed = rustix::thread::sched_getaffinity(None).expect("our own mask");
            let last = (0..rustix::thread::CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
            let mut one = rustix::thread::CpuSet::new();
            one.set(last.expect("we run somewhere"));
            rustix::thread::sched_setaffinity(None, &one).expect("a CPU we have");
            let hello = own_hello(1, 100, 0, 0);
            assert_eq!(hello.cpus, 1);
            agreed_in_a_pair(&hello)
        });
        assert_eq!(agreed.join().expect("a thread").share_one_cpu, of_the_process == 1);
    }
}
