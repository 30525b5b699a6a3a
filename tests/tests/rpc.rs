//! Request and reply over real connections: one client, many, deadlines, deaths.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::path::Path;
use std::thread;
use std::time::Duration;

use ipc_tests::end::patiently;
use ipc_tests::peer::Peer;
use ipc_tests::place::Place;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::message::Message;
use ipc_transports::rpc::{Backoff, CallError, Client, Request, Server};
use ipc_transports::{
    Address, Listener, RecvError, SetupErrorKind, Shm, Transport, Uds, UdsListener, UdsOptions, UdsReceiver,
    UdsSender, Wait,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Double(u64),
    Repeat { text: String, times: usize },
    Fail,
    Forget,
}

impl Message for Ask {
    const MESSAGE_TYPE: &'static str = "test.ask/1";
}

impl Request for Ask {
    type Reply = Result<String, u32>;
}

fn answer(ask: Ask) -> Result<String, u32> {
    match ask {
        Ask::Double(number) => Ok((2 * number).to_string()),
        Ask::Repeat { text, times } => Ok(text.repeat(times)),
        Ask::Fail => Err(42),
        Ask::Forget => unreachable!("not sent to this server"),
    }
}

type UdsClient = Client<Ask, UdsSender, UdsReceiver>;

fn short_buffers() -> UdsOptions {
    UdsOptions { sndbuf: Some(4096), max_message: Some(1 << 20), ..UdsOptions::default() }
}

/// A client, and a thread that serves it until it closes.
fn served(options: &UdsOptions) -> (UdsClient, thread::JoinHandle<Result<(), RecvError>>) {
    let (near, far) = Uds::pair(options).unwrap();
    (Client::new(near), thread::spawn(|| Server::new(far).serve(answer)))
}

/// A client, and the server's end for the test to play.
fn scripted() -> (UdsClient, Server<UdsSender, UdsReceiver>) {
    let (near, far) = Uds::pair(&UdsOptions::default()).unwrap();
    (Client::new(near), Server::new(far))
}

#[test]
fn calls_are_answered_and_errors_are_values() {
    let _watchdog = Watchdog::over("calls_are_answered");
    let (mut client, server) = served(&UdsOptions::default());
    assert_eq!(client.call(&Ask::Double(21)).unwrap(), Ok("42".to_owned()));
    assert_eq!(client.call(&Ask::Fail).unwrap(), Err(42));
    assert_eq!(client.calls(), 0);
    drop(client);
    assert!(server.join().unwrap().is_ok());
}

#[test]
fn pipelined_calls_are_answered_in_any_order_of_asking() {
    let _watchdog = Watchdog::over("pipelined_calls");
    let (mut client, _server) = served(&UdsOptions::default());
    let tickets: Vec<_> = (0..500).map(|n| client.start(&Ask::Double(n), Wait::Forever).unwrap()).collect();
    for (n, ticket) in tickets.iter().enumerate().rev() {
        assert_eq!(client.reply(ticket, Wait::Forever).unwrap(), Ok((2 * n).to_string()));
        assert!(matches!(client.reply(ticket, Wait::Forever), Err(CallError::Unknown)));
    }
    assert_eq!((client.calls(), client.late_replies()), (0, 0));
}

/// Requests and replies that together exceed what both directions hold: a client that only sent would wait for a server
/// that waits for it.
#[test]
fn a_pipeline_longer_than_the_link_does_not_lock_up() {
    let _watchdog = Watchdog::over("a_pipeline_longer_than_the_link");
    let (mut client, _server) = served(&short_buffers());
    let text = "x".repeat(5000);
    let tickets: Vec<_> = (1..100)
        .map(|times| client.start(&Ask::Repeat { text: text.clone(), times }, Wait::Forever).unwrap())
        .collect();
    for (at, ticket) in tickets.iter().enumerate() {
        assert_eq!(client.reply(ticket, Wait::Forever).unwrap().unwrap().len(), 5000 * (at + 1));
    }
}

#[test]
fn a_late_reply_is_dropped_and_counted() {
    let _watchdog = Watchdog::over("a_late_reply");
    let (mut client, mut server) = scripted();
    assert!(matches!(client.call_with(&Ask::Double(1), Wait::Never), Err(CallError::NotYet)));
    let impatient = client.call_timeout(&Ask::Double(2), Duration::from_millis(1));
    assert!(matches!(impatient, Err(CallError::TimedOut)), "{impatient:?}");
    let cancelled = client.start(&Ask::Double(3), Wait::Forever).unwrap();
    client.cancel(cancelled);
    let wanted = client.start(&Ask::Double(4), Wait::Forever).unwrap();
    assert!(matches!(client.reply(&wanted, Wait::Never), Err(CallError::NotYet)));
    for _ in 0..4 {
        server.serve_one(answer, Wait::Forever).unwrap();
    }
    assert_eq!(client.reply(&wanted, Wait::Forever).unwrap(), Ok("8".to_owned()));
    assert_eq!((client.late_replies(), client.calls()), (3, 0));
}

