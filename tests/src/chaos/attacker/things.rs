//! What is handed over instead of the descriptor that was meant.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

/// What a descriptor that is handed over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
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
    SparseMemfd,
    StrangersMemfd,
}

pub(super) const THINGS: &[Thing] = &[
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
    Thing::SparseMemfd,
    Thing::StrangersMemfd,
];

pub(super) const SIZED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A memory whose pages are all there.
pub(super) fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
    memfd_of(len, len, seals)
}

/// A memory of which the first bytes are there.
fn memfd_of(there: u64, len: u64, seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .expect("a memfd");
    rustix::fs::ftruncate(&fd, len).expect("a size");
    if there > 0 {
        rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, there).expect("room");
    }
    rustix::fs::fcntl_add_seals(&fd, seals).expect("seals");
    fd
}

impl Thing {
    /// One of them; `len` is how long a memory should be.
    pub(super) fn make(self, len: u64) -> OwnedFd {
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
            Thing::SparseMemfd => memfd_of(0, len, sealed),
            Thing::StrangersMemfd => memfd(len, sealed),
        }
    }
}

pub(super) fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(|fd| fd.as_fd()).collect()
}
