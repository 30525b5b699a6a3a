//! Typed messages and calls allocate nothing once their buffers have grown. Its own test binary, one test: the counter
//! sees the thread that measures.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::thread;

use ipc_tests::watchdog::Watchdog;
use ipc_transports::message::Message;
use ipc_transports::rpc::{Client, Request, Server};
use ipc_transports::typed::{TypedReceiver, TypedSender};
use ipc_transports::{Pollable, Shm, Transport, Uds, Wait};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: u64,
    values: [f64; 4],
}

impl Message for Reading {
    const MESSAGE_TYPE: &'static str = "test.reading/1";
}

impl Request for Reading {
    type Reply = Result<Reading, u32>;
}

const READING: Reading = Reading { sensor: u64::MAX, values: [1.5; 4] };

fn allocations(work: impl FnMut()) -> u64 {
    let mut work = work;
    (0..100).for_each(|_| work());
    allocation_counter::measure(|| (0..1000).for_each(|_| work())).count_total
}

fn over<T: Transport<Tx: Pollable, Rx: Pollable>>() {
    let _watchdog = Watchdog::over(&format!("allocations over {}", T::NAME));
    let (near, far) = T::pair(&Default::default()).unwrap();
    let mut tx = TypedSender::<Reading, _>::new(near.tx);
    let mut rx = TypedReceiver::<Reading, _>::new(far.rx);
    let typed = allocations(|| {
        tx.send(&READING).unwrap();
        assert_eq!(rx.recv().unwrap(), READING);
        tx.send_with_bytes(&READING, &[7; 500], Wait::Forever).unwrap();
        assert_eq!(rx.recv_with_bytes(Wait::Forever).unwrap().1.len(), 500);
    });
    assert_eq!(typed, 0, "typed messages over {}", T::NAME);

    let (near, far) = T::pair(&Default::default()).unwrap();
    let mut client = Client::<Reading, _, _>::new(near);
    let served = thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut server = Server::new(far);
            allocations(|| server.serve_one(Ok::<Reading, u32>, Wait::Forever).unwrap())
        });
        let calls = allocations(|| assert_eq!(client.call(&READING).unwrap(), Ok(READING)));
        assert_eq!(calls, 0, "calls over {}", T::NAME);
        server.join().unwrap()
    });
    assert_eq!(served, 0, "served calls over {}", T::NAME);
}

#[test]
fn typed_messages_and_calls_allocate_nothing_after_warm_up() {
    over::<Uds>();
    over::<Shm>();
}
