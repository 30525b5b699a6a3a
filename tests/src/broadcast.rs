//! The other process of a test of broadcasts, played by the program `peer`.
#![allow(unsafe_code, reason = "vouches for itself as a peer")]

use ipc_transports::broadcast::{BroadcastOptions, Reader, Writer};
use ipc_transports::{Address, Receiver, RecvError, Sender, Trust};

use crate::end::{Cue, check, message, patiently};

/// The length of message `number`: from nothing to more than a page.
pub fn length(number: u64) -> usize {
    (number.wrapping_mul(0x9E37_79B9) % 5000) as usize
}

/// For a benchmark whose other side is this package.
pub fn trust_our_own_code() -> Trust {
    // SAFETY: no program of this package touches a message after sending it.
    unsafe { Trust::peer() }
}

/// A role: `count` reads to the end and tells how many messages came, each whole and the next; `sit` joins and reads
/// nothing; `leave` reads one message and leaves; `write` lets one reader in and writes until it is killed.
pub fn play(role: &str, address: &Address) {
    let mut cue = Cue::over(std::io::stdin(), std::io::stdout());
    match role {
        "write" => {
            let mut writer = Writer::listen(address, &BroadcastOptions::default())
                .unwrap_or_else(|error| panic!("{error}"));
            cue.tell("listening");
            writer.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
            for number in 0.. {
                writer.send(&message(number, length(number))).unwrap_or_else(|error| panic!("{error}"));
            }
        }
        "count" => {
            let mut reader = join(address);
            let (mut number, mut buf) = (0, Vec::new());
            let end = loop {
                match reader.recv_with(&mut buf, patiently()) {
                    Ok(_) => check(&buf, number, length(number)),
                    Err(error) => break error,
                }
                number += 1;
            };
            assert!(matches!(end, RecvError::Closed), "{end}");
            cue.tell(number);
        }
        "sit" => {
            let _reader = join(address);
            cue.wait_for_the_end();
        }
        "leave" => {
            let mut reader = join(address);
            let mut buf = Vec::new();
            reader.recv_with(&mut buf, patiently()).unwrap_or_else(|error| panic!("{error}"));
            check(&buf, 0, length(0));
        }
        other => panic!("no role of broadcasts is called {other}"),
    }
}

fn join(address: &Address) -> Reader {
    Reader::connect(address, &BroadcastOptions::default(), patiently())
        .unwrap_or_else(|error| panic!("{error}"))
}
