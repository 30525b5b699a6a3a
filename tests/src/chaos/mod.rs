//! Faults on purpose: what happens to the survivor when the other process is killed, stopped, interrupted, starved or
//! hostile. The program `chaos` runs one cell (fault × mechanism × role) per process and prints one line of the ledger;
//! `cargo xtask chaos` runs the cells of a dose.
//!
//! What is checked after every fault (the oracle):
//!
//! | | |
//! |---|---|
//! | I1 | every call of the survivor returns by its deadline |
//! | I2 | what arrives is a gap-free prefix, whole, with everything the victim had committed in it |
//! | I3 | the survivor is told a typed error that fits; never `Io`, never a wrong diagnosis |
//! | I4 | no descriptor, mapping, thread, child, file or queue is left |
//! | I5 | the next connection works at once, and carries nothing of the last one |
//! | I6 | no signal, abort or panic in the survivor |
//! | I7 | waiting costs next to no processor time |
//! | I8 | files are the old or the new version, never something between |

pub mod attacker;
pub mod cell;
pub mod crash;
pub mod dose;
pub mod forks;
pub mod fuzz;
pub mod growth;
pub mod guest;
pub mod hostile;
pub mod journal;
pub mod kill;
pub mod ledger;
pub mod limits;
pub mod orphans;
mod quota;
pub mod results;
pub mod soak;
pub mod spaces;
mod squatter;
pub mod stop;
pub mod storm;
pub mod victim;
pub mod wrong_uid;

pub use cell::{Cell, Mechanism, Role, Violation};

/// Gives SIGPIPE back its deadly default, which Rust's start-up code takes away: I6 holds for programs in any language.
#[expect(unsafe_code, reason = "signal")]
pub fn own_sigpipe() {
    // SAFETY: the default action has no handler to be wrong.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}
