//! Checks that need a process of their own: what it leaves behind, what it allocates, where it may run, what its
//! environment denies it. The program `alone` runs one of them per process.

use std::io::IoSlice;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ipc_transports::{
    Address, Listener, Receiver, RecvError, SendError, Sender, SetupErrorKind, Target, Transport, Wait,
};

use crate::contract::{death, ending, listening, messages, waiting};
use crate::end::{Random, check, expect, message, patiently, send};
use crate::place::Place;
use crate::run::{Ends, across_two_processes, in_one_process};
use crate::table::Sentence;
use crate::traces::Traces;

/// A check of transport `T`; it is given the path of the program `peer`.
pub type Check = fn(&'static str);

/// The checks every transport has, by name.
pub fn checks<T: Transport>() -> Vec<(&'static str, Check)> {
    vec![
        ("nothing_is_left_behind", nothing_is_left_behind::<T>),
        ("hot_paths_allocate_nothing", hot_paths_allocate_nothing::<T>),
        ("one_cpu_is_enough", one_cpu_is_enough::<T>),
        ("a_missing_feature_is_replaced_or_named", a_missing_feature_is_replaced_or_named::<T>),
        ("names_live_in_a_private_directory", names_live_in_a_private_directory::<T>),
        ("a_forked_child_is_told_so", a_forked_child_is_told_so::<T>),
        ("running_out_of_descriptors_is_a_limit", running_out_of_descriptors_is_a_limit::<T>),
        ("ping_pong", ping_pong::<T>),
    ]
}

/// One round of everything a connection can go through: a pair, a listener with a client here, one in another process,
/// a close, a death, an armed half.
fn a_life<T: Transport>(peer: &'static str) {
    in_one_process::<T>("order", "", messages::messages_arrive_in_order::<T>);
    in_one_process::<T>("full", "", waiting::a_full_link_takes_nothing::<T>);
    across_two_processes::<T>(
        peer,
        "ending::the_sender_sees_the_close",
        "",
        Ends::ByItself,
        ending::the_sender_sees_the_close::<T>,
    );
    across_two_processes::<T>(
        peer,
        "death::a_waiting_receiver_is_told_of_a_killed_peer",
        "",
        Ends::Killed,
        death::a_waiting_receiver_is_told_of_a_killed_peer::<T>,
    );
    let place = Place::new(Some(Path::new(peer)));
    listening::a_second_listener_is_refused::<T>(&place);
    listening::nobody_listening_is_not_found::<T>(&place);
    listening::a_client_nobody_accepts_times_out::<T>(&place);
    listening::a_killed_listeners_address_is_taken_over::<T>(&place);
    assert_eq!(place.files(), [] as [String; 0], "left behind");
}

/// After lives of connections, ended in every way, the process holds what it held: descriptors, mappings, threads,
/// children; and of mq as many connections can be opened as before.
fn nothing_is_left_behind<T: Transport>(peer: &'static str) {
    // The first life pays for what a process sets up once.
    a_life::<T>(peer);
    let (before, room) = (settled(), room_for_connections::<T>());
    for _ in 0..3 {
        a_life::<T>(peer);
    }
    let (after, room_after) = (settled(), room_for_connections::<T>());
    assert_eq!(after.beyond(&before), "", "left behind");
    assert_eq!(room_after, room, "connections that can be open at once");
}

/// What this process holds once the watchdogs of finished tests have gone: their threads end by themselves.
fn settled() -> Traces {
    let enough = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let threads = std::fs::read_dir("/proc/self/task").expect("procfs").count();
        // The main thread and the watchdog of `alone` itself.
        if threads <= 2 || std::time::Instant::now() > enough {
            return Traces::now();
        }
        thread::yield_now();
    }
}

/// How many connections can be open at once, up to eight.
fn room_for_connections<T: Transport>() -> usize {
    let _turn = crate::turn::Turn::of::<T>("");
    let open: Vec<_> = (0..8).map_while(|_| T::pair(&T::Options::default()).ok()).collect();
    open.len()
}

