//! The attacks: what a hostile process sends, as a table.
#![allow(unsafe_code, reason = "writes shared memory behind the library's back")]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipc_transports::hello::{HELLO_LEN, Hello};
use ipc_transports::{Address, AnyListener, Listener, Target, Wait};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType,
};

use crate::end::Random;

/// What an attack does.
pub type Play = dyn Fn(&Stage) -> Vec<OwnedFd> + Sync;

/// One attack.
pub struct Attack {
    /// For the report.
    pub name: String,
    /// Plays it; what it returns stays open until our own client was served.
    pub play: Box<Play>,
}

impl std::fmt::Debug for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

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
    fn socket(&self) -> OwnedFd {
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

fn dial(address: &Address) -> OwnedFd {
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
fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
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
fn receive(socket: BorrowedFd<'_>) -> ([u8; HELLO_LEN], Vec<OwnedFd>) {
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

/// What a descriptor that is handed over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Pipe,
    PipeWriter,
    File,
    Zero,
    Directory,
    Socket,
    Eventfd,
    BlockingEventfd,
    Epoll,
    UnsealedMemfd,
    ShrinkSealedMemfd,
    SmallMemfd,
    LargeMemfd,
    EmptyMemfd,
    BothSidesMemfd,
    StrangersMemfd,
}

const THINGS: &[Thing] = &[
    Thing::Pipe,
    Thing::PipeWriter,
    Thing::File,
    Thing::Zero,
    Thing::Directory,
    Thing::Socket,
    Thing::Eventfd,
    Thing::BlockingEventfd,
    Thing::Epoll,
    Thing::UnsealedMemfd,
    Thing::ShrinkSealedMemfd,
    Thing::SmallMemfd,
    Thing::LargeMemfd,
    Thing::EmptyMemfd,
    Thing::BothSidesMemfd,
    Thing::StrangersMemfd,
];

const SIZED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .expect("a memfd");
    rustix::fs::ftruncate(&fd, len).expect("a size");
    rustix::fs::fcntl_add_seals(&fd, seals).expect("seals");
    fd
}

impl Thing {
    /// One of them; `len` is how long a memory should be.
    fn make(self, len: u64) -> OwnedFd {
        let sealed = SIZED | SealFlags::FUTURE_WRITE;
        let open = |path: &str| OwnedFd::from(std::fs::File::open(path).expect("it is everywhere"));
        match self {
            Thing::Pipe => std::io::pipe().expect("a pipe").0.into(),
            Thing::PipeWriter => std::io::pipe().expect("a pipe").1.into(),
            Thing::File => {
                let file = tempfile::tempfile().expect("a file");
                file.set_len(len).expect("a size");
                file.into()
            }
            Thing::Zero => open("/dev/zero"),
            Thing::Directory => open("/"),
            Thing::Socket => std::os::unix::net::UnixDatagram::unbound().expect("a socket").into(),
            Thing::Eventfd => {
                rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
            }
            Thing::BlockingEventfd => rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"),
            Thing::Epoll => {
                rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).expect("an epoll")
            }
            Thing::UnsealedMemfd => memfd(len, SealFlags::empty()),
            Thing::ShrinkSealedMemfd => memfd(len, SealFlags::SHRINK | SealFlags::SEAL),
            Thing::SmallMemfd => memfd(len / 2, sealed),
            Thing::LargeMemfd => memfd(len * 2, sealed),
            Thing::EmptyMemfd => memfd(0, sealed),
            Thing::BothSidesMemfd => memfd(len, SIZED),
            Thing::StrangersMemfd => memfd(len, sealed),
        }
    }
}

fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(|fd| fd.as_fd()).collect()
}

fn attack(name: impl Into<String>, play: impl Fn(&Stage) -> Vec<OwnedFd> + Sync + 'static) -> Attack {
    Attack { name: name.into(), play: Box::new(play) }
}

/// Says `bytes` with `things`, waits for an answer or the hang-up, and hangs up.
fn says(name: impl Into<String>, bytes: Vec<u8>, things: Vec<Thing>, len: u64) -> Attack {
    attack(name, move |stage| {
        let socket = stage.socket();
        let fds: Vec<OwnedFd> = things.iter().map(|thing| thing.make(len)).collect();
        send(socket.as_fd(), &bytes, &borrowed(&fds));
        Vec::new()
    })
}

