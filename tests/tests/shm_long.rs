//! Long messages over `shm`, which the receiver copies out while they are being written, and a sender that is killed while it writes.

use std::path::Path;
use std::time::Duration;

use ipc_tests::end::{Random, message, patiently};
use ipc_tests::place::Place;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::{Listener, Receiver, RecvError, Shm, ShmOptions, Transport, WaitPolicy};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// Kills per policy.
const ROUNDS: usize = 20;

/// More than ten of the parts that show; the ring has room for two.
const LEN: usize = 400_000;

/// Whatever the sender was doing when it was killed, which is nearly always copying: every message that arrives is whole and the next,
/// nothing of another one does, and the death is told, and again.
#[test]
fn a_sender_may_be_killed_at_any_point_of_a_message() {
    for policy in WaitPolicy::ALL {
        for round in 0..ROUNDS {
            let _watchdog = Watchdog::over(&format!("flood, {policy}, round {round}"));
            let place = Place::new(Some(Path::new(PEER)));
            let options = ShmOptions { max_message: Some(LEN), wait: Some(policy), ..ShmOptions::default() };
            let mut listener =
                Shm::listen(&place.address::<Shm>(), &options).unwrap_or_else(|error| panic!("{error}"));
            let peer = place
                .spawn::<Shm>("flood", &format!("{}?max_message={LEN}&wait={policy}", listener.address()));
            let mut rx = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}")).rx;
            let last = Random(Random::seed()).below(20);
            let (mut expected, mut buf, mut number) = (message(0, LEN), Vec::new(), 0);
            let told = loop {
                match rx.recv_with(&mut buf, patiently()) {
                    Ok(_) => {
                        expected[..8].copy_from_slice(&(number as u64).to_le_bytes());
                        assert!(buf == expected, "message {number} is not what was sent");
                    }
                    Err(error) => break error,
                }
                if number == last {
                    peer.killer().kill();
                }
                number += 1;
            };
            assert!(
                matches!(told, RecvError::PeerDied { partial_bytes: 0 }),
                "{policy}, {round}, after {last}: {told:?}"
            );
            assert!(buf.is_empty(), "something is left of a message");
            let again = rx.recv_timeout(&mut buf, Duration::ZERO);
            assert!(matches!(again, Err(RecvError::PeerDied { .. })), "{again:?}");
        }
    }
}
