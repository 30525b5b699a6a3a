//! A scripted transport in memory: it keeps the contract, or breaks exactly one sentence of it on request. A test that
//! passes on the broken one is no test.
//!
//! A flaw that would show only when the two sides meet in a certain way waits for that meeting, so that each shows every
//! time: a bell that does not ring is not rung once somebody listens for it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use ipc_transports::{
    Address, Armed, Capabilities, Connection, Interest, Loan, LoanSender, OptionError, Options, Pair,
    PeekReceiver, PeerInfo, Pollable, Receiver, RecvError, SendError, Sender, SetupError, SetupErrorKind,
    Stats, Transport, Wait,
};
use rustix::event::EventfdFlags;

mod door;
mod flaw;

pub use door::Door;
use door::{Knock, doors};
pub use flaw::Flaw;

/// Messages one direction holds.
const DEPTH: usize = 16;

/// Longest message in bytes.
const MAX: usize = 1 << 17;

/// What one direction holds. The sender's and the receiver's half both have it.
#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Vec<u8>>,
    sent: u64,
    held: Option<Vec<u8>>,
    loans_leaked: usize,
    sender_gone: bool,
    receiver_gone: bool,
    sender_armed: bool,
    receiver_armed: bool,
}

#[derive(Debug)]
struct Direction {
    state: Mutex<State>,
    changed: Condvar,
    readable: OwnedFd,
    writable: OwnedFd,
}

