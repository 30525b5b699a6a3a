//! The attacks: what a hostile process sends, as a table.

mod scribble;
mod stage;
mod things;

use std::os::fd::{AsFd, OwnedFd};

use ipc_transports::hello::{HELLO_LEN, Hello};

use crate::end::Random;
use scribble::{scribbled_ring, scribbled_slots};
pub use stage::{Stage, Stand};
use stage::{pour, receive, send};
use things::{THINGS, Thing, borrowed};

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
