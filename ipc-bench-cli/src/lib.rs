//! The `ipc-bench` program as a library, so that it can measure a transport it has never heard of:
//!
//! ```no_run
//! # mod mine { pub use ipc_transports::Uds as Carrier; }
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     ipc_bench::Bench::default().with::<mine::Carrier>().main()
//! }
//! ```
//!
//! ```text
//! argv ─► Args ─► Plan ─► [Trial] ─► Runner ─► worker processes ─► Recorder ─► Trial result ─► Report ─► renderers
//!         typed   every    matrix,    spawns,    one generic       no          postcard over    run.json  text
//!                 refusal  order      pins,      loop per          allocation  the control
//!                 here               watches     workload                      pipe
//! ```

mod ab;
mod args;
mod arm;
mod background;
mod cell;
mod clock;
mod codec;
mod command;
mod config;
mod counters;
mod crew;
mod doctor;
mod error;
mod events;
mod explain;
mod fit;
#[cfg(any(feature = "__fuzz", fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod hello;
mod hog;
mod hooks;
mod inside;
mod limits;
mod lists;
mod logging;
mod lookout;
mod ls;
mod matrix;
mod mechanism;
mod memory;
mod misread;
mod names;
mod order;
mod os;
mod output;
mod pattern;
mod payload;
mod pin;
mod plan;
mod plan_text;
mod presets;
mod progress;
mod protocol;
mod rate;
mod reading;
mod records;
mod remote;
mod replay;
mod report;
mod runner;
mod scene;
mod scratch;
mod session;
mod settings;
mod signals;
mod steal;
mod throttle;
mod verify;
mod ways;
mod worker;
mod workload;
mod yardstick;

use std::env;
use std::process::ExitCode;

use ipc_transports::{
    InProc, LoanSender, Mq, Pipe, Pollable, Shm, ShmDirect, Tcp, Transport, Uds, UdsSeqpacket,
};

use mechanism::Mechanism;
use ways::{Blocks, Lends, Polls};

/// The program: a list of transports it can measure.
#[derive(Debug)]
pub struct Bench {
    mechanisms: Vec<Mechanism>,
}

/// With every transport of this workspace.
impl Default for Bench {
    fn default() -> Bench {
        Bench { mechanisms: Vec::new() }
            .with_pollable::<Uds>()
            .with_pollable::<Tcp>()
            .with_pollable::<Pipe>()
            .with_lending::<Shm>()
            .with_pollable::<ShmDirect>()
            .with_pollable::<Mq>()
            .with_pollable::<UdsSeqpacket>()
            .and(Mechanism::inside::<InProc, Lends>())
    }
}

impl Bench {
    /// Adds a transport; one of the same name is replaced.
    ///
    /// The program listens at `NAME:/path/of/a/socket`, in a directory that is there for one trial only.
    #[must_use]
    pub fn with<T: Transport>(self) -> Bench {
        self.and(Mechanism::of::<T, Blocks>())
    }

    /// Adds a transport that `--io async` can measure as well; otherwise as [`with`](Bench::with).
    #[must_use]
    pub fn with_pollable<T: Transport>(self) -> Bench
    where
        T::Tx: Pollable,
        T::Rx: Pollable,
    {
        self.and(Mechanism::of::<T, Polls>())
    }

    /// Adds a transport that `--access loan` can measure as well; otherwise as [`with_pollable`](Bench::with_pollable).
    #[must_use]
    pub fn with_lending<T: Transport>(self) -> Bench
    where
        T::Tx: Pollable + LoanSender,
        T::Rx: Pollable,
    {
        self.and(Mechanism::of::<T, Lends>())
    }

    fn and(mut self, mechanism: Mechanism) -> Bench {
        self.mechanisms.retain(|known| known.name != mechanism.name);
        self.mechanisms.push(mechanism);
        self
    }

    /// Does what the command line says and returns how it ended. Call it first in `main`: the program starts itself
    /// again for each side of each trial, and such a process must do nothing else.
    pub fn main(self) -> ExitCode {
        let mut words = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        match words.next().as_deref() {
            Some(worker::COMMAND) => return worker::main(&self.mechanisms),
            Some(limits::COMMAND) => return limits::side(words.next()),
            _ => {}
        }
        command::main(&self.mechanisms)
    }
}
