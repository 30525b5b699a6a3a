//! The half that sends.

use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ipc_transports::{Armed, Interest, Loan, LoanSender, Pollable, SendError, Sender, Stats, Wait};

use super::direction::{Direction, armed, ring, wait_until};
use super::{DEPTH, Flaw, MAX, is};

/// Sending half.
#[derive(Debug)]
pub struct Tx<const F: u8> {
    pub(super) way: Arc<Direction>,
    pub(super) back: Arc<Direction>,
    pub(super) max: usize,
    pub(super) failed: bool,
    /// The last answer was `Full`.
    pub(super) refused: bool,
    /// Which direction of the connection carried something first, by its address.
    pub(super) first: Arc<OnceLock<usize>>,
}

impl<const F: u8> Tx<F> {
    fn answer_to_an_end(&mut self, unread: bool) -> SendError {
        self.failed = true;
        if is::<F>(Flaw::SenderSeesDeath) || (is::<F>(Flaw::UnreadMakesItADeath) && unread) {
            SendError::PeerDied
        } else {
            SendError::Closed
        }
    }

    /// Waits for space; with it, the state.
    fn space(&mut self, wait: Wait) -> Result<(), SendError> {
        let way = Arc::clone(&self.way);
        let own = Arc::as_ptr(&way) as usize;
        let silenced = is::<F>(Flaw::OneDirectionAtATime) && *self.first.get_or_init(|| own) != own;
        let depth = if silenced { 0 } else { DEPTH };
        let unnoticed = is::<F>(Flaw::SenderNeverSeesTheClose)
            || (is::<F>(Flaw::DroppedReceiverUnnoticed) && !self.back.lock().sender_gone);
        let (state, done) = wait_until(&way, wait, is::<F>(Flaw::SendGivesUpEarly), |state| {
            state.messages.len() + state.loans_leaked < depth || state.receiver_gone
        });
        if state.receiver_gone && !unnoticed {
            let unread = !state.messages.is_empty();
            drop(state);
            return Err(self.answer_to_an_end(unread));
        }
        if unnoticed && state.receiver_gone {
            return Ok(());
        }
        match (done, wait) {
            (true, Wait::Until(deadline))
                if is::<F>(Flaw::PastDeadlineDoesNothing) && deadline <= Instant::now() =>
            {
                Err(SendError::TimedOut)
            }
            (true, _) => Ok(()),
            (false, Wait::Never) => {
                drop(state);
                self.refused = true;
                Err(SendError::Full)
            }
            (false, _) => Err(SendError::TimedOut),
        }
    }

    /// Puts a message for which there is space into the queue, in the way of flaw `F`.
    fn publish(&mut self, mut message: Vec<u8>, waited: bool) {
        let mut state = self.way.lock();
        if is::<F>(Flaw::NeverRings) {
            state = self.way.until(state, |state| state.receiver_armed || state.receiver_gone);
        }
        if is::<F>(Flaw::SenderNeverSeesTheClose) && state.receiver_gone {
            return;
        }
        state.sent += 1;
        let lost = (is::<F>(Flaw::DropsEmptyMessages) && message.is_empty())
            || (is::<F>(Flaw::LosesEveryHundredth) && state.sent.is_multiple_of(100))
            || (is::<F>(Flaw::LosesWhatWaitedForSpace) && waited);
        if is::<F>(Flaw::CutsLongMessages) {
            message.truncate(MAX - 1);
        }
        if is::<F>(Flaw::FlipsABit)
            && state.sent.is_multiple_of(50)
            && let Some(byte) = message.last_mut()
        {
            *byte ^= 1;
        }
        // Every tenth message is held back until the next, so that what goes wrong does not depend on timing.
        let holds = is::<F>(Flaw::SwapsTwoMessages) || is::<F>(Flaw::MergesSmallMessages);
        if holds && state.sent % 10 == 1 {
            state.held = Some(message);
            return;
        }
        match state.held.take() {
            Some(held) if is::<F>(Flaw::MergesSmallMessages) => {
                state.messages.push_back([held, message].concat())
            }
            Some(held) => state.messages.extend([message, held]),
            None if lost => {}
            None => state.messages.push_back(message),
        }
        drop(state);
        self.way.changed.notify_all();
        if !is::<F>(Flaw::NeverRings) {
            ring(&self.way.readable);
        }
    }
}

