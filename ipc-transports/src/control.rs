//! The control socket beside mechanisms whose data does not flow through a socket: it carries the hello and the
//! descriptors once, later a goodbye per half, and its hang-up (or the peer's pidfd) tells of death.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipc_core::hello::{Agreed, Hello};
use ipc_core::{Address, PeerInfo, SetupError, SetupErrorKind, Wait};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use crate::doorbell::pollable_listener;
use crate::errno::setup_error;
use crate::features::Features;
use crate::handshake::{Greeted, Handshakes, greet, say};
use crate::places::Place;
use crate::{peer, rendezvous};

/// One direction of a connection, as seen by whoever speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Half {
    /// The speaker's sender.
    Sender = 1,
    /// The speaker's receiver.
    Receiver = 2,
}

/// Beside the `Half` bits of what was heard: the peer said something that is no goodbye, which is the last we hear of it.
const NONSENSE: u8 = 4;

/// An established control socket, shared by the two halves of a connection.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    pidfd: Option<OwnedFd>,
    /// `Half` bits the peer has said goodbye for, and [`NONSENSE`]. Locked while one of our halves looks into the socket.
    left: Mutex<u8>,
    /// At a listener: the peer's place.
    _place: Place,
}

impl Control {
    fn new(socket: OwnedFd, peer: &PeerInfo, features: &Features, place: Place) -> Self {
        let pidfd = peer::pidfd(socket.as_fd(), peer, features);
        Control { socket, pidfd, left: Mutex::new(0), _place: place }
    }

