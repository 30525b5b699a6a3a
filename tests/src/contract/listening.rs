//! Listeners and addresses: who is let in, who is refused and why.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use ipc_transports::{
    Address, Connection, Listener, Options, Receiver, RecvError, Sender, SetupError, SetupErrorKind, Target,
    Transport, Wait,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::end::{PATIENCE, expect, patiently, send};
use crate::place::Place;

type Made<T> = Connection<<T as Transport>::Tx, <T as Transport>::Rx>;

fn listen<T: Transport>(at: &Address) -> T::Listener {
    T::listen(at, &T::Options::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn connect<T: Transport>(to: &Address) -> Result<Made<T>, SetupError> {
    T::connect(to, &T::Options::default(), patiently())
}

/// A listener and one client of it, connected inside this process.
fn meet<T: Transport>(listener: &mut T::Listener) -> (Made<T>, Made<T>) {
    let to = listener.address().clone();
    thread::scope(|scope| {
        let client = scope.spawn(move || connect::<T>(&to).unwrap_or_else(|error| panic!("{error}")));
        let accepted = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
        (accepted, client.join().expect("the client connects"))
    })
}

/// One message each way.
fn talk<T: Transport>(left: &mut Made<T>, right: &mut Made<T>) {
    send(&mut left.tx, 1, 100);
    expect(&mut right.rx, 1, 100);
    send(&mut right.tx, 2, 200);
    expect(&mut left.rx, 2, 200);
}

/// What a set-up that must fail failed with.
fn refusal<V>(result: Result<V, SetupError>) -> SetupErrorKind {
    match result {
        Ok(_) => panic!("this must be refused"),
        Err(error) => error.kind,
    }
}

/// A client connects to the address its listener tells, both talk, and both know of each other what the kernel knows.
pub fn a_client_and_its_listener_talk<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    let (mut server, mut client) = meet::<T>(&mut listener);
    talk::<T>(&mut server, &mut client);
    assert_eq!(server.tx.max_message(), client.tx.max_message(), "both sides keep to one maximum");
    for peer in [server.peer, client.peer] {
        assert!(peer.pid.is_none_or(|pid| pid == std::process::id()), "{peer:?}");
        assert!(peer.uid.is_none_or(|uid| uid == rustix::process::geteuid().as_raw()), "{peer:?}");
    }
}

/// A hundred clients at once, or as many as the mechanism can, each hear only their own echo.
pub fn a_hundred_clients_are_served_by_one_listener<T: Transport>(place: &Place) {
    let clients = T::capabilities().max_clients.unwrap_or(100).min(100);
    raise_descriptor_limit();
    let at = small::<T>(&place.address::<T>());
    let options = T::Options::default().resolved(&at).unwrap_or_else(|error| panic!("{error}"));
    let mut listener = T::listen(&at, &options).unwrap_or_else(|error| panic!("{error}"));
    let to = small::<T>(listener.address());
    thread::scope(|scope| {
        for client in 0..clients as u64 {
            let to = &to;
            scope.spawn(move || {
                let mut connection = connect::<T>(to).unwrap_or_else(|error| panic!("{error}"));
                for round in 0..10 {
                    send(&mut connection.tx, client << 32 | round, 64);
                    expect(&mut connection.rx, client << 32 | round, 64);
                }
            });
        }
        serve_echo::<T>(&mut listener, clients, 10);
    });
}

/// The same address with as little memory per connection as makes sense: a hundred of them have to fit.
fn small<T: Transport>(address: &Address) -> Address {
    let small = match T::NAME {
        "shm" | "inproc" => address.with_option("capacity", "16K"),
        "shm-direct" => address.with_option("max_message", "4096"),
        _ => return address.clone(),
    };
    small.expect("an address with one more option")
}

/// A hundred connections, both ends in this process, need more descriptors than the usual soft limit of 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Accepts all clients first, then answers each in turn, so that all are connected at once.
fn serve_echo<T: Transport>(listener: &mut T::Listener, clients: usize, rounds: usize) {
    let mut accepted: Vec<_> = (0..clients)
        .map(|_| listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}")))
        .collect();
    let mut buf = Vec::new();
    for _ in 0..rounds {
        for connection in &mut accepted {
            connection.rx.recv_with(&mut buf, patiently()).expect("the client sends");
            connection.tx.send_timeout(&buf, PATIENCE).expect("the client receives");
        }
    }
}

/// Eight client processes at once, or as many as the mechanism can.
pub fn eight_processes_are_served_by_one_listener<T: Transport>(place: &Place) {
    let clients = T::capabilities().max_clients.unwrap_or(8).min(8);
    let mut listener = listen::<T>(&place.address::<T>());
    let to = listener.address().to_string();
    let peers: Vec<_> = (0..clients).map(|_| place.spawn::<T>("echo-client", &to)).collect();
    serve_echo::<T>(&mut listener, clients, 50);
    peers.into_iter().for_each(crate::peer::Peer::finish);
}

/// Where nobody ever listened, connecting answers `NotFound`, whatever the wait.
pub fn nobody_listening_is_not_found<T: Transport>(place: &Place) {
    let address = place.free_address::<T>();
    for wait in [Wait::Never, Wait::Forever, patiently()] {
        assert_eq!(refusal(T::connect(&address, &T::Options::default(), wait)), SetupErrorKind::NotFound);
    }
}

/// The pid an `InUse` must tell: `pid`, unless the mechanism knows no pids at all.
fn assert_in_use<T: Transport>(kind: SetupErrorKind, pid: u32) {
    match kind {
        SetupErrorKind::InUse { pid: Some(told) } => assert_eq!(told, pid, "the pid is the listener's"),
        SetupErrorKind::InUse { pid: None } => assert_eq!(T::NAME, "tcp", "only tcp knows no pids"),
        other => panic!("{other:?}"),
    }
}

/// A second listener on a live address is refused, `InUse` with the pid, and does not harm the first.
pub fn a_second_listener_is_refused<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    for _ in 0..3 {
        let second = T::listen(listener.address(), &T::Options::default());
        assert_in_use::<T>(refusal(second), std::process::id());
    }
    let (mut server, mut client) = meet::<T>(&mut listener);
    talk::<T>(&mut server, &mut client);
}

