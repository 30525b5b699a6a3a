//! One thread, many connections: wait sets, listeners in them, servers of many clients, and the end of descriptors.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ipc_tests::end::{PATIENCE, patiently};
use ipc_tests::place::Place;
use ipc_tests::run::options;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::message::Message;
use ipc_transports::rpc::{CallError, Client, MultiServer, Request};
use ipc_transports::{
    Armed, InProc, Listener, Mq, Pipe, Pollable, ReadySet, Receiver, RecvError, Sender, SetupErrorKind, Shm,
    ShmDirect, Tcp, Transport, Uds, UdsOptions, UdsReceiver, UdsSender, UdsSeqpacket, Wait, WaitSet,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// The descriptor limit belongs to the process: one test at a time.
static DESCRIPTORS: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    DESCRIPTORS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[derive(Serialize, Deserialize)]
struct Add(u64, u64);
impl Message for Add {
    const MESSAGE_TYPE: &'static str = "test.add/1";
}
impl Request for Add {
    type Reply = u64;
}

fn add(Add(a, b): Add) -> u64 {
    a + b
}

type UdsClient = Client<Add, UdsSender, UdsReceiver>;

fn connect(to: &ipc_transports::Address) -> UdsClient {
    Client::new(Uds::connect(to, &UdsOptions::default(), patiently()).unwrap())
}

/// Lets the soft limit rise to the hard one and returns it.
fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: limit.maximum }).unwrap();
    hard
}

#[test]
fn one_thread_serves_a_thousand_clients() {
    let _turn = one_at_a_time();
    let _watchdog = Watchdog::over("one_thread_serves_a_thousand_clients");
    const CLIENTS: u64 = 1000;
    // Two sockets and a pidfd on each side, and what else a test process has open.
    assert!(raise_descriptor_limit() > 6 * CLIENTS + 100, "raise RLIMIT_NOFILE to run this test");
    let place = Place::new(None);
    let listener = Uds::listen(&place.address::<Uds>(), &UdsOptions::default()).unwrap();
    let to = listener.address().clone();
    let mut server = MultiServer::new(listener, WaitSet::new().unwrap());
    thread::scope(|scope| {
        let callers = scope.spawn(|| {
            let mut clients: Vec<UdsClient> = (0..CLIENTS).map(|_| connect(&to)).collect();
            for round in 0..3 {
                // All calls are under way before the first reply is looked at.
                let calls: Vec<_> = clients
                    .iter_mut()
                    .zip(0..)
                    .map(|(client, n)| client.start(&Add(n, round), patiently()).unwrap())
                    .collect();
                for ((client, call), n) in clients.iter_mut().zip(&calls).zip(0..) {
                    assert_eq!(client.reply(call, patiently()).unwrap(), n + round);
                }
            }
        });
        let (mut served, mut most) = (0, 0);
        while !callers.is_finished() || server.clients() > 0 {
            served += server.turn(add, Wait::within(Duration::from_millis(20))).unwrap();
            most = most.max(server.clients());
        }
        callers.join().unwrap();
        assert_eq!((served as u64, most as u64), (3 * CLIENTS, CLIENTS));
    });
    assert_eq!(server.lost_clients(), 0);
}

/// With hardly a descriptor left, clients wait for their turn instead of being sent away, and those inside are served.
#[test]
fn out_of_descriptors_accepting_pauses_and_recovers() {
    let _turn = one_at_a_time();
    let _watchdog = Watchdog::over("out_of_descriptors");
    let place = Place::new(None);
    let listener = Uds::listen(&place.address::<Uds>(), &UdsOptions::default()).unwrap();
    let to = listener.address().clone();
    let mut server = MultiServer::new(listener, WaitSet::new().unwrap());
    let mut inside = connect_with_server(&mut server, &to);
    // The outsider's own descriptors are made before the limit falls: it only has to say its hello.
    let (knocked, knocks) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let limit = getrlimit(Resource::Nofile);
        let outsider = scope.spawn(|| {
            let socket = std::os::unix::net::UnixStream::connect(path_of(&to)).unwrap();
            knocked.send(()).unwrap();
            socket
        });
        knocks.recv().unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(open + 3), maximum: limit.maximum }).unwrap();
        let mut socket = outsider.join().unwrap();
        std::io::Write::write_all(&mut socket, &hello_of_a_client()).unwrap();
        // It is not let in, however often the server looks, and the client inside is served meanwhile.
        for n in 0..20 {
            let call = inside.start(&Add(n, n), patiently()).unwrap();
            let reply = loop {
                server.turn(add, Wait::within(Duration::from_millis(5))).unwrap();
                match inside.reply(&call, Wait::Never) {
                    Err(CallError::NotYet) => {}
                    done => break done,
                }
            };
            assert_eq!(reply.unwrap(), 2 * n);
            assert_eq!(server.clients(), 1);
        }
        // With nobody to serve it waits, and does not ask again and again.
        let (began, used) = (Instant::now(), used_by_this_thread());
        while began.elapsed() < Duration::from_millis(400) {
            server.turn(add, Wait::within(Duration::from_millis(200))).unwrap();
        }
        let share = (used_by_this_thread() - used).as_secs_f64() / began.elapsed().as_secs_f64();
        setrlimit(Resource::Nofile, limit).unwrap();
        assert!(share <= 0.05, "{:.1} % of a CPU to wait for a descriptor", 100.0 * share);
        while server.clients() < 2 {
            server.turn(add, patiently()).unwrap();
        }
    });
}

