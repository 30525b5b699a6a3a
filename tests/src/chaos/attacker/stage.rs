//! Where an attack is played, and how bytes and descriptors get there.
#![allow(unsafe_code, reason = "a signal mask")]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ipc_transports::hello::{HELLO_LEN, Hello};
use ipc_transports::{Address, AnyListener, Listener, Target, Wait};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType,
};

/// Where an attack is played: before a listener, or at a connection that a client of ours has made.
#[derive(Debug)]
pub struct Stage {
    address: Option<Address>,
    socket: Option<OwnedFd>,
    /// A hello that would be let in.
    pub hello: Hello,
}

impl Stage {
    /// Before `listener`, whose hello is learned by saying one of another version.
    pub fn before(listener: &mut AnyListener, mechanism: &str) -> Stage {
        let address = listener.address().clone();
        let socket = dial(&address);
        let mut wrong = Hello {
            flags: 0,
            layout: 1,
            max_message: 1,
            capacity: 4096,
            fingerprint: 0,
            nonce: 1,
            cpus: 2,
            first_cpu: 0,
        }
        .encode();
        wrong[8] ^= 0x40;
        send(socket.as_fd(), &wrong, &[]);
        let refused = listener.accept(Wait::within(Duration::from_millis(100)));
        assert!(refused.is_err(), "{mechanism}: a hello of another version is no client");
        let (bytes, _) = receive(socket.as_fd());
        let (hello, _) = Hello::decode(&bytes).expect("a listener's hello");
        Stage { address: Some(address), socket: None, hello: Hello { nonce: 0x4174_7461_636B, ..hello } }
    }

    /// At a connection.
    pub fn with(socket: OwnedFd, hello: Hello) -> Stage {
        Stage { address: None, socket: Some(socket), hello }
    }

    /// The hostile end: a new connection, or the one there is.
    pub(super) fn socket(&self) -> OwnedFd {
        match (&self.address, &self.socket) {
            (Some(address), _) => dial(address),
            (None, Some(socket)) => {
                // What the client said, with its descriptors.
                receive(socket.as_fd());
                socket.try_clone().expect("a descriptor")
            }
            (None, None) => unreachable!("a stage has one or the other"),
        }
    }
}

fn kind(scheme: &str) -> SocketType {
    if scheme == "uds" { SocketType::STREAM } else { SocketType::SEQPACKET }
}

pub(super) fn dial(address: &Address) -> OwnedFd {
    match address.target() {
        Target::Inet(at) => std::net::TcpStream::connect(at).expect("a listener").into(),
        Target::Path(path) => {
            let socket =
                rustix::net::socket(AddressFamily::UNIX, kind(address.scheme()), None).expect("a socket");
            let name = SocketAddrUnix::new(path).expect("a short path");
            rustix::net::connect(&socket, &name).expect("a listener");
            socket
        }
        other => panic!("{other:?}"),
    }
}

/// A listening socket of the attacker's.
#[derive(Debug)]
pub struct Stand {
    socket: OwnedFd,
    /// Where to connect.
    pub address: Address,
}

impl Stand {
    /// Listens where a listener of ours would.
    pub fn at(address: &Address) -> Stand {
        match address.target() {
            Target::Inet(at) => {
                let listener = std::net::TcpListener::bind(at).expect("a port");
                let at = listener.local_addr().expect("a bound socket");
                Stand { socket: listener.into(), address: address.with_target(Target::Inet(at)) }
            }
            Target::Path(path) => {
                let socket =
                    rustix::net::socket(AddressFamily::UNIX, kind(address.scheme()), None).expect("a socket");
                rustix::net::bind(&socket, &SocketAddrUnix::new(path).expect("a short path"))
                    .expect("a free path");
                rustix::net::listen(&socket, 16).expect("a bound socket");
                Stand { socket, address: address.clone() }
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next client, if one comes within a second.
    pub fn accept(&self) -> Option<OwnedFd> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))
            .ok()
            .filter(|ready| *ready > 0)?;
        rustix::net::accept(&self.socket).ok()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Target::Path(path) = self.address.target() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Sends what it can: the other side may have hung up.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let _ = rustix::net::sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    );
}

/// One hello's worth of bytes, and what came with it; within a second.
pub(super) fn receive(socket: BorrowedFd<'_>) -> ([u8; HELLO_LEN], Vec<OwnedFd>) {
    let (mut bytes, mut got, mut fds) = ([0; HELLO_LEN], 0, Vec::new());
    while got < HELLO_LEN {
        let mut poll = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })), Ok(1)) {
            break;
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [std::io::IoSliceMut::new(&mut bytes[got..])];
        match rustix::net::recvmsg(socket, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes > 0 => got += received.bytes,
            _ => break,
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
    }
    (bytes, fds)
}

/// Writes `bytes` in pieces, to the pipe that was handed over or else into the socket, as far as they fit.
pub(super) fn pour(socket: &OwnedFd, fds: &[OwnedFd], bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        match fds {
            [] => send(socket.as_fd(), piece, &[]),
            // Which of the two can be written to shows by trying.
            ends => ends.iter().for_each(|end| {
                let _ = rustix::io::ioctl_fionbio(end, true);
                let _ = write_quietly(end, piece);
            }),
        }
    }
}

/// A write to a pipe whose reader may be gone, in a process that has its deadly SIGPIPE.
fn write_quietly(end: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<usize> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let set = set.as_mut_ptr();
    // SAFETY: `set` has room for a set.
    unsafe { libc::sigemptyset(set) };
    // SAFETY: initialised by the call before.
    unsafe { libc::sigaddset(set, libc::SIGPIPE) };
    // SAFETY: a valid set; this thread is the attacker's own and ends with SIGPIPE still blocked.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set, std::ptr::null_mut()) };
    rustix::io::write(end, bytes)
}
