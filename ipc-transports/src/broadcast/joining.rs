//! How a process becomes a reader of a broadcast.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ipc_core::hello::Hello;
use ipc_core::{Address, Options, SetupError, SetupErrorKind, Wait};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::{BroadcastOptions, Join, MAGIC, Reader, Settings};
use crate::backing::DATA;
use crate::control::{self, Control};
use crate::errno::setup_error;
use crate::eventfd;
use crate::handshake::sleep;
use crate::memory::{Memory, Writers};
use crate::ring_setup::{announced_capacity, denied, is_signed, sign};

/// What a reader brings into a broadcast.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) hello: Hello,
    pub(super) memory: Memory,
    memfd: OwnedFd,
    pub(super) event: Arc<OwnedFd>,
}

impl Side {
    pub(super) fn new(settings: &Settings) -> Result<Side, SetupError> {
        let hello = settings.hello(usize::MAX, 0);
        let (memory, memfd) = Memory::create(DATA, Writers::Creator, false)?;
        sign(&memory, MAGIC, &hello);
        Ok(Side { hello, memory, memfd, event: eventfd::create()? })
    }
}

impl Reader {
    /// Joins the broadcast at `to` and waits until its writer lets us in. Fields set in `options` win over the query of
    /// the address; those of the ring (`capacity`, `max_message`, `slow`, `mlock`) are the writer's to choose.
    ///
    /// # Errors
    /// `NotFound` when nobody writes there, `Denied`, `Mismatch` when the programs do not fit together, `TimedOut`,
    /// `HungUp`, `Limit`, `BadAddress`, `Unsupported`.
    pub fn connect(to: &Address, options: &BroadcastOptions, wait: Wait) -> Result<Reader, SetupError> {
        const OP: &str = "connect to";
        let settings = Settings::new(&options.resolved(to)?, OP, to)?;
        let side = Side::new(&settings)?;
        let (allowed, fds) = (settings.allow_uid.as_slice(), [side.memfd.as_fd(), side.event.as_fd()]);
        let (control, greeted, agreed) =
            control::connect(to, allowed, settings.features, &side.hello, &fds, wait)?;
        let (theirs, peer) = (greeted.hello, greeted.peer);
        let capacity = announced_capacity(&theirs)
            .ok_or_else(|| denied(OP, to, "the writer's capacity is no power of two from 4096 to 1G"))?;
        let [memfd, event]: [OwnedFd; 2] = greeted
            .fds
            .try_into()
            .map_err(|_| denied(OP, to, "the writer did not hand over one memory and one eventfd"))?;
        if !eventfd::is_one(&event) {
            return Err(denied(OP, to, "the writer's bell is no non-blocking eventfd"));
        }
        let memory = Memory::import(memfd.as_fd(), DATA + capacity, Writers::Creator)?;
        if !is_signed(&memory, MAGIC, &theirs) {
            return Err(denied(OP, to, "the writer's memory belongs to another broadcast"));
        }
        let join = Join::decode(&hear(&control, wait, to)?)
            .ok_or_else(|| denied(OP, to, "the writer's policy is unknown"))?;
        let event = Arc::new(event);
        Ok(Reader::new(&settings, side, memory, event, &theirs, &agreed, join, control, peer))
    }
}

/// The message that follows the writer's hello.
fn hear(control: &Control, wait: Wait, to: &Address) -> Result<[u8; 24], SetupError> {
    const OP: &str = "connect to";
    let mut bytes = [0; 24];
    loop {
        match rustix::net::recv(control.socket(), &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((24, _)) => return Ok(bytes),
            Ok((0, _)) => return Err(SetupError::new(SetupErrorKind::HungUp, OP, to)),
            Ok(_) => return Err(denied(OP, to, "the writer does not say where we begin")),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(setup_error(OP, to, error)),
        }
        if wait.is_over() {
            return Err(SetupError::new(SetupErrorKind::TimedOut, OP, to));
        }
        let mut poll = [PollFd::from_borrowed_fd(control.socket(), PollFlags::IN)];
        sleep(&mut poll, wait.remaining()).map_err(|error| setup_error(OP, to, error))?;
    }
}
