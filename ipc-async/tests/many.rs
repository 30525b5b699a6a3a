//! A thousand connections on one reactor.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use ipc_async::Reactor;
use ipc_core::{Sender, Transport};
use ipc_transports::Uds;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_thousand_connections_play_ping_pong_on_one_reactor() {
    const CONNECTIONS: usize = 1000;
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).unwrap();
    assert!(hard.is_none_or(|hard| hard > 7 * CONNECTIONS as u64), "raise RLIMIT_NOFILE to run this test");
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let executor = async_executor::LocalExecutor::new();
    let mut pings = Vec::new();
    for n in 0..CONNECTIONS {
        let (near, far) = Uds::pair(&Default::default()).unwrap();
        let (mut near, mut far) = (handle.attach(near), handle.attach(far));
        executor
            .spawn(async move {
                let mut message = Vec::new();
                while far.rx.recv(&mut message).await.is_ok() {
                    far.tx.send(&message).await.unwrap();
                }
            })
            .detach();
        pings.push(executor.spawn(async move {
            let mut message = Vec::new();
            for round in 0..20u32 {
                let ping = [n as u32, round].map(u32::to_le_bytes).concat();
                near.tx.send(&ping).await.unwrap();
                near.rx.recv(&mut message).await.unwrap();
                assert_eq!(message, ping);
            }
        }));
    }
    reactor.block_on(executor.run(async {
        for ping in pings {
            ping.await;
        }
    }));
}

#[test]
fn a_future_that_wakes_itself_keeps_no_events_from_the_others() {
    let mut reactor = Reactor::new().unwrap();
    let (near, mut far) = Uds::pair(&Default::default()).unwrap();
    let mut rx = reactor.handle().receiver(near.rx);
    reactor.block_on(async {
        let mut message = Vec::new();
        let mut receiving = pin!(rx.recv(&mut message));
        let mut polls = 0;
        let received = poll_fn(|context| {
            let received = receiving.as_mut().poll(context);
            polls += 1;
            match polls {
                // The receiver waits for an event, which is there from now on.
                1 => far.tx.send(b"hello").unwrap(),
                10 => return Poll::Ready(None),
                _ => {}
            }
            context.waker().wake_by_ref();
            received.map(Some)
        });
        assert_eq!(received.await.expect("the reactor never looked").unwrap(), 5);
    });
}
