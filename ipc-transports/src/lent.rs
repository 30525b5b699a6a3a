//! Lending a private copy, for receivers whose medium gives a message up only by copying it; and receiving many, for
//! all that lend.

use ipc_core::{PeekReceiver, RecvError, Wait};

/// Room for one message, and whether one lies in it that was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    bytes: Vec<u8>,
    found: bool,
}

impl Lent {
    /// A message lies here.
    pub(crate) fn is_found(&self) -> bool {
        self.found
    }

    /// The message that lies here, which is taken by this.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<&[u8]> {
        std::mem::take(&mut self.found).then_some(&self.bytes[..])
    }
}

/// A receiver that copies a message out of its medium before it lends it.
pub(crate) trait CopiesOut {
    fn lent(&mut self) -> &mut Lent;

    /// Receives the next message of the medium itself, whatever lies in [`Self::lent`].
    fn receive(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError>;
}

/// `Receiver::recv_with` of such a receiver: a message that was found ready goes first.
#[inline]
pub(crate) fn recv_with(
    receiver: &mut impl CopiesOut,
    buf: &mut Vec<u8>,
    wait: Wait,
) -> Result<usize, RecvError> {
    let lent = receiver.lent();
    if lent.found {
        lent.found = false;
        std::mem::swap(buf, &mut lent.bytes);
        return Ok(buf.len());
    }
    receiver.receive(buf, wait)
}

/// `PeekReceiver::ready` of such a receiver.
#[inline]
pub(crate) fn ready(receiver: &mut impl CopiesOut, wait: Wait) -> Result<(), RecvError> {
    if !receiver.lent().found {
        let mut bytes = std::mem::take(&mut receiver.lent().bytes);
        let received = receiver.receive(&mut bytes, wait);
        *receiver.lent() = Lent { bytes, found: received.is_ok() };
        received?;
    }
    Ok(())
}

/// `Receiver::recv_each` of whatever lends: waits for the first message alone. What stops a batch is still there for
/// the next call: an end is kept, emptiness needs no keeping.
#[inline]
pub(crate) fn recv_each<R: PeekReceiver>(
    receiver: &mut R,
    limit: usize,
    wait: Wait,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, RecvError> {
    let mut received = 0;
    while received < limit {
        match receiver.recv_ref(if received == 0 { wait } else { Wait::Never }) {
            Ok(message) => each(&message),
            Err(_) if received > 0 => break,
            Err(error) => return Err(error),
        }
        received += 1;
    }
    Ok(received)
}
