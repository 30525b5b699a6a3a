//! Creating a link, handing its ends to two processes, and opening them there.
#![allow(unsafe_code, reason = "passes descriptors through exec")]

use crate::{
    Bell, Cacheline, Driver, Kind, Params, Park, Pipes, Queue, Ring, Slot, Socket, Spin, SpinThenPark,
    Stream, Wait, cacheline,
    kind::invalid,
    lifeline::{self, Lifeline},
    memory::{self, Memory},
    mqueue, ring, slot,
};
use rustix::{
    event::{EventfdFlags, eventfd},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{FdFlags, fcntl_getfd, fcntl_setfd},
    net::{self, AddressFamily, Ipv4Addr, SocketAddrV4, SocketFlags, SocketType, ipproto, sockopt},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
};
use std::{
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::Arc,
};

/// One end of a link that is not open yet: parameters and descriptors, all close-on-exec.
///
/// `Display` writes the text from which [`End::inherited`] makes the end again in a process that was given
/// the descriptors by [`End::pass_to`]: `key=value` pairs joined by commas, no spaces.
#[derive(Debug)]
pub struct End {
    params: Params,
    side: usize,
    fds: Vec<OwnedFd>,
}

/// Creates the two ends of a link.
///
/// A process that passes ends on must drop its own: the peer's death shows only when nobody else holds the
/// descriptors.
///
/// # Errors
/// `InvalidInput` with the reason if `params` make no link, otherwise what the kernel said.
pub fn create(params: &Params) -> io::Result<(End, End)> {
    params.check()?;
    let (near, far) = match params.kind {
        Kind::Cacheline | Kind::Slot | Kind::Futex | Kind::SpinThenFutex | Kind::Ring => memory_fds(params)?,
        Kind::Eventfd(_) => {
            let (mut near, mut far) = memory_fds(params)?;
            let [ab, ba] = [eventfd(0, EventfdFlags::CLOEXEC)?, eventfd(0, EventfdFlags::CLOEXEC)?];
            near.extend([ba.try_clone()?, ab.try_clone()?]);
            far.extend([ab, ba]);
            (near, far)
        }
        Kind::Pipe(_) => {
            let [(ab_rx, ab_tx), (ba_rx, ba_tx)] = [sized_pipe(params)?, sized_pipe(params)?];
            (vec![ba_rx, ab_tx], vec![ab_rx, ba_tx])
        }
        Kind::Unix(_) => unix_fds(params, SocketType::STREAM)?,
        Kind::Seqpacket(_) => unix_fds(params, SocketType::SEQPACKET)?,
        Kind::Tcp(_) => tcp_fds(params)?,
        Kind::Mq(_) => {
            let (near, far) = lifeline::pair()?;
            let [ab, ba] = [mqueue::create(params)?, mqueue::create(params)?];
            (vec![near, ba.try_clone()?, ab.try_clone()?], vec![far, ab, ba])
        }
    };
    let end = |side, fds| End { params: params.clone(), side, fds };
    Ok((end(0, near), end(1, far)))
}

/// A lifeline and the memory of the link's layout.
fn memory_fds(params: &Params) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    let len = memory_len(params);
    let file = memory::create(len)?;
    if params.kind == Kind::Cacheline {
        cacheline::initialise(&Memory::map(&file, len)?);
    }
    let (near, far) = lifeline::pair()?;
    Ok((vec![near, file.try_clone()?], vec![far, file]))
}

/// Bytes of shared memory of the kinds that have any.
fn memory_len(params: &Params) -> usize {
    match params.kind {
        Kind::Cacheline => cacheline::LEN,
        Kind::Ring => ring::len(params),
        _ => slot::len(params),
    }
}

fn sized_pipe(params: &Params) -> io::Result<(OwnedFd, OwnedFd)> {
    let (rx, tx) = pipe_with(PipeFlags::CLOEXEC)?;
    if let Some(bytes) = params.buffer {
        fcntl_setpipe_size(&tx, bytes)?;
    }
    Ok((rx, tx))
}

fn unix_fds(params: &Params, kind: SocketType) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    let (near, far) = net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    size_buffers(params, &near)?;
    size_buffers(params, &far)?;
    if kind == SocketType::SEQPACKET {
        // af_unix.c, unix_dgram_sendmsg: a packet may have SO_SNDBUF - 32 bytes.
        let most = sockopt::socket_send_buffer_size(&near)?.saturating_sub(32 + 4);
        if params.size > most {
            let sentence = format!("seqpacket limit: size {} exceeds {most}, SO_SNDBUF less 36", params.size);
            return Err(invalid(sentence));
        }
    }
    Ok((vec![near], vec![far]))
}