/// Bytes of the memory that goes with `hello`.
fn memory_len(mechanism: &str, hello: &Hello) -> u64 {
    match mechanism {
        "shm" => 4096 + hello.capacity,
        // Two slots of 264 bytes and the payload, rounded up to 128, behind an identity of 128 (slot.rs).
        "shm-direct" => 128 + 2 * (264 + hello.max_message).next_multiple_of(128),
        _ => 65536,
    }
}

/// The descriptors that belong to a hello, by their kind.
fn right_things(mechanism: &str, listening: bool) -> Vec<Thing> {
    match (mechanism, listening) {
        ("shm", _) | ("shm-direct", true) => vec![Thing::StrangersMemfd, Thing::Eventfd, Thing::Eventfd],
        ("shm-direct", false) => vec![Thing::Eventfd; 2],
        ("pipe", true) => vec![Thing::Pipe, Thing::PipeWriter],
        // A queue has no stand-in.
        ("mq", _) => vec![Thing::Pipe],
        _ => Vec::new(),
    }
}

/// Hellos with something wrong in every byte, of every length, and with every kind of descriptor.
fn hellos(mechanism: &'static str, hello: &Hello, listening: bool, random: &mut Random) -> Vec<Attack> {
    let right = hello.encode();
    let things = right_things(mechanism, listening);
    let len = memory_len(mechanism, hello);
    let mut attacks = Vec::new();
    for at in 0..HELLO_LEN {
        let mut bytes = right.to_vec();
        bytes[at] ^= 1 << random.below(8);
        attacks.push(says(format!("hello with byte {at} changed"), bytes, things.clone(), len));
    }
    for at in (0..HELLO_LEN).step_by(4) {
        for value in [0, u32::MAX, 1 << 31] {
            let mut bytes = right.to_vec();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            attacks.push(says(format!("hello with {value:#x} at {at}"), bytes, things.clone(), len));
        }
    }
    for cut in 0..HELLO_LEN {
        attacks.push(says(format!("hello of {cut} bytes"), right[..cut].to_vec(), things.clone(), len));
    }
    for more in [1, 64, 4096, 100_000] {
        let bytes = right.iter().copied().chain(std::iter::repeat_n(0xA5, more)).collect();
        attacks.push(says(format!("hello and {more} bytes more"), bytes, things.clone(), len));
    }
    if mechanism == "tcp" {
        return attacks;
    }
    for count in [1, 2, 3, 4, 5, 6, 64, 253] {
        for thing in [Thing::Pipe, Thing::Eventfd, Thing::StrangersMemfd] {
            let name = format!("{count} descriptors of {thing:?}");
            attacks.push(says(name, right.to_vec(), vec![thing; count], len));
        }
    }
    for place in 0..things.len() {
        for &thing in THINGS {
            let mut wrong = things.clone();
            wrong[place] = thing;
            attacks.push(says(format!("{thing:?} as descriptor {place}"), right.to_vec(), wrong, len));
        }
    }
    attacks
}

/// Against our listener.
pub fn on_listeners(mechanism: &'static str, hello: &Hello, random: &mut Random) -> Vec<Attack> {
    let mut attacks = hellos(mechanism, hello, false, random);
    let right = hello.encode();
    attacks.push(attack("says nothing", |stage| vec![stage.socket()]));
    attacks.push(attack("forty that say nothing", |stage| (0..40).map(|_| stage.socket()).collect()));
    attacks.push(attack("hello byte by byte", move |stage| {
        let socket = stage.socket();
        right.iter().for_each(|byte| send(socket.as_fd(), &[*byte], &[]));
        vec![socket]
    }));
    match mechanism {
        "uds" | "tcp" | "uds-seqpacket" | "pipe" => attacks.extend(frames(mechanism, hello, random)),
        "shm" => attacks.extend((0..60).map(|_| scribbled_ring(random.next()))),
        "shm-direct" => attacks.extend((0..60).map(|_| scribbled_slots(random.next()))),
        _ => {}
    }
    attacks
}