#[test]
fn a_closed_server_fails_every_call_under_way() {
    let _watchdog = Watchdog::over("a_closed_server");
    let (mut client, mut server) = scripted();
    let tickets: Vec<_> = (0..10).map(|n| client.start(&Ask::Double(n), Wait::Forever).unwrap()).collect();
    server.serve_one(answer, Wait::Forever).unwrap();
    drop(server);
    assert_eq!(client.reply(&tickets[0], Wait::Forever).unwrap(), Ok("0".to_owned()));
    for ticket in &tickets[1..] {
        let answer = client.reply(ticket, Wait::Forever);
        assert!(matches!(answer, Err(CallError::Closed | CallError::PeerDied)), "{answer:?}");
    }
    assert!(matches!(client.call(&Ask::Fail), Err(CallError::Closed | CallError::PeerDied)));
}

/// Kills a server that has taken calls and answers none: each is told so, those not asked about yet without waiting.
fn a_killed_server_fails_every_call<T: Transport>() {
    let _watchdog = Watchdog::over(&format!("a_killed_server over {}", T::NAME));
    let place = Place::new(None);
    let mut listener = T::listen(&place.address::<T>(), &T::Options::default()).unwrap();
    let at = listener.address().to_string();
    // Whose far side keeps both halves and does nothing.
    let role = "death::a_waiting_receiver_is_told_of_a_killed_peer";
    let server = Peer::spawn(Path::new(env!("CARGO_BIN_EXE_peer")), &[T::NAME, role, &at]);
    let mut client = Client::<Ask, _, _>::new(listener.accept(patiently()).unwrap());
    let tickets: Vec<_> = (0..10).map(|n| client.start(&Ask::Double(n), patiently()).unwrap()).collect();
    let first = server.killer().kill_during(|| client.reply(&tickets[0], Wait::Forever));
    assert!(matches!(first, Err(CallError::PeerDied)), "{first:?}");
    for ticket in &tickets[1..] {
        let answer = client.reply(ticket, Wait::Never);
        assert!(matches!(answer, Err(CallError::PeerDied)), "{answer:?}");
    }
    assert_eq!(client.calls(), 0);
    assert!(matches!(client.call(&Ask::Fail), Err(CallError::PeerDied)));
}

#[test]
fn a_killed_server_fails_every_call_at_once_over_sockets() {
    a_killed_server_fails_every_call::<Uds>();
}

#[test]
fn a_killed_server_fails_every_call_at_once_over_shared_memory() {
    a_killed_server_fails_every_call::<Shm>();
}

#[test]
fn what_cannot_be_sent_or_read_costs_one_call() {
    let _watchdog = Watchdog::over("what_cannot_be_sent");
    let (mut client, _server) = served(&UdsOptions { max_message: Some(1000), ..UdsOptions::default() });
    let long = Ask::Repeat { text: "x".repeat(2000), times: 1 };
    assert!(matches!(client.call(&long), Err(CallError::TooLong { max: 1000, .. })));
    // The request fits, the reply does not.
    let grows = Ask::Repeat { text: "x".repeat(600), times: 2 };
    assert!(matches!(client.call(&grows), Err(CallError::Refused)));
    assert_eq!(client.call(&Ask::Double(1)).unwrap(), Ok("2".to_owned()));
}

#[test]
fn a_request_of_another_type_is_refused_and_serving_goes_on() {
    #[derive(Serialize, Deserialize)]
    struct Other(u8);
    impl Message for Other {
        const MESSAGE_TYPE: &'static str = "test.other/1";
    }
    impl Request for Other {
        type Reply = u64;
    }
    let _watchdog = Watchdog::over("a_request_of_another_type");
    let (near, far) = Uds::pair(&UdsOptions::default()).unwrap();
    let server = thread::spawn(|| Server::new(far).serve(answer));
    let mut client = Client::<Other, _, _>::new(near);
    assert!(matches!(client.call(&Other(200)), Err(CallError::Refused)));
    // Two is `Fail` to the server, and its reply an `Err(42)`, which is no u64 alone.
    assert!(matches!(client.call(&Other(2)), Err(CallError::Decode(_))));
    drop(client);
    assert!(server.join().unwrap().is_ok());
}