/// A connection over the loopback interface. Whoever else connects to the port in between is hung up on.
fn tcp_fds(params: &Params) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    let socket = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        // Before the connection exists: the window scale is chosen then.
        size_buffers(params, &socket)?;
        // A system whose default paces (bbr) would wait between segments that nothing can hold up: 64 KiB messages
        // went at a quarter of the rate.
        sockopt::set_tcp_congestion(&socket, "reno")?;
        Ok(socket)
    };
    let listener = socket()?;
    net::bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    net::listen(&listener, 16)?;
    let near = socket()?;
    net::connect(&near, &net::getsockname(&listener)?)?;
    let address = net::getsockname(&near)?;
    let far = loop {
        let (far, from) = net::acceptfrom_with(&listener, SocketFlags::CLOEXEC)?;
        if from.as_ref() == Some(&address) {
            break far;
        }
    };
    for socket in [&near, &far] {
        sockopt::set_tcp_nodelay(socket, true)?;
    }
    Ok((vec![near], vec![far]))
}

fn size_buffers(params: &Params, socket: &OwnedFd) -> io::Result<()> {
    if let Some(bytes) = params.buffer {
        sockopt::set_socket_send_buffer_size(socket, bytes)?;
        sockopt::set_socket_recv_buffer_size(socket, bytes)?;
    }
    Ok(())
}

impl End {
    /// What the link was created with.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The descriptors the other process needs, under the numbers that [`End::inherited`] expects.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd)
    }

    /// Lets the process that `command` starts inherit the descriptors. They stay close-on-exec in this one,
    /// so no other child gets them. The end must live until the command has been spawned.
    pub fn pass_to(&self, command: &mut Command) {
        let fds: Vec<RawFd> = self.fds.iter().map(AsRawFd::as_raw_fd).collect();
        let keep_open = move || {
            for &fd in &fds {
                // SAFETY: the caller keeps the end until the spawn, so in the child the number is ours.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                fcntl_setfd(fd, FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: the closure only makes system calls; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(keep_open) };
    }

    /// Takes over the descriptors that `spec`, the text of an [`End`], names in this process.
    ///
    /// Each end can be taken once: only descriptors without close-on-exec are accepted, which is how inherited
    /// ones arrive and how nothing is that this process opened through `std`; taking them sets the flag.
    ///
    /// # Errors
    /// `InvalidInput` if `spec` is not the text of an end, or a descriptor was not inherited.
    pub fn inherited(spec: &str) -> io::Result<End> {
        let (mut params, mut side, mut numbers) = (Params::new(Kind::Slot, 8), None, Vec::new());
        for pair in spec.split(',') {
            let wrong = || invalid(format!("limit {spec:?}: {pair:?} is not one of its key=value pairs"));
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            match key {
                "side" => side = Some(value.parse().ok().filter(|side| *side < 2).ok_or_else(wrong)?),
                "fds" => {
                    let fds = value.split('+').map(|fd| fd.parse::<RawFd>());
                    numbers = fds.collect::<Result<_, _>>().map_err(|_| wrong())?;
                }
                _ if params.set(key, value)? => {}
                _ => return Err(wrong()),
            }
        }
        params.check()?;
        let side = side.ok_or_else(|| invalid(format!("limit {spec:?}: side= is missing")))?;
        let fds = numbers.into_iter().map(take_inherited).collect::<io::Result<_>>()?;
        Ok(End { params, side, fds })
    }

    /// Opens this side of the link in this process.
    ///
    /// # Errors
    /// `InvalidInput` if the descriptors are not those of the kind, otherwise what the kernel said.
    pub fn open(self) -> io::Result<Link> {
        let End { params, side, fds } = self;
        let wrong = |fds: Vec<OwnedFd>| {
            invalid(format!("{} limit: {} descriptors are not what it is made of", params.kind, fds.len()))
        };
        let shared = |lifeline: OwnedFd, file: OwnedFd| -> io::Result<(Lifeline, Arc<Memory>)> {
            Ok((Lifeline(lifeline), Memory::map(file, memory_len(&params))?))
        };
        if let Kind::Cacheline | Kind::Slot | Kind::Futex | Kind::SpinThenFutex | Kind::Ring = params.kind {
            let [lifeline, file] = fds.try_into().map_err(wrong)?;
            let (lifeline, memory) = shared(lifeline, file)?;
            return Ok(match params.kind {
                Kind::Cacheline => Link::Cacheline(Cacheline::new(&memory, side, lifeline)),
                Kind::Ring => Link::Ring(Ring::new(&params, &memory, side, lifeline)?),
                Kind::Futex => {
                    Link::Futex(Slot::new(&params, &memory, side, |word| Park::new(word, lifeline))?)
                }
                Kind::SpinThenFutex => Link::SpinThenFutex(Slot::new(&params, &memory, side, |word| {
                    SpinThenPark::new(word, lifeline, params.spin)
                })?),
                _ => Link::Slot(Slot::new(&params, &memory, side, |_| Ok(Spin(lifeline)))?),
            });
        }
        match params.kind {
            Kind::Eventfd(wait) => {
                let [lifeline, file, rx, tx] = fds.try_into().map_err(wrong)?;
                block_or_spin(&rx, wait)?;
                let (lifeline, memory) = shared(lifeline, file)?;
                let slot = Slot::new(&params, &memory, side, |_| Bell::new(rx, tx, lifeline, wait))?;
                Ok(Link::Eventfd(slot))
            }
            Kind::Pipe(wait) => {
                let [rx, tx] = fds.try_into().map_err(wrong)?;
                block_or_spin(&rx, wait)?;
                block_or_spin(&tx, wait)?;
                Ok(Link::Pipe(Stream::new(Pipes { rx, tx }, params.size)))
            }
            Kind::Mq(wait) => {
                let [lifeline, rx, tx] = fds.try_into().map_err(wrong)?;
                Ok(Link::Queue(Queue::new(rx, tx, Lifeline(lifeline), params.size, wait)))
            }
            Kind::Unix(wait) | Kind::Seqpacket(wait) | Kind::Tcp(wait) => {
                let [socket] = fds.try_into().map_err(wrong)?;
                block_or_spin(&socket, wait)?;
                Ok(Link::Socket(Stream::new(Socket(socket), params.size)))
            }
            _ => unreachable!("the memory kinds are opened above"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},side={},fds=", self.params, self.side)?;
        for (index, fd) in self.fds.iter().enumerate() {
            let plus = if index == 0 { "" } else { "+" };
            write!(f, "{plus}{}", fd.as_raw_fd())?;
        }
        Ok(())
    }
}

/// Owns descriptor `number` if it was inherited and not taken yet.
fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(invalid(format!("descriptor {number} is not one a limit's end can have")));
    }
    // SAFETY: not -1, and used for two calls that work on any number, open or not.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    match fcntl_getfd(fd) {
        Ok(flags) if !flags.contains(FdFlags::CLOEXEC) => {}
        _ => return Err(invalid(format!("descriptor {number} was not inherited, or was taken before"))),
    }
    fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    // SAFETY: open and inherited, so nothing in this process owns it; the flag just set keeps it ours.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A spinning side must get an answer at once. The flag belongs to this side's end of the pipe or socket.
