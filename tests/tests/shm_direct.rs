//! What is special about `shm-direct`: a peer can be killed while it holds the lock.

use std::cell::Cell;
use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc_tests::end::{Random, message, patiently};
use ipc_tests::peer::Killer;
use ipc_tests::place::Place;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::{
    Connection, Listener, Receiver, RecvError, SendError, Sender, ShmDirect, ShmDirectOptions,
    ShmDirectReceiver, ShmDirectSender, Transport, Wait,
};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Kills per role.
const ROUNDS: usize = 15;

/// Long enough that most of a victim's time passes inside the lock, copying.
const LEN: usize = 8 << 20;

/// Lets the victim get on with its copying for up to as long as `message` took, in which it copied one, too.
fn look_away(message: Duration) {
    let longest = message.as_micros() as usize + 1;
    // Not a handshake, but a moment of chance. Asleep, since of two that take turns the scheduler may keep both on one processor: who
    // wakes up is let in at once, who gives way or spins gets the processor back when the victim has done.
    std::thread::sleep(Duration::from_micros(Random(Random::seed()).below(longest) as u64));
}

fn with_a_peer(role: &str, survive: impl Fn(Connection<ShmDirectSender, ShmDirectReceiver>, Killer)) {
    for _ in 0..ROUNDS {
        let _watchdog = Watchdog::over(role);
        let place = Place::new(Some(Path::new(PEER)));
        let options = ShmDirectOptions { max_message: Some(LEN), ..ShmDirectOptions::default() };
        let mut listener = ShmDirect::listen(&place.address::<ShmDirect>(), &options)
            .unwrap_or_else(|error| panic!("{error}"));
        let peer = place.spawn::<ShmDirect>(role, &format!("{}?max_message={LEN}", listener.address()));
        let connection = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
        survive(connection, peer.killer());
    }
}

/// Whatever the sender was doing when it was killed: every message that arrives is whole and the next, the death is told
/// within a second, and again.
#[test]
fn a_sender_may_be_killed_at_any_point() {
    let interrupted = Cell::new(0);
    let survive = |mut connection: Connection<ShmDirectSender, ShmDirectReceiver>, killer: Killer| {
        let rx = &mut connection.rx;
        let last = Random(Random::seed()).below(6) as u64;
        let mut expected = message(0, LEN);
        let (mut number, mut buf) = (0, Vec::new());
        let mut killed = None;
        loop {
            let began = Instant::now();
            match rx.recv_with(&mut buf, patiently()) {
                Ok(_) => {
                    if number == last {
                        // Now it writes the next one.
                        look_away(began.elapsed());
                        killed = Some(Instant::now());
                        killer.kill();
                    }
                    expected[..8].copy_from_slice(&number.to_le_bytes());
                    assert!(buf == expected, "message {number} is not what was sent");
                }
                Err(RecvError::PeerDied { partial_bytes }) => {
                    assert!(partial_bytes == 0 || partial_bytes == LEN, "{partial_bytes}");
                    interrupted.set(interrupted.get() + u32::from(partial_bytes > 0));
                    break;
                }
                Err(error) => panic!("{error}"),
            }
            number += 1;
        }
        assert!(killed.is_some_and(|when| when.elapsed() < Duration::from_secs(1)), "told too late");
        assert!(number <= last + 2, "a slot holds one message");
        assert!(matches!(rx.try_recv(&mut buf), Err(RecvError::PeerDied { .. })));
    };
    // On a busy machine the blow often falls before the victim gets to run, or when it has done.
    for _ in 0..10 {
        with_a_peer("flood", survive);
        if interrupted.get() > 0 {
            return;
        }
    }
    panic!("no sender died in the middle of a message: the test tests nothing");
}

/// Whatever the receiver was doing when it was killed: the sender is told within a second, and again.
#[test]
fn a_receiver_may_be_killed_at_any_point() {
    with_a_peer("sink", |mut connection, killer| {
        let tx = &mut connection.tx;
        let bytes = message(1, LEN);
        let mut took = Duration::ZERO;
        for _ in 0..=Random(Random::seed()).below(6) {
            let began = Instant::now();
            tx.send_with(&[IoSlice::new(&bytes)], patiently()).unwrap();
            took = began.elapsed();
        }
        look_away(took);
        let killed = Instant::now();
        killer.kill();
        let answer = (0..3).find_map(|_| tx.send_with(&[IoSlice::new(&bytes)], Wait::Forever).err());
        assert!(matches!(answer, Some(SendError::PeerDied)), "{answer:?}");
        assert!(killed.elapsed() < Duration::from_secs(1), "told too late");
        assert!(matches!(tx.try_send(&bytes), Err(SendError::PeerDied)));
    });
}
