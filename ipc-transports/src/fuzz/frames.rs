//! F3: a byte stream cut into any pieces says the same as in one. F6: addresses and options.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use ipc_core::frame::{Check, Framing, Parsed};
use ipc_core::{Address, Options, PeekReceiver, Receiver, RecvError, SendError, Wait};
use rustix::io::{Errno, Result};

use super::Feed;
use crate::stream::{Attempts, Link, Mode, StreamReceiver};

/// A stream that gives out its bytes in pieces, and now and then none.
#[derive(Debug)]
struct Pieces {
    bytes: Vec<u8>,
    state: Mutex<(usize, u64)>,
}

impl Link for Pieces {
    fn write(&self, _: &[IoSlice<'_>], _: Mode) -> Result<usize> {
        Err(Errno::PIPE)
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], _: Mode) -> Result<usize> {
        let mut state = self.state.lock().map_err(|_| Errno::IO)?;
        // xorshift64 (Marsaglia, 2003).
        state.1 ^= state.1 << 13;
        state.1 ^= state.1 >> 7;
        state.1 ^= state.1 << 17;
        let (at, random) = *state;
        if random.is_multiple_of(4) {
            return Err(Errno::AGAIN);
        }
        let most = if random.is_multiple_of(3) { usize::MAX } else { 1 + (random >> 8) as usize % 40 };
        let mut left = &self.bytes[at..];
        left = &left[..left.len().min(most)];
        let all = left.len();
        for part in parts {
            let (now, later) = left.split_at(left.len().min(part.len()));
            part[..now.len()].copy_from_slice(now);
            left = later;
        }
        state.0 += all - left.len();
        Ok(all - left.len())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        rustix::stdio::stderr()
    }

    fn peer_pidfd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn why_unwritable(&self, _: bool) -> SendError {
        SendError::PeerDied
    }

    fn make_room(&self) {}

    fn close_write(&self) {}

    fn close_read(&self) {}
}

/// How a stream ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    Died(usize),
    Corrupt(&'static str),
}

fn in_one_piece(framing: &Framing, mut bytes: &[u8]) -> (Vec<Vec<u8>>, End) {
    let mut messages = Vec::new();
    loop {
        match framing.parse(bytes) {
            Ok(Parsed::Message { payload, frame_len }) => {
                messages.push(bytes[payload].to_vec());
                bytes = &bytes[frame_len..];
            }
            Ok(Parsed::Incomplete { .. }) => return (messages, End::Died(bytes.len())),
            Ok(Parsed::Goodbye) => return (messages, End::Closed),
            Err(what) => return (messages, End::Corrupt(what)),
        }
    }
}

/// F3.
pub fn frames(data: &[u8]) {
    let feed = Feed::new(data);
    let check = if feed.byte().is_multiple_of(2) { Check::None } else { Check::Crc };
    let framing = Framing { max_message: 20_000, check };
    let random = feed.number() | 1;
    // Whole frames, long and short, then whatever the input has left.
    let mut bytes = Vec::new();
    for _ in 0..feed.byte() % 6 {
        let len = match feed.byte() % 4 {
            0 => feed.below(20_001),
            _ => usize::from(feed.byte()),
        };
        let payload = vec![feed.byte(); len];
        let Ok(header) = framing.header(len) else { continue };
        bytes.extend(header);
        bytes.extend(&payload);
        if check == Check::Crc {
            bytes.extend(framing.trailer(header, [&payload[..]]));
        }
    }
    bytes.extend(feed.rest());
    let expected = in_one_piece(&framing, &bytes);
    let link = Pieces { bytes, state: Mutex::new((0, random)) };
    let mut receiver = StreamReceiver::new(link, Default::default(), framing, Attempts::under(None, false));
    let (mut messages, mut buf) = (Vec::new(), Vec::new());
    let end = loop {
        // By both ways there are.
        let peeks = random >> (messages.len() % 64) & 1 == 1;
        let answer = if peeks {
            receiver.ready(Wait::Never).map(|()| {
                buf.clear();
                buf.extend_from_slice(receiver.take().unwrap_or(b"nothing after ready"));
            })
        } else {
            receiver.recv_with(&mut buf, Wait::Never).map(drop)
        };
        match answer {
            Ok(()) => messages.push(buf.clone()),
            Err(RecvError::Empty) => {}
            Err(RecvError::Closed) => break End::Closed,
            Err(RecvError::PeerDied { partial_bytes }) => break End::Died(partial_bytes),
            Err(RecvError::Corrupt { what }) => break End::Corrupt(what),
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!((messages, end), expected);
}

/// F6: what parses says itself again, and options that no mechanism knows are refused.
pub fn address(data: &[u8]) {
    const WORDS: &[&str] = &[
        "uds",
        "shm",
        "tcp",
        "mq",
        "pipe",
        "inproc",
        "shm-direct",
        ":",
        "/",
        "?",
        "&",
        "=",
        "127.0.0.1:80",
        "[::1]:1",
        "name",
        "capacity",
        "max_message",
        "wait",
        "spin",
        "fingerprint",
        "0x",
        "64K",
        "1G",
        "99999999999999999999",
        "-1",
        "check",
        "crc",
        "..",
        "%",
        "\0",
        "é",
        "allow_uid",
        "token",
        "depth",
    ];
    let feed = Feed::new(data);
    let mut text = String::new();
    while !feed.is_over() && text.len() < 300 {
        match feed.byte() % 8 {
            0 => text.push(char::from(feed.byte())),
            _ => text.push_str(WORDS[feed.below(WORDS.len())]),
        }
    }
    let Ok(address) = text.parse::<Address>() else { return };
    let again: Address = address.to_string().parse().unwrap_or_else(|error| panic!("{address}: {error}"));
    assert_eq!(again, address, "{text:?}");
    let _ = crate::UdsOptions::default().resolved(&address);
    let _ = crate::TcpOptions::default().resolved(&address);
    let _ = crate::PipeOptions::default().resolved(&address);
    let _ = crate::ShmOptions::default().resolved(&address);
    let _ = crate::ShmDirectOptions::default().resolved(&address);
    let _ = crate::MqOptions::default().resolved(&address);
}

/// F8.
pub fn envelope(data: &[u8]) {
    use ipc_core::codec::{decode, encode};
    use ipc_core::message::Envelope;
    let feed = Feed::new(data);
    let mut bytes = Vec::new();
    if feed.byte().is_multiple_of(2) {
        // A proper one, some of whose bytes are changed: most noise ends at the first field.
        let mut right: Envelope<Vec<u8>> =
            Envelope::new(vec![feed.byte(); feed.below(40)]).correlated(feed.number());
        if let Ok(address) = "shm:back?capacity=1M".parse::<Address>() {
            right = right.from(address.clone()).reply_to(address);
        }
        right = right.expiring(std::time::Duration::from_nanos(feed.number()));
        encode(&right, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(decode::<Envelope<Vec<u8>>>(&bytes).as_ref(), Ok(&right));
        for _ in 0..feed.byte() % 4 {
            let at = feed.below(bytes.len());
            bytes[at] ^= feed.byte();
        }
    } else {
        bytes.extend(feed.rest());
    }
    let Ok(envelope) = decode::<Envelope<Vec<u8>>>(&bytes) else { return };
    assert!(
        envelope.message.len() <= bytes.len(),
        "memory for {} bytes out of {}",
        envelope.message.len(),
        bytes.len()
    );
    let _ = envelope.deadline(std::time::Instant::now());
    let mut again = Vec::new();
    encode(&envelope, &mut again).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(decode::<Envelope<Vec<u8>>>(&again).as_ref(), Ok(&envelope));
}