fn block_or_spin(fd: &OwnedFd, wait: Wait) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    Ok(fcntl_setfl(fd, if wait == Wait::Spin { flags | OFlags::NONBLOCK } else { flags - OFlags::NONBLOCK })?)
}

/// One open side of a link: every kind as the type that does it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Link {
    /// [`Kind::Cacheline`].
    Cacheline(Cacheline),
    /// [`Kind::Slot`].
    Slot(Slot<Spin>),
    /// [`Kind::Futex`].
    Futex(Slot<Park>),
    /// [`Kind::SpinThenFutex`].
    SpinThenFutex(Slot<SpinThenPark>),
    /// [`Kind::Eventfd`].
    Eventfd(Slot<Bell>),
    /// [`Kind::Ring`].
    Ring(Ring),
    /// [`Kind::Pipe`].
    Pipe(Stream<Pipes>),
    /// [`Kind::Unix`], [`Kind::Seqpacket`], [`Kind::Tcp`].
    Socket(Stream<Socket>),
    /// [`Kind::Mq`].
    Queue(Queue),
}

impl Link {
    /// Runs `driver` over this side: one dispatch here, none per message.
    pub fn drive<D: Driver>(self, driver: D) -> D::Output {
        match self {
            Link::Cacheline(link) => driver.drive(link),
            Link::Slot(link) => driver.drive(link),
            Link::Futex(link) => driver.drive(link),
            Link::SpinThenFutex(link) => driver.drive(link),
            Link::Eventfd(link) => driver.drive(link),
            Link::Ring(link) => driver.drive(link),
            Link::Pipe(link) => driver.drive(link),
            Link::Socket(link) => driver.drive(link),
            Link::Queue(link) => driver.drive(link),
        }
    }
}