/// The same when the first listener is another process.
pub fn a_listener_of_another_process_is_not_replaced<T: Transport>(place: &Place) {
    let mut peer = place.spawn::<T>("listen", &place.address::<T>().to_string());
    let at = place.heard_address(&mut peer);
    assert_in_use::<T>(refusal(T::listen(&at, &T::Options::default())), peer.id());
    let mut client = connect::<T>(&at).unwrap_or_else(|error| panic!("{error}"));
    assert!(client.peer.pid.is_none_or(|pid| pid == peer.id()), "{:?}", client.peer);
    send(&mut client.tx, 1, 1);
    expect(&mut client.rx, 1, 1);
}

/// A killed listener's address answers `NotFound` and is taken over by the next; nothing of either is left at the end.
pub fn a_killed_listeners_address_is_taken_over<T: Transport>(place: &Place) {
    let mut peer = place.spawn::<T>("listen", &place.address::<T>().to_string());
    let at = place.heard_address(&mut peer);
    drop(peer);
    assert_eq!(refusal(connect::<T>(&at)), SetupErrorKind::NotFound);
    let mut listener = listen::<T>(&at);
    let (mut server, mut client) = meet::<T>(&mut listener);
    talk::<T>(&mut server, &mut client);
    drop((listener, server, client));
    assert_eq!(place.files(), [] as [String; 0], "left behind");
}

/// `accept` answers `TimedOut` to `Never`, and after a deadline, not before it.
pub fn accept_waits_as_told<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    assert_eq!(refusal(listener.accept(Wait::Never)), SetupErrorKind::TimedOut);
    let deadline = Instant::now() + Duration::from_millis(20);
    assert_eq!(refusal(listener.accept(Wait::Until(deadline))), SetupErrorKind::TimedOut);
    assert!(Instant::now() >= deadline, "gave up before the deadline");
}

/// A client whose listener never accepts gets `TimedOut` after its deadline, not before it, and does not harm the next.
pub fn a_client_nobody_accepts_times_out<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    let deadline = Instant::now() + Duration::from_millis(20);
    let answer = T::connect(listener.address(), &T::Options::default(), Wait::Until(deadline));
    assert_eq!(refusal(answer), SetupErrorKind::TimedOut);
    assert!(Instant::now() >= deadline, "gave up before the deadline");
    let (mut server, mut client) = meet::<T>(&mut listener);
    talk::<T>(&mut server, &mut client);
}

/// A client whose listener leaves before it is let in hears `HungUp`, or `NotFound` if it came too late, however long it
/// would have waited.
pub fn a_listener_that_leaves_tells_the_clients_it_has_not_let_in<T: Transport>(place: &Place) {
    let mut at = place.address::<T>();
    // Sometimes the client is first, sometimes the listener's end: the later rounds give the client more turns.
    for round in 0..20 {
        let listener = listen::<T>(&at);
        at = listener.address().clone();
        thread::scope(|scope| {
            let client = scope.spawn(|| T::connect(&at, &T::Options::default(), Wait::Forever));
            (0..round * 20).for_each(|_| thread::yield_now());
            drop(listener);
            let kind = refusal(client.join().expect("a thread"));
            assert!(matches!(kind, SetupErrorKind::HungUp | SetupErrorKind::NotFound), "{kind:?}");
        });
    }
}