#[test]
fn a_message_that_is_no_request_ends_its_connection() {
    let _watchdog = Watchdog::over("a_message_that_is_no_request");
    let (mut near, far) = Uds::pair(&UdsOptions::default()).unwrap();
    ipc_transports::Sender::send(&mut near.tx, b"hello").unwrap();
    assert!(matches!(Server::new(far).serve(answer), Err(RecvError::Corrupt { .. })));
}

fn reconnecting(to: Address) -> UdsClient {
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(10) };
    Client::reconnecting(move |wait| Uds::connect(&to, &UdsOptions::default(), wait), backoff)
}

fn accept(listener: &mut UdsListener) -> Server<UdsSender, UdsReceiver> {
    Server::new(listener.accept(Wait::Forever).unwrap())
}

#[test]
fn the_next_call_after_a_death_reconnects_and_nothing_is_sent_twice() {
    let _watchdog = Watchdog::over("the_next_call_after_a_death");
    let place = Place::new(None);
    let at = place.address::<Uds>();
    let mut listener = Uds::listen(&at, &UdsOptions::default()).unwrap();
    let mut client = reconnecting(at.clone());
    let sent = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut first = accept(&mut listener);
            first.serve_one(answer, Wait::Forever).unwrap();
            first.serve_one(answer, Wait::Forever).unwrap();
            sent.wait();
            drop(first);
            // What the first server never read does not come to the second.
            let mut second = accept(&mut listener);
            let mut seen = Vec::new();
            let end = second.serve(|ask: Ask| {
                seen.push(format!("{ask:?}"));
                answer(ask)
            });
            assert!(end.is_ok());
            assert_eq!(seen, ["Double(5)", "Double(6)"]);
        });
        assert_eq!(client.call(&Ask::Double(1)).unwrap(), Ok("2".to_owned()));
        let tickets: Vec<_> = [2, 3, 4].map(|n| client.start(&Ask::Double(n), Wait::Forever).unwrap()).into();
        assert_eq!(client.reply(&tickets[0], Wait::Forever).unwrap(), Ok("4".to_owned()));
        sent.wait();
        for ticket in &tickets[1..] {
            let lost = client.reply(ticket, Wait::Forever);
            assert!(matches!(lost, Err(CallError::Closed | CallError::PeerDied)), "{lost:?}");
        }
        assert!(matches!(client.call_with(&Ask::Fail, Wait::Never), Err(CallError::NotConnected)));
        assert_eq!(client.call(&Ask::Double(5)).unwrap(), Ok("10".to_owned()));
        assert_eq!(client.call(&Ask::Double(6)).unwrap(), Ok("12".to_owned()));
        drop(client);
    });
}

#[test]
fn a_call_that_finds_its_server_gone_while_sending_is_answered_by_the_next() {
    let _watchdog = Watchdog::over("a_call_that_finds_its_server_gone");
    let place = Place::new(None);
    let at = place.address::<Uds>();
    let mut client = reconnecting(at.clone());
    for life in 0..3 {
        let mut listener = Uds::listen(&at, &UdsOptions::default()).unwrap();
        thread::scope(|scope| {
            // Serves one call and is gone before the next one is made: that one meets a broken connection.
            scope.spawn(|| accept(&mut listener).serve_one(answer, Wait::Forever).unwrap());
            assert_eq!(client.call(&Ask::Double(life)).unwrap(), Ok((2 * life).to_string()));
        });
        assert_eq!(client.calls(), 0);
    }
}

#[test]
fn a_call_waits_for_a_server_to_come_as_long_as_it_may() {
    let _watchdog = Watchdog::over("a_call_waits_for_a_server");
    let place = Place::new(None);
    let at = place.address::<Uds>();
    let mut client = reconnecting(at.clone());
    let nobody = client.call_timeout(&Ask::Fail, Duration::from_millis(20));
    match nobody {
        Err(CallError::Connect(error)) => assert_eq!(error.kind, SetupErrorKind::NotFound),
        Err(CallError::TimedOut) => {}
        other => panic!("{other:?}"),
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut listener = Uds::listen(&at, &UdsOptions::default()).unwrap();
            accept(&mut listener).serve(answer).unwrap();
        });
        assert_eq!(client.call(&Ask::Double(1)).unwrap(), Ok("2".to_owned()));
        drop(client);
    });
}
