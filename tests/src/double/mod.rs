//! A scripted transport in memory: it keeps the contract, or breaks exactly one sentence of it on request. A test that
//! passes on the broken one is no test.
//!
//! A flaw that would show only when the two sides meet in a certain way waits for that meeting, so that each shows every
//! time: a bell that does not ring is not rung once somebody listens for it.

mod direction;
mod door;
mod flaw;
mod receiver;
mod sender;

use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use ipc_transports::{
    Address, Capabilities, Connection, OptionError, Options, Pair, PeerInfo, SetupError, SetupErrorKind,
    Transport, Wait,
};

use direction::Direction;
pub use door::Door;
use door::{Knock, doors};
pub use flaw::Flaw;
pub use receiver::Rx;
pub use sender::{Lent, Tx};

/// Messages one direction holds.
const DEPTH: usize = 16;

/// Longest message in bytes.
const MAX: usize = 1 << 17;

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

const fn is<const F: u8>(flaw: Flaw) -> bool {
    F == flaw as u8
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