/// Against our client.
pub fn on_clients(mechanism: &'static str, hello: &Hello, random: &mut Random) -> Vec<Attack> {
    let mut attacks = hellos(mechanism, hello, true, random);
    attacks.push(attack("answers nothing", |stage| vec![stage.socket()]));
    attacks.push(attack("hangs up", |stage| {
        stage.socket();
        Vec::new()
    }));
    attacks
}

/// Connects as it should: the socket and where to write data.
fn enter(stage: &Stage, mechanism: &str) -> Option<(OwnedFd, Vec<OwnedFd>)> {
    let socket = stage.socket();
    send(socket.as_fd(), &stage.hello.encode(), &[]);
    let (bytes, fds) = receive(socket.as_fd());
    let let_in = Hello::decode(&bytes).is_ok() && (mechanism != "pipe" || fds.len() == 2);
    let_in.then_some((socket, fds))
}

/// Streams of bytes after a proper hello.
fn frames(mechanism: &'static str, hello: &Hello, random: &mut Random) -> Vec<Attack> {
    let longest = u32::try_from(hello.max_message).unwrap_or(u32::MAX);
    let mut streams: Vec<(String, Vec<u8>, bool)> = Vec::new();
    let lengths = [0, 1, longest - 1, longest, longest.saturating_add(1), 1 << 31, u32::MAX - 1, u32::MAX];
    for len in lengths {
        for stays in [false, true] {
            for payload in [0, 3, 70_000] {
                let mut bytes = len.to_le_bytes().to_vec();
                bytes.extend((0..payload).map(|at| at as u8));
                streams.push((
                    format!("frame of {len} bytes, {payload} of them sent, stays: {stays}"),
                    bytes,
                    stays,
                ));
            }
        }
    }
    for _ in 0..40 {
        let bytes = (0..random.below(3000)).map(|_| random.next() as u8).collect();
        streams.push(("noise".into(), bytes, false));
    }
    let mut attacks: Vec<Attack> = streams
        .into_iter()
        .map(|(name, bytes, stays)| {
            attack(name, move |stage| {
                let Some((socket, fds)) = enter(stage, mechanism) else { return Vec::new() };
                pour(&socket, &fds, &bytes, bytes.len().max(1));
                if stays { fds.into_iter().chain([socket]).collect() } else { Vec::new() }
            })
        })
        .collect();
    attacks.push(attack("frames byte by byte", move |stage| {
        let Some((socket, fds)) = enter(stage, mechanism) else { return Vec::new() };
        let bytes: Vec<u8> =
            (0..50u32).flat_map(|n| [&4u32.to_le_bytes()[..], &n.to_le_bytes()].concat()).collect();
        pour(&socket, &fds, &bytes, 1);
        Vec::new()
    }));
    attacks.push(attack("64 that claim the longest message", move |stage| {
        (0..64)
            .flat_map(|_| {
                let Some((socket, fds)) = enter_later(stage) else { return Vec::new() };
                pour(&socket, &fds, &longest.to_le_bytes(), 4);
                vec![socket]
            })
            .collect()
    }));
    if mechanism != "tcp" {
        for count in [1, 253] {
            attacks.push(attack(format!("{count} descriptors with a frame"), move |stage| {
                let Some((socket, _fds)) = enter(stage, mechanism) else { return Vec::new() };
                let things: Vec<OwnedFd> = (0..count).map(|_| Thing::Pipe.make(0)).collect();
                send(socket.as_fd(), &[1, 0, 0, 0, 9], &borrowed(&things));
                Vec::new()
            }));
        }
    }
    attacks
}

/// Says its hello without waiting for the answer.
fn enter_later(stage: &Stage) -> Option<(OwnedFd, Vec<OwnedFd>)> {
    let socket = stage.socket();
    send(socket.as_fd(), &stage.hello.encode(), &[]);
    Some((socket, Vec::new()))
}