    /// True once the peer has closed both halves or died. Whether it said goodbye is
    /// [`has_left`](Control::has_left)'s to answer, *after* this: what it said precedes its end. One system call.
    pub(crate) fn peer_gone(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut self.ends(), Some(&at_once)), Ok(1..))
    }

    /// Sleeps until `bell` rings, or the peer has closed both halves or died, at most `left`; `None`: for as long as it takes.
    /// May return early. True: the peer is [`gone`](Control::peer_gone).
    ///
    /// # Errors
    /// The kernel does not let us sleep so: a limit of fewer descriptors than are watched, a filter of system calls.
    pub(crate) fn sleep_on(&self, bell: BorrowedFd<'_>, left: Option<Duration>) -> rustix::io::Result<bool> {
        let [hang_up, death] = self.ends();
        let mut fds = [PollFd::from_borrowed_fd(bell, PollFlags::IN), hang_up, death];
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) => Ok(fds[1..].iter().any(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What tells of the peer's end. HUP and ERR are reported unasked.
    fn ends(&self) -> [PollFd<'_>; 2] {
        let hang_up = PollFd::new(&self.socket, PollFlags::RDHUP);
        let death = self.pidfd.as_ref().map_or(hang_up.clone(), |fd| PollFd::new(fd, PollFlags::IN));
        [hang_up, death]
    }

    /// Whether the peer has said goodbye for its `half`.
    pub(crate) fn has_left(&self, half: Half) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        // The first goodbye is left lying: our other half may be asleep on it, and one that is taken wakes nobody.
        self.hear(&mut left, RecvFlags::PEEK);
        // A second one leaves nothing to sleep on but the hang-up that follows it, which stays.
        if *left & half as u8 == 0 && self.peer_gone() {
            while self.hear(&mut left, RecvFlags::empty()) {}
        }
        *left & half as u8 != 0
    }

    /// Adds the next goodbye in the socket to what was `heard`; false: there is none, nor will there be after nonsense.
    fn hear(&self, heard: &mut u8, flags: RecvFlags) -> bool {
        if *heard & NONSENSE != 0 {
            return false;
        }
        let mut byte = [0u8; 1];
        loop {
            match rustix::net::recv(&self.socket, &mut byte, flags | RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                Ok((1, _)) if byte[0] & 3 != 0 => {
                    *heard |= byte[0] & 3;
                    return true;
                }
                // Nonsense, or a message of no bytes, which looks like the end of the stream. Left lying it would wake
                // whoever sleeps on the socket for ever; so this is the peer's end, for both halves and for good.
                Ok(_) => {
                    *heard |= NONSENSE;
                    let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    /// What to poll [`socket`](Control::socket) for by whom the peer's `half` matters to. The goodbye of the other half
    /// keeps the socket readable; from then on only the hang-up is left to wait for, which follows this half's goodbye.
    pub(crate) fn news(&self, half: Half) -> PollFlags {
        match *self.left.lock().unwrap_or_else(PoisonError::into_inner) & !(half as u8) {
            0 => PollFlags::IN | PollFlags::RDHUP,
            _ => PollFlags::RDHUP,
        }
    }

    /// Tells the peer that our `half` is gone in an orderly way.
    pub(crate) fn say_goodbye(&self, half: Half) {
        // At most two bytes ever go this way, so there is always room; a dead peer needs no goodbye.
        let _ = rustix::net::send(&self.socket, &[half as u8], SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }

    /// Tells of goodbyes and of the peer's end; see [`news`](Control::news).
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Readable when the peer's process has exited.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(|fd| fd.as_fd())
    }
}

/// What fails with something that a client brought costs that client alone, be it for a limit of ours: how much it
/// brings is its own choice.
pub(crate) fn costs_the_client(mut error: SetupError) -> SetupError {
    error.kind = SetupErrorKind::Denied;
    error
}

/// Accepts control connections at one address.
#[derive(Debug)]
pub(crate) struct ControlListener {
    rendezvous: rendezvous::Rendezvous,
    handshakes: Handshakes,
    address: Address,
    allowed_uids: Vec<u32>,
    features: &'static Features,
}

impl ControlListener {
    /// Errors as [`rendezvous::Rendezvous::bind`].
    pub(crate) fn bind(
        at: &Address,
        allowed_uids: &[u32],
        features: &'static Features,
    ) -> Result<Self, SetupError> {
        Ok(ControlListener {
            rendezvous: rendezvous::Rendezvous::bind(at, SocketType::SEQPACKET)?,
            handshakes: Handshakes::default(),
            address: at.clone(),
            allowed_uids: allowed_uids.to_vec(),
            features,
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for the next client that fits `hello()`. `respond` gets our hello, theirs and what both agree on, and
    /// returns the descriptors to hand over and whatever it made of the client's. A client that does not fit, or for
    /// whom `respond` fails for a reason of the client's ([`costs_the_client`]), is dropped and the next one awaited.
    ///
    /// # Errors
    /// `TimedOut`; `Limit`, `NoSpace` or `Unsupported`, also from `respond`; `Io` when the listener failed.
    pub(crate) fn accept<T>(
        &mut self,
        wait: Wait,
        hello: impl Fn() -> Hello,
        mut respond: impl FnMut(&Hello, Greeted, Agreed) -> Result<(Vec<OwnedFd>, T), SetupError>,
    ) -> Result<(Control, PeerInfo, T), SetupError> {
        use SetupErrorKind::{Limit, NoSpace, Unsupported};
        const OP: &str = "accept on";
        let target = self.address.to_string();
        loop {
            let admit = |socket: &OwnedFd| peer::admitted(socket.as_fd(), &self.allowed_uids, OP, &target);
            let (socket, greeted) = self.handshakes.next(self.rendezvous.as_fd(), admit, wait, &target)?;
            let (ours, peer, place) = (hello(), greeted.peer, greeted.place.clone());
            let answered = match greeted.agree(&ours, OP, &target) {
                Ok(agreed) => respond(&ours, greeted, agreed),
                // Our hello goes out all the same: it tells the client in what we differ.
                Err(mismatch) => {
                    let _ = say(socket.as_fd(), &ours, &[]);
                    Err(mismatch)
                }
            };
            let (fds, made) = match answered {
                Ok(answer) => answer,
                Err(error) if matches!(error.kind, Limit { .. } | NoSpace | Unsupported) => {
                    return Err(error);
                }
                Err(_) => continue,
            };
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
            match say(socket.as_fd(), &ours, &fds) {
                Ok(()) => return Ok((Control::new(socket, &peer, self.features, place), peer, made)),
                Err(Errno::MFILE | Errno::TOOMANYREFS) => {
                    return Err(setup_error(OP, &target, Errno::MFILE));
                }
                Err(_) => {}
            }
        }
    }
}

pollable_listener!(ControlListener: handshakes of rendezvous);

/// Connects to a [`ControlListener`], offering `fds`.
///
/// # Errors
/// As [`rendezvous::connect`] and [`greet`]; `Denied` when the listener belongs to another user.
pub(crate) fn connect(
    to: &Address,
    allowed_uids: &[u32],
    features: &Features,
    ours: &Hello,
    fds: &[BorrowedFd<'_>],
    wait: Wait,
) -> Result<(Control, Greeted, Agreed), SetupError> {
    let target = to.to_string();
    let socket = rendezvous::connect(to, SocketType::SEQPACKET, wait)?;
    let peer = peer::admitted(socket.as_fd(), allowed_uids, "connect to", &target)?;
    let (greeted, agreed) = greet(&socket, peer, ours, fds, wait, &target)?;
    Ok((Control::new(socket, &peer, features, Place::default()), greeted, agreed))
}

/// Two control sockets connected to each other inside this process.
///
/// # Errors
/// `Limit`.
pub(crate) fn pair(features: &Features) -> Result<(Control, Control, PeerInfo), SetupError> {
    const OP: &str = "pair";
    let fail = |error| setup_error(OP, "of control sockets", error);
    let (one, other) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(fail)?;
    let peer = peer::admitted(one.as_fd(), &[], OP, "of control sockets")?;
    let control = |socket| Control::new(socket, &peer, features, Place::default());
    Ok((control(one), control(other), peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_goodbye_is_the_peers_end_and_the_last_that_is_heard_of_it() {
        for nonsense in [&[0u8][..], &[4], &[0xF8, 1], &[]] {
            let (ours, theirs, _) = pair(crate::features::features("test").unwrap()).unwrap();
            assert!(!ours.has_left(Half::Sender) && !ours.peer_gone());
            rustix::net::send(&theirs.socket, nonsense, SendFlags::empty()).unwrap();
            theirs.say_goodbye(Half::Sender);
            assert!(!ours.has_left(Half::Sender), "{nonsense:?}");
            // Or whoever sleeps on the socket would be woken again and again, with nothing to be told.
            assert!(ours.peer_gone(), "{nonsense:?}");
            theirs.say_goodbye(Half::Receiver);
            for half in [Half::Sender, Half::Receiver, Half::Sender] {
                assert!(!ours.has_left(half), "{nonsense:?}: {half:?}");
            }
        }
    }

    #[test]
    fn goodbyes_are_heard_before_the_nonsense_that_follows_them() {
        let (ours, theirs, _) = pair(crate::features::features("test").unwrap()).unwrap();
        theirs.say_goodbye(Half::Receiver);
        rustix::net::send(&theirs.socket, &[0], SendFlags::empty()).unwrap();
        assert!(ours.has_left(Half::Receiver) && !ours.has_left(Half::Sender) && !ours.peer_gone());
        drop(theirs);
        assert!(!ours.has_left(Half::Sender) && ours.has_left(Half::Receiver) && ours.peer_gone());
    }
}
