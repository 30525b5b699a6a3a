//! The same futures under the reactor itself, smol's executor, and tokio with one thread and with many.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::time::{Duration, Instant};

use futures_lite::{StreamExt, future};
use ipc_async::{Handle, Reactor, ReactorThread, TimedOut};
use ipc_core::{
    Connection, Listener, Pollable, Receiver, RecvError, Sender, SetupErrorKind, Transport, Wait,
};
use ipc_transports::{InProc, Mq, MqOptions, Pipe, Shm, ShmDirect, Tcp, Uds, UdsSeqpacket};

/// Ping-pong of growing messages between two futures, then a stream of what is left, to the close.
async fn converse<Tx, Rx>(handle: &Handle, ends: (Connection<Tx, Rx>, Connection<Tx, Rx>))
where
    Tx: Sender + Pollable,
    Rx: Receiver + Pollable + Unpin,
{
    let (mut near, mut far) = (handle.attach(ends.0), handle.attach(ends.1));
    let longest = near.tx.max_message().min(300_000);
    let ask = async {
        let mut reply = Vec::new();
        for round in 0..200 {
            let message = vec![round as u8; (round * round * 7) % longest];
            near.tx.send(&message).await.unwrap();
            near.rx.recv(&mut reply).await.unwrap();
            assert!(reply == message, "round {round}");
        }
        for n in 0..50u8 {
            near.tx.send(&[n]).await.unwrap();
        }
        near.tx.close().await.unwrap();
        // Not dropped before the other side has seen the end.
        assert!(matches!(near.rx.recv(&mut reply).await, Err(RecvError::Closed)));
    };
    let answer = async {
        let mut request = Vec::new();
        for _ in 0..200 {
            far.rx.recv(&mut request).await.unwrap();
            far.tx.send(&request).await.unwrap();
        }
        let rest: Vec<Vec<u8>> = (&mut far.rx).map(|message| message.unwrap()).collect().await;
        assert_eq!(rest, (0..50u8).map(|n| vec![n]).collect::<Vec<_>>());
        far.tx.close().await.unwrap();
    };
    future::zip(ask, answer).await;
}

macro_rules! every_transport {
    ($transport:ident, $options:ident => $body:expr) => {
        every_transport!(@ $transport, $options, $body; Uds, Default::default());
        every_transport!(@ $transport, $options, $body; UdsSeqpacket, Default::default());
        every_transport!(@ $transport, $options, $body; Tcp, Default::default());
        every_transport!(@ $transport, $options, $body; Pipe, Default::default());
        every_transport!(@ $transport, $options, $body; Shm, Default::default());
        every_transport!(@ $transport, $options, $body; InProc, Default::default());
        every_transport!(@ $transport, $options, $body; ShmDirect, Default::default());
        let queues = MqOptions { depth: Some(2), max_message: Some(1024), ..Default::default() };
        every_transport!(@ $transport, $options, $body; Mq, queues);
    };
    (@ $transport:ident, $options:ident, $body:expr; $type:ty, $value:expr) => {{
        type $transport = $type;
        let $options: <$transport as Transport>::Options = $value;
        $body
    }};
}

#[test]
fn every_transport_works_on_a_reactor_driven_by_its_caller() {
    every_transport!(T, options => {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        reactor.block_on(converse(&handle, T::pair(&options).unwrap()));
    });
}

#[test]
fn every_transport_works_under_smols_executor() {
    let reactor = ReactorThread::start().unwrap();
    every_transport!(T, options => {
        let executor = async_executor::Executor::new();
        let handle = reactor.handle();
        let ends = T::pair(&options).unwrap();
        let task = executor.spawn(async move { converse(&handle, ends).await });
        future::block_on(executor.run(task));
    });
}

#[test]
fn every_transport_works_under_tokio_with_one_thread_and_with_many() {
    let reactor = ReactorThread::start().unwrap();
    let runtimes = [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap(),
    ];
    for runtime in runtimes {
        every_transport!(T, options => {
            let handle = reactor.handle();
            let ends = T::pair(&options).unwrap();
            runtime.block_on(async { tokio::spawn(async move { converse(&handle, ends).await }).await.unwrap() });
        });
    }
}