impl Direction {
    fn new() -> Arc<Direction> {
        let bell =
            || rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
        Arc::new(Direction {
            state: Mutex::default(),
            changed: Condvar::new(),
            readable: bell(),
            writable: bell(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the meeting that shows a flaw.
    fn until<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        met: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        self.changed.wait_while(state, |state| !met(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// The transport, broken by the flaw of number `F`.
#[derive(Debug)]
pub struct Double<const F: u8>;

/// Options of the double.
#[derive(Clone, Debug, Default)]
pub struct DoubleOptions {
    /// Longest message in bytes.
    pub max_message: Option<usize>,
    /// Swallow unknown keys.
    lenient: bool,
}

impl Options for DoubleOptions {
    fn fill(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        match key {
            "max_message" => OptionError::fill_bytes(&mut self.max_message, key, value),
            _ if self.lenient => Ok(()),
            _ => Err(OptionError::unknown(key, &["max_message"])),
        }
    }
}

/// Sending half.
#[derive(Debug)]
pub struct Tx<const F: u8> {
    way: Arc<Direction>,
    back: Arc<Direction>,
    max: usize,
    failed: bool,
    /// The last answer was `Full`.
    refused: bool,
    /// Which direction of the connection carried something first, by its address.
    first: Arc<OnceLock<usize>>,
}

/// Receiving half.
#[derive(Debug)]
pub struct Rx<const F: u8> {
    way: Arc<Direction>,
    found: bool,
    received: u64,
    told: bool,
}

const fn is<const F: u8>(flaw: Flaw) -> bool {
    F == flaw as u8
}

/// Waits on `direction` until `done` says so or `wait` is over; with `early` it does not wait for a deadline at all.
fn wait_until<'a>(
    direction: &'a Direction,
    wait: Wait,
    early: bool,
    done: impl Fn(&State) -> bool,
) -> (MutexGuard<'a, State>, bool) {
    let mut state = direction.lock();
    let left = match wait {
        Wait::Until(_) if early => Some(Duration::ZERO),
        _ => wait.remaining(),
    };
    let end = left.map(|left| Instant::now() + left);
    while !done(&state) {
        let left = end.map_or(Duration::from_secs(3600), |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return (state, false);
        }
        state = direction.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    (state, true)
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

impl<const F: u8> Rx<F> {
    fn wait(&mut self, wait: Wait) -> Result<MutexGuard<'_, State>, RecvError> {
        let early = is::<F>(Flaw::ReceiveGivesUpEarly);
        let (state, done) =
            wait_until(&self.way, wait, early, |state| !state.messages.is_empty() || state.sender_gone);
        if state.messages.is_empty() && state.sender_gone {
            let again = std::mem::replace(&mut self.told, true);
            return Err(match () {
                () if is::<F>(Flaw::CloseIsDeath) => RecvError::PeerDied { partial_bytes: 0 },
                () if is::<F>(Flaw::CloseIsNotSticky) && again => RecvError::Empty,
                () => RecvError::Closed,
            });
        }
        match (done, wait) {
            (true, Wait::Until(deadline))
                if is::<F>(Flaw::PastDeadlineDoesNothing) && deadline <= Instant::now() =>
            {
                Err(RecvError::TimedOut)
            }
            (true, _) => Ok(state),
            (false, Wait::Never) if !is::<F>(Flaw::EmptyIsTimedOut) => Err(RecvError::Empty),
            (false, _) => Err(RecvError::TimedOut),
        }
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let mut state = self.way.lock();
        if is::<F>(Flaw::NeverRingsSpace) {
            state = self.way.until(state, |state| state.sender_armed || state.sender_gone);
        }
        let message = state.messages.pop_front();
        drop(state);
        self.found = false;
        self.received += 1;
        self.way.changed.notify_all();
        if !is::<F>(Flaw::NeverRingsSpace) {
            ring(&self.way.writable);
        }
        message
    }
}

impl<const F: u8> Receiver for Rx<F> {
    fn recv_with(&mut self, buf: &mut Vec<u8>, wait: Wait) -> Result<usize, RecvError> {
        if !is::<F>(Flaw::AppendsToTheBuffer) {
            buf.clear();
        }
        drop(self.wait(wait)?);
        let message = self.pop().ok_or(RecvError::Empty)?;
        buf.extend(&message);
        Ok(message.len())
    }

    fn recv_each<C: FnMut(&[u8])>(
        &mut self,
        limit: usize,
        wait: Wait,
        mut each: C,
    ) -> Result<usize, RecvError> {
        if limit == 0 {
            return Ok(0);
        }
        drop(self.wait(wait)?);
        let mut lent = 0;
        while lent < limit || is::<F>(Flaw::RecvEachIgnoresItsLimit) {
            if lent == limit {
                let state = self.way.lock();
                drop(self.way.until(state, |state| !state.messages.is_empty() || state.sender_gone));
            }
            let Some(message) = self.pop() else { break };
            each(&message);
            lent += 1;
        }
        Ok(lent)
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}

impl<const F: u8> PeekReceiver for Rx<F> {
    type Message<'a> = Vec<u8>;

    fn ready(&mut self, wait: Wait) -> Result<(), RecvError> {
        if is::<F>(Flaw::ReadyNeverEmpty) {
            self.found = true;
            return Ok(());
        }
        let again = self.found;
        drop(self.wait(wait)?);
        if again && is::<F>(Flaw::ReadyConsumes) {
            self.pop();
        }
        self.found = true;
        Ok(())
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        if !self.found {
            return None;
        }
        let mut message = self.pop()?;
        if is::<F>(Flaw::LentMessageIsStale) && self.received.is_multiple_of(100) {
            message.fill(0);
        }
        Some(message)
    }
}

impl<const F: u8> Drop for Rx<F> {
    fn drop(&mut self) {
        self.way.lock().receiver_gone = true;
        self.way.changed.notify_all();
        if !is::<F>(Flaw::NeverRingsSenderClose) {
            ring(&self.way.writable);
        }
    }
}

/// Arms: `note` marks this half as armed and says whether it is ready.
fn armed<const F: u8>(
    bell: &OwnedFd,
    way: &Direction,
    note: impl Fn(&mut State) -> bool,
) -> io::Result<Armed> {
    if is::<F>(Flaw::AlwaysRings) {
        ring(bell);
        return Ok(Armed::MaySleep);
    }
    let _ = rustix::io::read(bell, &mut [0; 8]);
    let ready = note(&mut way.lock());
    way.changed.notify_all();
    Ok(if ready && !is::<F>(Flaw::ArmNeverLooks) { Armed::Ready } else { Armed::MaySleep })
}

impl<const F: u8> Pollable for Rx<F> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.way.readable.as_fd()
    }

    fn interest(&self) -> Interest {
        Interest::Readable
    }

    fn arm(&mut self) -> io::Result<Armed> {
        armed::<F>(&self.way.readable, &self.way, |state| {
            let ready = !state.messages.is_empty() || state.sender_gone;
            state.receiver_armed |= !ready;
            ready
        })
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

type Made<const F: u8> = Connection<Tx<F>, Rx<F>>;

fn connect_directions<const F: u8>(max: usize) -> (Made<F>, Made<F>) {
    let (there, back) = (Direction::new(), Direction::new());
    let first = Arc::new(OnceLock::new());
    let end = |way: &Arc<Direction>, back: &Arc<Direction>, max| {
        let (there, here) = (Arc::clone(way), Arc::clone(back));
        let tx = Tx { way: there, back: here, max, failed: false, refused: false, first: Arc::clone(&first) };
        let rx = Rx { way: Arc::clone(back), found: false, received: 0, told: false };
        Connection::new(tx, rx, PeerInfo::default(), Vec::new())
    };
    let other = if is::<F>(Flaw::MaximumsDiffer) { max / 2 } else { max };
    (end(&there, &back, max), end(&back, &there, other))
}

impl<const F: u8> Double<F> {
    fn resolved(options: &DoubleOptions, address: &Address) -> Result<usize, SetupError> {
        let options = DoubleOptions { lenient: is::<F>(Flaw::TakesAnyOption), ..options.clone() };
        Ok(options.resolved(address)?.max_message.unwrap_or(MAX).min(MAX))
    }
}

impl<const F: u8> Transport for Double<F> {
    const NAME: &'static str = "double";
    type Options = DoubleOptions;
    type Tx = Tx<F>;
    type Rx = Rx<F>;
    type Listener = Door<F>;

    fn listen(at: &Address, options: &DoubleOptions) -> Result<Door<F>, SetupError> {
        let max = Self::resolved(options, at)?;
        let (sender, knocks) = mpsc::channel();
        let name = at.with_target(at.target().clone()).to_string();
        let taken = doors(|doors| {
            let taken = doors.contains_key(&name) && !is::<F>(Flaw::SecondListenerReplaces);
            if !taken {
                doors.insert(name, sender);
            }
            taken
        });
        if taken {
            let kind = SetupErrorKind::InUse { pid: Some(std::process::id()) };
            return Err(SetupError::new(kind, "listen on", at));
        }
        Ok(Door { address: at.clone(), knocks, max, accepted: Vec::new() })
    }

    fn connect(to: &Address, options: &DoubleOptions, wait: Wait) -> Result<Made<F>, SetupError> {
        let max = Self::resolved(options, to)?;
        let fail = |kind| SetupError::new(kind, "connect to", to);
        let door = doors(|doors| doors.get(&to.to_string()).cloned());
        let door = match door {
            Some(door) => door,
            None if is::<F>(Flaw::WaitsForAListener) => return Err(fail(SetupErrorKind::TimedOut)),
            None => return Err(fail(SetupErrorKind::NotFound)),
        };
        let (reply, answer) = mpsc::channel();
        door.send(Knock { max, reply }).map_err(|_| fail(SetupErrorKind::NotFound))?;
        let left = wait.remaining().unwrap_or(Duration::from_secs(3600));
        let left = if is::<F>(Flaw::ConnectNeverWaits) { Duration::ZERO } else { left };
        let made = answer.recv_timeout(left).map_err(|error| match error {
            mpsc::RecvTimeoutError::Disconnected if !is::<F>(Flaw::ListenerForgetsWhoWaits) => {
                fail(SetupErrorKind::HungUp)
            }
            _ => fail(SetupErrorKind::TimedOut),
        })?;
        Ok(*made.downcast().expect("a door and its clients have one flaw"))
    }

    fn pair(options: &DoubleOptions) -> Result<Pair<Self>, SetupError> {
        Ok(connect_directions(options.max_message.unwrap_or(MAX).min(MAX)))
    }

    fn capabilities() -> Capabilities {
        Capabilities {
            max_clients: None,
            max_message: MAX,
            loan: true,
            peek: true,
            pollable: true,
            priorities: 1,
        }
    }
}