impl<const F: u8> Sender for Tx<F> {
    fn send_with(&mut self, parts: &[IoSlice<'_>], wait: Wait) -> Result<(), SendError> {
        let parts = if is::<F>(Flaw::UsesFirstPartsOnly) { &parts[..parts.len().min(1024)] } else { parts };
        let mut message: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        if is::<F>(Flaw::TooLongWaitsForSpace) {
            self.space(wait)?;
        }
        if message.len() > self.max {
            if is::<F>(Flaw::TooLongTakesWhatFits) {
                message.truncate(self.max);
                self.publish(message.clone(), false);
            }
            return Err(SendError::TooLong { len: message.len(), max: self.max });
        }
        let waited = std::mem::take(&mut self.refused);
        match self.space(wait) {
            Err(SendError::Full) if is::<F>(Flaw::FullTakesTheMessage) => {
                self.way.lock().messages.push_back(message);
                Err(SendError::Full)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.publish(message, waited);
                Ok(())
            }
        }
    }

    fn send_batch(&mut self, messages: &[IoSlice<'_>], wait: Wait) -> Result<usize, SendError> {
        if is::<F>(Flaw::BatchFailsForItsWorst)
            && let Some(long) = messages.iter().find(|message| message.len() > self.max)
        {
            return Err(SendError::TooLong { len: long.len(), max: self.max });
        }
        let mut taken = 0;
        for message in messages {
            let wait = if taken == 0 { wait } else { Wait::Never };
            if is::<F>(Flaw::BatchLosesItsLast) && taken + 1 == messages.len() {
                return Ok(taken + 1);
            }
            match self.send_with(std::slice::from_ref(message), wait) {
                Ok(()) => taken += 1,
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn max_message(&self) -> usize {
        self.max
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl<const F: u8> Drop for Tx<F> {
    fn drop(&mut self) {
        let mut state = self.way.lock();
        state.sender_gone = true;
        if is::<F>(Flaw::CloseDropsWhatIsUnread) {
            state.messages.clear();
        }
        drop(state);
        if is::<F>(Flaw::HalfClosesBoth) {
            self.back.lock().receiver_gone = true;
            self.back.changed.notify_all();
        }
        self.way.changed.notify_all();
        if !is::<F>(Flaw::NeverRingsClose) {
            ring(&self.way.readable);
        }
    }
}

/// Space for one message, on the heap.
#[derive(Debug)]
pub struct Lent<'a, const F: u8> {
    tx: &'a mut Tx<F>,
    bytes: Vec<u8>,
    committed: bool,
}

impl<const F: u8> Deref for Lent<'_, F> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<const F: u8> DerefMut for Lent<'_, F> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl<const F: u8> Loan for Lent<'_, F> {
    fn commit(self) -> Result<(), SendError> {
        let len = self.bytes.len();
        self.commit_len(len)
    }

    fn commit_len(mut self, len: usize) -> Result<(), SendError> {
        if len > self.bytes.len() {
            return Err(SendError::TooLong { len, max: self.bytes.len() });
        }
        self.committed = true;
        let mut bytes = std::mem::take(&mut self.bytes);
        if is::<F>(Flaw::LoanForgetsItsBytes) {
            bytes.fill(0);
        }
        if !is::<F>(Flaw::CommitLenPublishesAll) {
            bytes.truncate(len);
        }
        self.tx.publish(bytes, false);
        Ok(())
    }
}

impl<const F: u8> Drop for Lent<'_, F> {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if is::<F>(Flaw::DroppedLoanPublishes) {
            self.tx.publish(std::mem::take(&mut self.bytes), false);
        }
        if is::<F>(Flaw::DroppedLoanLeaks) {
            self.tx.way.lock().loans_leaked += 1;
        }
    }
}

impl<const F: u8> LoanSender for Tx<F> {
    type Loan<'a> = Lent<'a, F>;

    fn loan(&mut self, len: usize, wait: Wait) -> Result<Lent<'_, F>, SendError> {
        if len > self.max && !is::<F>(Flaw::LoanIsUnlimited) {
            return Err(SendError::TooLong { len, max: self.max });
        }
        if !is::<F>(Flaw::FullLinkLends) {
            self.space(wait)?;
        }
        Ok(Lent { tx: self, bytes: vec![0xEE; len], committed: false })
    }
}

impl<const F: u8> Pollable for Tx<F> {
    fn fd(&self) -> BorrowedFd<'_> {
        if is::<F>(Flaw::OneDescriptor) { self.back.readable.as_fd() } else { self.way.writable.as_fd() }
    }

    /// Readable: an eventfd is writable always.
    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        armed::<F>(&self.way.writable, &self.way, |state| {
            let ready = state.messages.len() < DEPTH || state.receiver_gone;
            state.sender_armed |= !ready;
            ready
        })
    }
}