#[test]
fn a_timeout_ends_the_wait_and_loses_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (near, far) = Uds::pair(&Default::default()).unwrap();
    let (mut near, mut far) = (handle.attach(near), handle.attach(far));
    reactor.block_on(async {
        let mut message = Vec::new();
        let began = Instant::now();
        let patience = Duration::from_millis(20);
        assert_eq!(handle.timeout(patience, near.rx.recv(&mut message)).await.err(), Some(TimedOut));
        assert!(began.elapsed() >= patience);
        far.tx.send(b"late").await.unwrap();
        handle.timeout(Duration::MAX, near.rx.recv(&mut message)).await.unwrap().unwrap();
        assert_eq!(message, b"late");
        // Timers of one instant are told apart, and a later one does not hold up an earlier one.
        let now = Instant::now();
        let [a, b, c, d] = [30, 10, 10, 20].map(|ms| handle.sleep_until(now + Duration::from_millis(ms)));
        future::zip(future::zip(a, b), future::zip(c, d)).await;
        assert!(now.elapsed() >= Duration::from_millis(30));
    });
}

#[test]
fn a_listener_is_a_stream_of_connections() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let listener = Tcp::listen(&"tcp:127.0.0.1:0".parse().unwrap(), &Default::default()).unwrap();
    let to = listener.address().clone();
    let mut listener = handle.listener(listener);
    let clients = std::thread::spawn(move || {
        let connect = |n: u8| {
            let mut client = Tcp::connect(&to, &Default::default(), Wait::Forever).unwrap();
            client.tx.send(&[n]).unwrap();
            client
        };
        (0..20).map(connect).collect::<Vec<_>>()
    });
    reactor.block_on(async {
        let (mut message, mut seen) = (Vec::new(), Vec::new());
        while seen.len() < 20 {
            let mut connection = listener.next().await.unwrap().unwrap();
            connection.rx.recv(&mut message).await.unwrap();
            seen.push(message[0]);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
    });
    clients.join().unwrap();
}

#[test]
fn connecting_is_awaited_beside_accepting_and_ends_with_its_deadline() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let listener = Tcp::listen(&"tcp:127.0.0.1:0".parse().unwrap(), &Default::default()).unwrap();
    let to = listener.address().clone();
    let mut listener = handle.listener(listener);
    reactor.block_on(async {
        for n in 0..10u8 {
            let connecting = handle.connect::<Tcp>(&to, &Default::default(), Wait::Forever);
            let (near, far) = future::zip(connecting, listener.accept()).await;
            let (mut near, mut far, mut message) = (near.unwrap(), far.unwrap(), Vec::new());
            near.tx.send(&[n]).await.unwrap();
            far.rx.recv(&mut message).await.unwrap();
            assert_eq!(message, [n]);
        }
        // Nobody accepts: the kernel takes the connection, the handshake waits for an answer.
        let soon = Wait::within(Duration::from_millis(20));
        let late = handle.connect::<Tcp>(&to, &Default::default(), soon).await;
        assert_eq!(late.unwrap_err().kind, SetupErrorKind::TimedOut);
        // Given up early, it costs the listener a client that leaves at once, if anything.
        drop(handle.connect::<Tcp>(&to, &Default::default(), Wait::within(Duration::from_secs(5))));
        let connecting = handle.connect::<Tcp>(&to, &Default::default(), Wait::Forever);
        let accepting = async {
            loop {
                let mut far = listener.accept().await.unwrap();
                if far.rx.recv(&mut Vec::new()).await.is_ok() {
                    break;
                }
            }
        };
        let talking = async {
            let mut near = connecting.await.unwrap();
            near.tx.send(b"still here").await.unwrap();
            near
        };
        future::zip(talking, accepting).await;
    });
}

#[test]
fn a_half_goes_from_async_to_blocking_and_back() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (near, mut far) = Shm::pair(&Default::default()).unwrap();
    let mut message = Vec::new();
    let mut rx = handle.receiver(near.rx);
    for n in 0..10u8 {
        // Dropped while it waits: the blocking half that follows finds no announcement left behind.
        assert!(reactor.block_on(future::poll_once(rx.recv(&mut message))).is_none());
        let mut blocking = rx.into_inner();
        far.tx.send(&[n]).unwrap();
        blocking.recv(&mut message).unwrap();
        assert_eq!(message, [n]);
        rx = handle.receiver(blocking);
        far.tx.send(&[n, n]).unwrap();
        reactor.block_on(rx.recv(&mut message)).unwrap();
        assert_eq!(message, [n, n]);
    }
}

#[test]
fn futures_can_be_sent_to_other_threads() {
    fn assert_send<T: Send>(_: &T) {}
    let reactor = Reactor::new().unwrap();
    let (near, _far) = Shm::pair(&Default::default()).unwrap();
    let mut near = reactor.handle().attach(near);
    assert_send(&near.tx.send(b""));
    assert_send(&near.rx.recv(&mut Vec::new()));
    assert_send(&near.rx.recv_ref());
    assert_send(&reactor.handle().timeout(Duration::ZERO, async {}));
}