/// A dropped listener leaves no file; its connections live on, and its address is free again.
pub fn a_dropped_listener_leaves_its_connections<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    let at = listener.address().clone();
    let (mut server, mut client) = meet::<T>(&mut listener);
    drop(listener);
    assert_eq!(place.files(), [] as [String; 0], "left behind");
    talk::<T>(&mut server, &mut client);
    assert_eq!(refusal(connect::<T>(&at)), SetupErrorKind::NotFound);
    drop(listen::<T>(&at));
}

/// What a listener puts into the file system nobody else can use: every file is 0600.
pub fn a_listeners_files_are_private<T: Transport>(place: &Place) {
    let listener = listen::<T>(&place.address::<T>());
    if matches!(listener.address().target(), Target::Path(_)) {
        assert!(!place.files().is_empty(), "a path address has a file");
    }
    for file in place.files() {
        let found = std::fs::symlink_metadata(place.directory().join(&file)).expect("it was just listed");
        assert_eq!(found.mode() & 0o7777, 0o600, "{file}");
    }
}

/// An option that does not exist, or has a value that makes no sense, is `BadAddress` and names itself.
pub fn a_wrong_option_is_a_bad_address<T: Transport>(place: &Place) {
    for (key, value) in [("no_such_option", "1"), ("max_message", "many")] {
        let address = place.address::<T>().with_option(key, value).expect("an address");
        for answer in [
            T::listen(&address, &T::Options::default()).map(drop),
            T::connect(&address, &T::Options::default(), Wait::Never).map(drop),
        ] {
            let error = answer.expect_err("this must be refused");
            assert_eq!(error.kind, SetupErrorKind::BadAddress, "{error}");
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}

/// The smaller `max_message` of the two sides binds both; a field set in the options wins over the address.
pub fn the_smaller_maximum_binds_both<T: Transport>(place: &Place) {
    let with = |value: &str| {
        let mut options = T::Options::default();
        options.fill("max_message", value).expect("every transport has max_message");
        options
    };
    let at = place.address::<T>().with_option("max_message", "3000").expect("an address");
    let mut listener = T::listen(&at, &with("2000")).unwrap_or_else(|error| panic!("{error}"));
    let to = listener.address().clone();
    thread::scope(|scope| {
        let client = scope.spawn(move || T::connect(&to, &with("1000"), patiently()));
        let mut server = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
        let mut client = client.join().expect("a thread").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((server.tx.max_message(), client.tx.max_message()), (1000, 1000));
        send(&mut server.tx, 1, 1000);
        expect(&mut client.rx, 1, 1000);
    });
}

/// A client that speaks nonsense, goes away at once or says nothing at all costs that client only.
pub fn a_broken_client_costs_only_itself<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    let mut silent = Vec::new();
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 4096], b""] {
        drop(stranger(listener.address(), noise));
    }
    silent.push(stranger(listener.address(), b""));
    let (mut server, mut client) = meet::<T>(&mut listener);
    talk::<T>(&mut server, &mut client);
    drop(silent);
}

/// Connects to where `address` listens without being one of ours, and says `noise`.
fn stranger(address: &Address, noise: &[u8]) -> Option<Box<dyn Send>> {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};
    match address.target() {
        Target::Inet(at) => {
            let mut socket = std::net::TcpStream::connect(at).expect("the listener is there");
            let _ = socket.write_all(noise);
            Some(Box::new(socket))
        }
        Target::Path(path) => match UnixStream::connect(path) {
            Ok(mut socket) => {
                let _ = socket.write_all(noise);
                Some(Box::new(socket))
            }
            Err(_) => {
                let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None);
                let socket = socket.expect("a socket");
                let path = SocketAddrUnix::new(path.as_path()).expect("a short path");
                rustix::net::connect(&socket, &path).expect("the listener is there");
                let _ = rustix::net::send(&socket, noise, SendFlags::NOSIGNAL);
                Some(Box::new(socket))
            }
        },
        _ => None,
    }
}

/// A close on one connection of a listener is not a close of another.
pub fn one_clients_end_is_its_own<T: Transport>(place: &Place) {
    let mut listener = listen::<T>(&place.address::<T>());
    let (mut server, client) = meet::<T>(&mut listener);
    let (mut other_server, mut other_client) = meet::<T>(&mut listener);
    drop(client);
    let answer = server.rx.recv_with(&mut Vec::new(), patiently());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
    talk::<T>(&mut other_server, &mut other_client);
}
