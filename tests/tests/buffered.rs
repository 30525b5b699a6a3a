//! [`BufSender`] over every mechanism: what is sent arrives, once and in order, however it had to wait.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use ipc_tests::watchdog::Watchdog;
use ipc_transports::{BufSender, Options, Receiver, RecvError, SendError, Sender, Transport, Wait};

/// Message number `number`: of no byte up to a few hundred, now and then as long as the buffer and longer.
fn message(number: u32, longest: usize) -> Vec<u8> {
    let len = match number % 100 {
        99 => 5_000,
        other => other as usize * 3,
    };
    let mut message = number.to_le_bytes().repeat(len / 4 + 1);
    message.truncate(len.min(longest));
    message
}

fn all_arrive_in_order<T: Transport>(options: &T::Options) {
    const MESSAGES: u32 = 3_000;
    let (near, mut far) = T::pair(options).unwrap();
    let longest = near.tx.max_message();
    let receiving = std::thread::spawn(move || {
        let mut got = Vec::new();
        for number in 0..MESSAGES {
            far.rx.recv(&mut got).unwrap();
            assert!(got == message(number, longest), "message {number} is another");
        }
        far.rx.recv(&mut got)
    });
    let mut tx = BufSender::with_capacity(4096, near.tx);
    for number in 0..MESSAGES {
        let message = message(number, longest);
        // Both ways of waiting for room, and what is refused is sent again.
        if number % 2 == 1 {
            tx.send(&message).unwrap();
            continue;
        }
        loop {
            match tx.try_send(&message) {
                Ok(()) => break,
                Err(SendError::Full) => tx.flush(Wait::Forever).unwrap(),
                Err(error) => panic!("message {number}: {error}"),
            }
        }
    }
    // What is still held goes when it is dropped, before the goodbye.
    drop(tx);
    let end = receiving.join().expect("the receiver's assertions hold");
    assert!(matches!(end, Err(RecvError::Closed)), "{end:?}");
}

macro_rules! all_arrive {
    ($module:ident: $transport:ty, $options:literal; $($capability:ident)*) => {
        #[test]
        fn $module() {
            let _watchdog = Watchdog::over(concat!("buffered::", stringify!($module)));
            let address = concat!("any:here?", $options).trim_end_matches('?').parse().unwrap();
            let options = <$transport as Transport>::Options::default().resolved(&address).unwrap();
            all_arrive_in_order::<$transport>(&options);
        }
    };
}
ipc_tests::for_each_transport!(all_arrive);