/// Sending and receiving allocate nothing once the buffers have grown: single, gathered, in batches, `Full`, `Empty`
/// and after a deadline.
fn hot_paths_allocate_nothing<T: Transport>(_: &'static str) {
    let _turn = crate::turn::Turn::of::<T>("");
    let (mut left, mut right) = T::pair(&T::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut buf = Vec::new();
    let sizes = [0, 64, 1024, 4096, 60_000].map(|len| message(len as u64, len.min(left.tx.max_message())));
    let mut round = |rounds: usize| {
        for bytes in sizes.iter().cycle().take(rounds * sizes.len()) {
            let (front, back) = bytes.split_at(bytes.len() / 2);
            left.tx.send(bytes).expect("the link is empty");
            right.rx.recv(&mut buf).expect("a message is there");
            assert!(buf == *bytes);
            left.tx.send_with(&[IoSlice::new(front), IoSlice::new(back)], patiently()).expect("it is empty");
            right.rx.recv_each(4, patiently(), |lent| assert!(lent == bytes)).expect("a message is there");
        }
        let small = [IoSlice::new(b"one"), IoSlice::new(b"two"), IoSlice::new(b"three")];
        let taken = left.tx.send_batch(&small, patiently()).expect("the link is empty");
        let mut got = 0;
        while got < taken {
            got += right.rx.recv_each(8, patiently(), |_| ()).expect("messages are there");
        }
        assert!(matches!(right.rx.try_recv(&mut buf), Err(RecvError::Empty)));
        let soon = Wait::within(Duration::from_millis(1));
        assert!(matches!(right.rx.recv_with(&mut buf, soon), Err(RecvError::TimedOut)));
    };
    round(20);
    let counted = allocation_counter::measure(|| round(50));
    assert_eq!(
        (counted.count_total, counted.bytes_total),
        (0, 0),
        "allocations and their bytes over 50 rounds"
    );
}

/// With both sides on one CPU everything still moves: nobody spins away the time slice the other needs.
fn one_cpu_is_enough<T: Transport>(peer: &'static str) {
    let allowed = rustix::thread::sched_getaffinity(None).expect("the mask is readable");
    let cpu =
        (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("at least one CPU");
    let mut one = rustix::thread::CpuSet::new();
    one.set(cpu);
    rustix::thread::sched_setaffinity(None, &one).expect("a CPU we already have");
    work::<T>(peer);
}

/// Every essential sentence, in one process and across two.
fn work<T: Transport>(peer: &'static str) {
    let sentences: [Sentence<T>; 6] = [
        ("messages::messages_arrive_in_order", messages::messages_arrive_in_order),
        ("messages::both_directions_at_once", messages::both_directions_at_once),
        ("waiting::a_message_ends_the_wait_for_it", waiting::a_message_ends_the_wait_for_it),
        ("waiting::a_full_link_takes_nothing", waiting::a_full_link_takes_nothing),
        ("waiting::space_ends_the_wait_for_it", waiting::space_ends_the_wait_for_it),
        ("ending::close_is_seen_after_the_last_message", ending::close_is_seen_after_the_last_message),
    ];
    for (name, sentence) in sentences {
        in_one_process::<T>(name, "", sentence);
        across_two_processes::<T>(peer, name, "", Ends::ByItself, sentence);
    }
    let sentences: [Sentence<T>; 4] = [
        (
            "death::a_waiting_receiver_is_told_of_a_killed_peer",
            death::a_waiting_receiver_is_told_of_a_killed_peer,
        ),
        (
            "death::a_waiting_sender_is_told_of_a_killed_peer",
            death::a_waiting_sender_is_told_of_a_killed_peer,
        ),
        (
            "death::a_receiver_with_a_deadline_is_told_of_a_killed_peer",
            death::a_receiver_with_a_deadline_is_told_of_a_killed_peer,
        ),
        (
            "death::a_sender_that_did_not_wait_is_told_of_a_killed_peer",
            death::a_sender_that_did_not_wait_is_told_of_a_killed_peer,
        ),
    ];
    for (name, sentence) in sentences {
        across_two_processes::<T>(peer, name, "", Ends::Killed, sentence);
    }
}

/// With the feature denied that `IPC_DENY_FEATURES` names, the transport works, or refuses and names the feature.
fn a_missing_feature_is_replaced_or_named<T: Transport>(peer: &'static str) {
    let denied = std::env::var(ipc_transports::DENY_VARIABLE).expect("the test denies a feature");
    match T::pair(&T::Options::default()) {
        Ok(pair) => drop(pair),
        Err(error) => {
            assert_eq!(error.kind, SetupErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(&denied), "does not name {denied}: {error}");
            let at = Place::new(None).address::<T>();
            let listen = T::listen(&at, &T::Options::default()).map(drop).expect_err("nor listens");
            assert_eq!(listen.kind, SetupErrorKind::Unsupported, "{listen}");
            let connect = T::connect(&at, &T::Options::default(), Wait::Never).map(drop);
            assert_eq!(connect.expect_err("nor connects").kind, SetupErrorKind::Unsupported);
            return println!("refused: {error}");
        }
    }
    work::<T>(peer);
}

/// A name lives below `XDG_RUNTIME_DIR`, without it below the temporary directory, in a directory that is 0700 and
/// ours; one that others can enter is refused.
fn names_live_in_a_private_directory<T: Transport>(_: &'static str) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if T::NAME == "tcp" {
        return;
    }
    let _turn = crate::turn::Turn::of::<T>("");
    let uid = rustix::process::geteuid().as_raw();
    let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => Path::new(&runtime).join("ipc"),
        None => std::env::temp_dir().join(format!("ipc-{uid}")),
    };
    let name = format!("n{:016x}", Random::seed());
    let at = Address::new(T::NAME, Target::Name(name.clone())).expect("a name");
    let mut listener = T::listen(&at, &T::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let found = std::fs::symlink_metadata(&directory).expect("the directory of names");
    assert_eq!((found.permissions().mode() & 0o7777, found.uid()), (0o700, uid), "{}", directory.display());
    let socket = directory.join(format!("{}.{name}", T::NAME));
    let mode = std::fs::symlink_metadata(&socket).expect("the listener's socket").mode();
    assert_eq!(mode & 0o7777, 0o600, "{}", socket.display());
    thread::scope(|scope| {
        let client = scope.spawn(|| T::connect(&at, &T::Options::default(), patiently()));
        let mut server = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
        let mut client = client.join().expect("a thread").unwrap_or_else(|error| panic!("{error}"));
        send(&mut client.tx, 1, 10);
        expect(&mut server.rx, 1, 10);
    });
    drop(listener);
    assert_eq!(std::fs::read_dir(&directory).expect("the directory of names").count(), 0, "left behind");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("our directory");
    let error = T::listen(&at, &T::Options::default()).map(drop).expect_err("others can enter the directory");
    assert_eq!(error.kind, SetupErrorKind::Denied, "{error}");
}

/// A connection used in a forked child answers `Forked`, and neither that nor the child's end disturbs its owner.
fn a_forked_child_is_told_so<T: Transport>(_: &'static str) {
    let _turn = crate::turn::Turn::of::<T>("");
    let (mut left, mut right) = T::pair(&T::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    send(&mut left.tx, 1, 10);
    expect(&mut right.rx, 1, 10);
    send(&mut left.tx, 2, 10);
    let status = crate::fork::in_forked_child(|| {
        let mut buf = Vec::new();
        [Wait::Never, patiently(), Wait::Forever].into_iter().all(|wait| {
            matches!(left.tx.send_with(&[IoSlice::new(b"x")], wait), Err(SendError::Forked))
                && matches!(left.tx.send_batch(&[IoSlice::new(b"x")], wait), Err(SendError::Forked))
                && matches!(right.rx.recv_with(&mut buf, wait), Err(RecvError::Forked))
                && matches!(right.rx.recv_each(1, wait, |_| ()), Err(RecvError::Forked))
        })
    });
    assert_eq!(status, 0, "a forked child was not told so");
    // A child that drops the halves must not end the connection of its owner.
    let mut connection = Some((left, right));
    let status = crate::fork::in_forked_child(|| {
        drop(connection.take());
        true
    });
    assert_eq!(status, 0, "a forked child could not drop the connection");
    let (mut left, mut right) = connection.take().expect("the child took its own copy");
    expect(&mut right.rx, 2, 10);
    send(&mut right.tx, 3, 10);
    expect(&mut left.rx, 3, 10);
    let mut buf = Vec::new();
    drop(left);
    let answer = right.rx.recv_with(&mut buf, patiently());
    assert!(matches!(answer, Err(RecvError::Closed)), "{answer:?}");
}

/// Without a descriptor left, a connection does not come into being and says which limit it is; with descriptors again,
/// it does, and nothing was lost.
fn running_out_of_descriptors_is_a_limit<T: Transport>(_: &'static str) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let _turn = crate::turn::Turn::of::<T>("");
    drop(T::pair(&T::Options::default()).unwrap_or_else(|error| panic!("{error}")));
    let before = Traces::now();
    let limit = getrlimit(Resource::Nofile);
    let used = std::fs::read_dir("/proc/self/fd").expect("procfs").count() as u64 - 1;
    for spare in 0..40 {
        let tight = Rlimit { current: Some(used + spare), maximum: limit.maximum };
        setrlimit(Resource::Nofile, tight).expect("a lower limit");
        let made = T::pair(&T::Options::default());
        setrlimit(Resource::Nofile, limit).expect("the limit we had");
        match made {
            Ok(pair) => {
                assert!(spare > 0, "a connection needs descriptors");
                drop(pair);
                assert_eq!(Traces::now().beyond(&before), "", "left behind");
                return;
            }
            Err(error) => {
                let is_limit = matches!(error.kind, SetupErrorKind::Limit { name: "RLIMIT_NOFILE", .. });
                assert!(is_limit, "with {spare} descriptors left: {error}");
                assert_eq!(Traces::now().beyond(&before), "", "left behind with {spare} descriptors left");
            }
        }
    }
    panic!("forty descriptors are not enough for one connection");
}

/// Rounds of `ping_pong`, from the environment.
pub const ROUNDS_VARIABLE: &str = "IPC_TESTS_ROUNDS";

/// Bytes of each message of `ping_pong`, from the environment.
pub const BYTES_VARIABLE: &str = "IPC_TESTS_BYTES";

/// Not a check but something to watch: round trips with the program `peer` for a tracer to count.
fn ping_pong<T: Transport>(peer: &'static str) {
    let number = |name: &str| -> usize {
        let text = std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let (rounds, len) = (number(ROUNDS_VARIABLE), number(BYTES_VARIABLE));
    let _turn = crate::turn::Turn::of::<T>("");
    let place = Place::new(Some(Path::new(peer)));
    let mut listener =
        T::listen(&place.address::<T>(), &T::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let echo = place.spawn::<T>("echo", &listener.address().to_string());
    let mut connection = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
    let (bytes, mut buf) = (message(1, len), Vec::with_capacity(2 * len));
    for _ in 0..rounds {
        connection.tx.send(&bytes).expect("the echo receives");
        connection.rx.recv(&mut buf).expect("the echo answers");
    }
    check(&buf, 1, len);
    drop(connection);
    echo.finish();
}
