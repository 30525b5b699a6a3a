//! F1: memory that is not as announced. F4: hellos. F5: hellos in pieces, with descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipc_core::hello::{HELLO_LEN, Hello};
use rustix::event::EventfdFlags;
use rustix::fs::{MemfdFlags, SealFlags};

use super::Feed;
use crate::handshake::{self, Greeted};

fn any_hello(feed: &Feed<'_>) -> Hello {
    let mut bytes = [0; HELLO_LEN];
    bytes.fill_with(|| feed.byte());
    let right = Hello {
        flags: 0,
        layout: 1,
        max_message: 2040,
        capacity: 4096,
        fingerprint: 0,
        nonce: 7,
        cpus: 2,
        first_cpu: 0,
    };
    // The first bytes right, or nothing else would ever be looked at.
    bytes[..12].copy_from_slice(&right.encode()[..12]);
    Hello::decode(&bytes).map_or(right, |(hello, _)| hello)
}

/// F1.
pub fn header(data: &[u8]) {
    let feed = Feed::new(data);
    let mut hello = any_hello(&feed);
    let choices = feed.byte();
    if choices & 1 == 0 {
        hello.capacity = 4096 << (feed.byte() % 3);
    }
    let len = match choices >> 1 & 3 {
        0 => u64::from(feed.byte()) * 512,
        _ => 4096 + hello.capacity.min(1 << 16),
    };
    let Ok(memory) = rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING) else {
        return;
    };
    if rustix::fs::ftruncate(&memory, len).is_err() {
        return;
    }
    // Most of it has no holes, or nothing would ever be let in.
    if len > 0 && choices >> 7 == 0 {
        let _ = rustix::fs::fallocate(&memory, rustix::fs::FallocateFlags::empty(), 0, len);
    }
    let mut identity = [u64::from_le_bytes(*b"ipc-shm\x01"), hello.layout, hello.nonce, hello.capacity];
    if choices >> 3 & 1 == 1 {
        identity[feed.below(4)] ^= 1 << (feed.byte() % 64);
    }
    let bytes: Vec<u8> = identity.iter().flat_map(|word| word.to_le_bytes()).collect();
    let _ = rustix::io::pwrite(&memory, &bytes[..bytes.len().min(len as usize)], 0);
    let mut seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | SealFlags::FUTURE_WRITE;
    if choices >> 4 & 1 == 1 {
        seals &= SealFlags::from_bits_retain(feed.byte().into());
    }
    let _ = rustix::fs::fcntl_add_seals(&memory, seals);
    let bell = || {
        let flags = if choices >> 5 & 3 == 1 {
            EventfdFlags::CLOEXEC
        } else {
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK
        };
        rustix::event::eventfd(0, flags)
    };
    let (Ok(rx), Ok(tx)) = (bell(), bell()) else { return };
    let sound = identity == [u64::from_le_bytes(*b"ipc-shm\x01"), hello.layout, hello.nonce, hello.capacity]
        && len == 4096u64.saturating_add(hello.capacity)
        && seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL | SealFlags::FUTURE_WRITE)
        && choices >> 5 & 3 != 1;
    let let_in = crate::shm::import_made_up(Greeted::made_up(hello, vec![memory, rx, tx]));
    assert!(let_in.is_err() || sound, "let in: {hello:?} with {len} bytes");
}

/// F4.
pub fn hello(data: &[u8]) {
    let feed = Feed::new(data);
    let (one, other) = (any_hello(&feed), any_hello(&feed));
    assert_eq!(Hello::decode(&one.encode()).map(|(hello, _)| hello), Ok(one));
    for protocol in [1, u32::from(feed.byte())] {
        if let Ok(agreed) = one.agree(&other, protocol) {
            assert!(agreed.max_message <= one.max_message && agreed.max_message <= other.max_message);
            assert_eq!(one.layout, other.layout);
        }
    }
    let mut raw = [0; HELLO_LEN];
    raw.fill_with(|| feed.byte());
    let _ = Hello::decode(&raw);
}

/// F5.
pub fn handshake(data: &[u8]) {
    let feed = Feed::new(data);
    let kind = if feed.byte().is_multiple_of(2) {
        rustix::net::SocketType::STREAM
    } else {
        rustix::net::SocketType::SEQPACKET
    };
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let Ok((near, far)) = rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None) else {
        return;
    };
    let hello = any_hello(&feed);
    let mut bytes = hello.encode().to_vec();
    if feed.byte().is_multiple_of(4) {
        bytes.extend([0x5A; 100]);
        let at = feed.below(bytes.len());
        bytes[at] ^= feed.byte();
    }
    let Ok(bell) = rustix::event::eventfd(0, EventfdFlags::CLOEXEC) else { return };
    let mut left = &bytes[..];
    let mut fds_sent = 0;
    let mut pieces = 0;
    while !left.is_empty() && pieces < 8 {
        let piece = left.len().min(1 + feed.below(80));
        let many = [0, 0, 0, 1, 2, 3, 4, 5, 12][usize::from(feed.byte() % 9)];
        fds_sent += many;
        let fds = vec![bell.as_fd(); many];
        send(&near, &left[..piece], &fds);
        left = &left[piece..];
        pieces += 1;
    }
    drop(near);
    match handshake::read_made_up(far.as_fd()) {
        Ok(Some(greeted)) => assert!(greeted.fds.len() <= handshake::MAX_FDS.min(fds_sent)),
        Ok(None) => panic!("neither a hello nor an end"),
        Err(error) => assert_ne!(error.kind, ipc_core::SetupErrorKind::Io, "{error}"),
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let _ = rustix::net::sendmsg(socket, &[std::io::IoSlice::new(bytes)], &mut control, flags);
}
