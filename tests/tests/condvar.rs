//! Why `shm-direct` sleeps on a futex word: with `lock=condvar`, for comparison, it is not kill-safe.
#![cfg(all(target_env = "gnu", target_arch = "x86_64"))]

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use ipc_tests::place::Place;
use ipc_tests::stepper::Stepper;
use ipc_tests::watchdog::{LIMIT, Watchdog};
use ipc_transports::ShmDirect;

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Longest message of the victim.
const LEN: u64 = 1000;

/// From the start of the memory to the lock inside the reader's condition variable in the slot of the connecting side:
/// the identity (128), the slot of the listening side (264 + 1000, up to 1280), its reader's condition variable (64), and
/// in it `__g1_orig_size`, whose two lowest bits are the lock (`nptl/pthread_cond_common.c` of glibc 2.25 to 2.42).
const LOCK_IN_CONDVAR: u64 = 128 + 1280 + 64 + 32;

/// Most instructions until a sender that floods has signalled.
const MOST_STEPS: u32 = 200_000;

/// Longer than any death notice: 50 ms and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Kills a sender when `now` says so of it, which is asked after every instruction; what the receiver was told, if it
/// was told within [`PATIENCE`].
fn told_after_a_kill(lock: &str, mut now: impl FnMut(&Stepper, u32) -> bool) -> Option<String> {
    let _watchdog = Watchdog::within(2 * LIMIT, lock);
    let place = Place::new(Some(Path::new(PEER)));
    let options = format!("?max_message={LEN}&lock={lock}&wait=park");
    let at = format!("{}{options}", place.address::<ShmDirect>());
    let mut survivor = place.spawn::<ShmDirect>("drain", &at);
    let told = survivor.cue.as_mut().expect("nobody took it").hear();
    let to = told.split('?').next().unwrap_or_default();
    let victim = place.spawn::<ShmDirect>("flood", &format!("{to}{options}"));
    let mut cue = survivor.cue.take().expect("nobody took it");
    cue.wait_for("the first message");
    let stepper = Stepper::attach(victim.id());
    for step in 0..MOST_STEPS {
        if now(&stepper, step) || !stepper.step() {
            break;
        }
    }
    drop(stepper);
    drop(victim);
    let (tell, hears) = mpsc::channel();
    std::thread::spawn(move || tell.send(cue.hear_if_any()));
    hears.recv_timeout(PATIENCE).ok().flatten()
}

#[test]
fn a_peer_killed_inside_its_signal_hangs_who_sleeps_on_a_condition_variable() {
    // A receiver that is between two slices of its sleep has no condition variable to be signalled: once more then.
    for _ in 0..20 {
        let mut seen = false;
        let mut memory = None;
        let told = told_after_a_kill("condvar", |stepper, _| {
            let base = *memory.get_or_insert_with(|| stepper.memfd_at().expect("the shared memory"));
            seen = stepper.word(base + LOCK_IN_CONDVAR) & 3 != 0;
            seen
        });
        match (seen, told) {
            (true, told) => return assert_eq!(told, None, "this C library survives it: say so in the docs"),
            (false, told) => assert!(told.is_some(), "a hang without a signal"),
        }
    }
    panic!("no signal took its lock: this C library has another condition variable");
}

#[test]
fn with_the_futex_word_a_peer_may_be_killed_at_any_instruction() {
    for kill in 0..12 {
        let told = told_after_a_kill("mutex", |_, step| step >= kill * 331);
        assert!(
            told.as_deref().is_some_and(|told| told.starts_with("the peer")),
            "instruction {kill} · 331: {told:?}"
        );
    }
}