/// CPU time of this thread so far.
fn used_by_this_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a client says first.
fn hello_of_a_client() -> [u8; 64] {
    use ipc_transports::hello::Hello;
    let layout = Hello::layout_of("uds stream frame/1");
    let (max_message, cpus) = (1000, 2);
    let hello =
        Hello { flags: 0, layout, max_message, capacity: 0, fingerprint: 0, nonce: 1, cpus, first_cpu: 0 };
    hello.encode()
}

fn path_of(address: &ipc_transports::Address) -> &std::path::Path {
    match address.target() {
        ipc_transports::Target::Path(path) => path,
        other => panic!("{other:?}"),
    }
}

fn connect_with_server<L, S>(server: &mut MultiServer<L, S>, to: &ipc_transports::Address) -> UdsClient
where
    L: Listener + Pollable,
    L::Tx: Pollable,
    L::Rx: Pollable,
    S: ReadySet,
    MultiServer<L, S>: Send,
{
    let before = server.clients();
    thread::scope(|scope| {
        let client = scope.spawn(|| connect(to));
        while server.clients() == before {
            server.turn(add, Wait::within(Duration::from_millis(10))).unwrap();
        }
        client.join().unwrap()
    })
}

/// A client that never takes its replies stops itself; the others are served, and memory does not grow.
#[test]
fn a_client_that_does_not_read_stops_only_itself() {
    let _turn = one_at_a_time();
    let _watchdog = Watchdog::over("a_client_that_does_not_read");
    let place = Place::new(None);
    let listener = Uds::listen(&place.address::<Uds>(), &UdsOptions::default()).unwrap();
    let to = listener.address().clone();
    let mut server = MultiServer::new(listener, WaitSet::new().unwrap());
    let mut deaf = connect_with_server(&mut server, &to);
    let mut other = connect_with_server(&mut server, &to);
    // A request as the client sends it, without a client that would take replies in when there is no space.
    let mut request = vec![0; 9];
    ipc_transports::codec::encode(&Add(1, 2), &mut request).unwrap();
    let tx = &mut deaf.connection().unwrap().tx;
    let mut asked = 0u64;
    let mut idle_turns = 0;
    while idle_turns < 3 {
        let taken = tx.try_send(&request).is_ok();
        let served = server.turn(add, Wait::Never).unwrap();
        asked += u64::from(taken);
        idle_turns = if taken || served > 0 { 0 } else { idle_turns + 1 };
    }
    assert!(asked > 100);
    let call = other.start(&Add(3, 4), patiently()).unwrap();
    while server.turn(add, patiently()).unwrap() == 0 {}
    assert_eq!(other.reply(&call, patiently()).unwrap(), 7);
    // Once it reads again, it gets every reply.
    let rx = &mut deaf.connection().unwrap().rx;
    let (mut replies, mut message) = (0, Vec::new());
    while replies < asked {
        match rx.try_recv(&mut message) {
            Ok(_) => replies += 1,
            Err(RecvError::Empty) => drop(server.turn(add, Wait::within(Duration::from_millis(5))).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every mechanism in one set: halves and listeners, woken by what they wait for and by nothing else.
fn a_set_hears<T>(with: &str)
where
    T: Transport<Tx: Pollable, Rx: Pollable, Listener: Pollable>,
{
    let _turn = ipc_tests::turn::Turn::of::<T>(with);
    let _watchdog = Watchdog::over(&format!("a_set_hears {}", T::NAME));
    let place = Place::new(None);
    let at = match T::NAME {
        "inproc" => format!("inproc:set-{}", std::process::id()).parse().unwrap(),
        _ => place.address::<T>(),
    };
    let mut set = WaitSet::new().unwrap();
    let mut ready = Vec::new();
    let mut listener = T::listen(&at, &options::<T>(with)).unwrap();
    let to = listener.address().clone();
    // Nobody is there.
    assert!(matches!(listener.accept(Wait::Never), Err(error) if error.kind == SetupErrorKind::TimedOut));
    assert_eq!(set.watch(0, &mut listener).unwrap(), Armed::MaySleep);
    set.wait(Wait::Never, &mut ready).unwrap();
    assert!(ready.is_empty(), "{ready:?}");
    thread::scope(|scope| {
        let mut ends: Vec<ipc_transports::Pair<T>> = Vec::new();
        for _ in 0..3 {
            let client = scope.spawn(|| T::connect(&to, &options::<T>(with), patiently()).unwrap());
            let server = loop {
                match listener.accept(Wait::Never) {
                    Ok(server) => break server,
                    Err(error) if error.kind == SetupErrorKind::TimedOut => {}
                    Err(error) => panic!("{error}"),
                }
                if set.watch(0, &mut listener).unwrap() == Armed::MaySleep {
                    set.wait(Wait::within(PATIENCE), &mut ready).unwrap();
                    assert_eq!(ready, [0], "the listener was not woken by its client");
                    listener.disarm();
                }
            };
            ends.push((server, client.join().unwrap()));
        }
        let mut message = Vec::new();
        for round in 0..50 {
            let at = round % ends.len();
            for (key, (server, _)) in ends.iter_mut().enumerate() {
                assert!(matches!(server.rx.try_recv(&mut message), Err(RecvError::Empty)));
                assert_eq!(set.watch(1 + key, &mut server.rx).unwrap(), Armed::MaySleep);
            }
            ends[at].1.tx.send(&[round as u8; 20]).unwrap();
            loop {
                set.wait(Wait::within(PATIENCE), &mut ready).unwrap();
                assert!(!ready.is_empty(), "round {round}: nothing woke the set");
                ready.iter().for_each(|key| ends[key - 1].0.rx.disarm());
                if ready.contains(&(1 + at)) && ends[at].0.rx.try_recv(&mut message).is_ok() {
                    break;
                }
            }
            assert_eq!(message, [round as u8; 20]);
        }
        // A close is heard too.
        let (mut server, client) = ends.pop().unwrap();
        assert_eq!(set.watch(3, &mut server.rx).unwrap(), Armed::MaySleep);
        drop(client);
        set.wait(Wait::within(PATIENCE), &mut ready).unwrap();
        assert!(ready.contains(&3), "the close woke {ready:?}");
        set.unwatch(3, &mut server.rx).unwrap();
        for (key, (server, _)) in ends.iter_mut().enumerate() {
            set.unwatch(1 + key, &mut server.rx).unwrap();
        }
    });
    set.unwatch(0, &mut listener).unwrap();
    assert!(set.is_empty());
}

#[test]
fn a_set_hears_every_mechanism() {
    let _turn = one_at_a_time();
    a_set_hears::<Uds>("");
    a_set_hears::<UdsSeqpacket>("");
    a_set_hears::<Tcp>("");
    a_set_hears::<Pipe>("");
    a_set_hears::<Shm>("");
    a_set_hears::<InProc>("");
    a_set_hears::<ShmDirect>("");
    a_set_hears::<Mq>("depth=4&max_message=1024");
}

/// A client that connects and says nothing is dropped after its second, which wakes the armed listener: the places of
/// the silent are free again without anybody else coming.
#[test]
fn the_silence_of_a_client_wakes_an_armed_listener() {
    let _turn = one_at_a_time();
    let _watchdog = Watchdog::over("the_silence_of_a_client");
    let place = Place::new(None);
    let mut listener = Uds::listen(&place.address::<Uds>(), &UdsOptions::default()).unwrap();
    let mut silent = std::os::unix::net::UnixStream::connect(path_of(listener.address())).unwrap();
    let mut set = WaitSet::new().unwrap();
    let mut ready = Vec::new();
    while listener.accept(Wait::Never).is_err() && set.watch(0, &mut listener).unwrap() == Armed::Ready {}
    set.wait(Wait::within(PATIENCE), &mut ready).unwrap();
    assert_eq!(ready, [0]);
    assert!(listener.accept(Wait::Never).is_err());
    // It was sent away.
    silent.set_nonblocking(true).unwrap();
    assert_eq!(std::io::Read::read(&mut silent, &mut [0]).unwrap(), 0);
}