/// Writes `bytes` in pieces, to the pipe that was handed over or else into the socket, as far as they fit.
fn pour(socket: &OwnedFd, fds: &[OwnedFd], bytes: &[u8], piece: usize) {
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

/// A writable view of a memfd.
struct View {
    base: *mut u8,
    len: usize,
}

impl View {
    fn of(fd: &OwnedFd, len: usize) -> Option<View> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) }.ok()?;
        Some(View { base: base.cast(), len })
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4) && at + 4 <= self.len);
        // SAFETY: aligned and inside the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.wrapping_add(at).cast()) }
    }

    fn wide(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.base.wrapping_add(at).cast()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nobody else has its address.
        let _ = unsafe { rustix::mm::munmap(self.base.cast(), self.len) };
    }
}

/// How long memory is scribbled on.
const SCRIBBLE: Duration = Duration::from_millis(3);

/// Two eventfds of its own.
fn bells() -> Vec<OwnedFd> {
    vec![Thing::Eventfd.make(0), Thing::Eventfd.make(0)]
}

/// A ring whose words change all the time, to what would be right and to what never can be.
fn scribbled_ring(seed: u64) -> Attack {
    attack(format!("a ring scribbled on (seed {seed})"), move |stage| {
        const CAPACITY: u64 = 4096;
        let socket = stage.socket();
        let hello = Hello { capacity: CAPACITY, ..stage.hello };
        let len = 4096 + CAPACITY as usize;
        let fd = memfd(len as u64, SealFlags::empty());
        let Some(view) = View::of(&fd, len) else { return Vec::new() };
        let magic = u64::from_le_bytes(*b"ipc-shm\x01");
        for (at, word) in [magic, hello.layout, hello.nonce, hello.capacity].into_iter().enumerate() {
            view.wide(8 * at).store(word, Relaxed);
        }
        rustix::fs::fcntl_add_seals(&fd, SIZED | SealFlags::FUTURE_WRITE).expect("seals");
        let bells = bells();
        let fds: Vec<BorrowedFd<'_>> = [&fd, &bells[0], &bells[1]].map(|fd| fd.as_fd()).to_vec();
        send(socket.as_fd(), &hello.encode(), &fds);
        receive(socket.as_fd());
        let mut random = Random(seed);
        let began = Instant::now();
        while began.elapsed() < SCRIBBLE {
            match random.below(8) {
                0 => view.word(64 * (1 + random.below(4))).store(random.next() as u32, Relaxed),
                1 => view.wide(320).store(random.next() >> random.below(64), Relaxed),
                2 => view.wide(320).store(64 * random.below(100) as u64, Relaxed),
                _ => {
                    let line = random.below(CAPACITY as usize / 64);
                    let lap = random.below(3) as u64 * CAPACITY / 64;
                    let right = (line as u64 + lap) << 32 | 1 << 31;
                    let word = match random.below(4) {
                        0 => random.next(),
                        1 => right | 1 << 30,
                        _ => right | random.below(3000) as u64,
                    };
                    view.wide(4096 + 64 * line).store(word, Relaxed);
                }
            }
        }
        Vec::new()
    })
}

/// Slots whose fields change all the time; the mutexes are left alone, as documented.
fn scribbled_slots(seed: u64) -> Attack {
    attack(format!("slots scribbled on (seed {seed})"), move |stage| {
        let socket = stage.socket();
        let hello = Hello { max_message: 1000, ..stage.hello };
        let bells = bells();
        send(socket.as_fd(), &hello.encode(), &borrowed(&bells));
        let (_, fds) = receive(socket.as_fd());
        let Some(fd) = fds.first() else { return Vec::new() };
        let len = memory_len("shm-direct", &hello) as usize;
        let Some(view) = View::of(fd, len) else { return Vec::new() };
        let slot = (len - 128) / 2;
        let mut random = Random(seed);
        let began = Instant::now();
        while began.elapsed() < SCRIBBLE {
            let field = [48, 52, 56, 128, 256, 264][random.below(6)];
            let value = match random.below(3) {
                0 => random.next() as u32,
                1 => random.below(4) as u32,
                _ => 1 << random.below(32),
            };
            view.word(128 + slot * random.below(2) + field).store(value, Relaxed);
        }
        Vec::new()
    })
}
