//! A thousand connections on one reactor.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use ipc_async::Reactor;
use ipc_core::Transport;
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
