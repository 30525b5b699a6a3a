//! What is special about `mq`: priorities, limits that belong to the user, and queues that would outlive their process.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use ipc_tests::end::patiently;
use ipc_tests::place::Place;
use ipc_tests::queue;
use ipc_tests::turn::Turn;
use ipc_transports::{
    Listener, Mq, MqOptions, Order, Receiver, RecvError, SendError, Sender, SetupErrorKind, Transport, Wait,
};

fn small() -> MqOptions {
    MqOptions { depth: Some(4), max_message: Some(64), ..MqOptions::default() }
}

fn by_priority() -> MqOptions {
    MqOptions { order: Some(Order::Priority), ..small() }
}

/// Where the records of queues in the making lie.
fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(runtime) => PathBuf::from(runtime).join("ipc"),
        None => std::env::temp_dir().join(format!("ipc-{}", rustix::process::geteuid().as_raw())),
    }
}

#[test]
fn a_higher_priority_overtakes_what_waits() {
    let _turn = Turn::of::<Mq>("");
    let (mut one, mut other) = Mq::pair(&by_priority()).unwrap();
    one.tx.send(b"first").unwrap();
    one.tx.send(b"second").unwrap();
    one.tx.send_with_priority(b"urgent", 31, Wait::Never).unwrap();
    one.tx.send_with_priority(b"soon", 9, Wait::Never).unwrap();
    let mut received = Vec::new();
    other.rx.recv_each(4, Wait::Never, |message| received.push(message.to_vec())).unwrap();
    assert_eq!(received, [&b"urgent"[..], b"soon", b"first", b"second"]);
    let answer = one.tx.send_with_priority(b"x", 32, Wait::Never);
    assert!(matches!(answer, Err(SendError::Io(error)) if error.kind() == ErrorKind::InvalidInput));
}

#[test]
fn priorities_need_both_sides() {
    let _turn = Turn::of::<Mq>("");
    let place = Place::new(None);
    let mut listener = Mq::listen(&place.address::<Mq>(), &small()).unwrap();
    let to = listener.address().clone();
    let client = std::thread::spawn(move || Mq::connect(&to, &by_priority(), patiently()));
    let mut here = listener.accept(patiently()).unwrap();
    let mut there = client.join().unwrap().unwrap();
    for tx in [&mut here.tx, &mut there.tx] {
        let answer = tx.send_with_priority(b"x", 1, Wait::Never);
        assert!(matches!(answer, Err(SendError::Io(error)) if error.kind() == ErrorKind::InvalidInput));
        tx.send(b"in order").unwrap();
    }
}

#[test]
fn a_foreign_priority_is_corrupt() {
    let _turn = Turn::of::<Mq>("");
    let (mut one, mut other) = Mq::pair(&MqOptions { priority: Some(3), ..small() }).unwrap();
    one.tx.send(b"ours").unwrap();
    let mut buf = Vec::new();
    assert_eq!(other.rx.try_recv(&mut buf).unwrap(), 4);
    assert!(queue::inject(b"foreign", 4) >= 2, "both queues are ours to find");
    for _ in 0..2 {
        let answer = other.rx.try_recv(&mut buf);
        assert!(matches!(answer, Err(RecvError::Corrupt { .. })), "{answer:?}");
        assert!(buf.is_empty());
    }
}

#[test]
fn a_queue_beyond_a_limit_is_refused_with_the_limit_and_the_fix() {
    let _turn = Turn::of::<Mq>("");
    let refused = |options: &MqOptions| Mq::pair(options).unwrap_err();
    // Beyond even what CAP_SYS_RESOURCE allows (65,536 messages, 16 MiB).
    let error = refused(&MqOptions { depth: Some(70_000), ..small() });
    assert!(
        matches!(error.kind, SetupErrorKind::Limit { name: "fs.mqueue.msg_max", need: 70_000, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("use depth ≤ "), "{error}");
    let error = refused(&MqOptions { max_message: Some(1 << 25), ..small() });
    assert!(
        matches!(error.kind, SetupErrorKind::Limit { name: "fs.mqueue.msgsize_max", need: 0x200_0000, .. }),
        "{error}"
    );
    for (depth, max_message, priority) in [(0, 1, 0), (1, 0, 0), (1, 1, 32)] {
        let options = MqOptions {
            depth: Some(depth),
            max_message: Some(max_message),
            priority: Some(priority),
            ..MqOptions::default()
        };
        assert_eq!(refused(&options).kind, SetupErrorKind::BadAddress);
    }
}

#[test]
fn the_budget_of_the_user_is_a_limit_and_comes_back_whole() {
    let _turn = Turn::of::<Mq>("");
    let fits = Mq::capabilities().max_clients.unwrap();
    if fits > 100 {
        return; // No limit worth the name: there is nothing to run into.
    }
    let fill = || {
        let mut pairs = Vec::new();
        loop {
            match Mq::pair(&MqOptions::default()) {
                Ok(pair) => pairs.push(pair),
                Err(error) => return (pairs.len(), error),
            }
        }
    };
    let (before, error) = fill();
    assert_eq!(before, fits, "as many as the capabilities say");
    let SetupErrorKind::Limit { name: "RLIMIT_MSGQUEUE", need, have } = error.kind else { panic!("{error}") };
    assert!(need <= have);
    assert!(error.to_string().contains(&format!("= {need} of the {have} bytes")), "{error}");
    assert_eq!(fill().0, before, "nothing of it is lost");
}

#[test]
fn what_a_killed_maker_left_behind_is_removed_by_the_next() {
    let _turn = Turn::of::<Mq>("");
    let stem = format!("mq-{:032x}", u128::from(ipc_tests::end::Random::seed()));
    let name = format!("/ipc-{stem}");
    drop(Mq::pair(&small()).expect("makes the directory"));
    let record = directory().join(format!("{stem}.lock"));
    fs::write(&record, "").unwrap();
    queue::leave_behind(&name).unwrap();
    drop(Mq::pair(&small()).unwrap());
    assert_eq!(queue::unlink(&name).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!record.exists());
}

#[test]
fn what_is_in_force_is_told() {
    let _turn = Turn::of::<Mq>("");
    let (one, _other) = Mq::pair(&MqOptions { priority: Some(7), ..small() }).unwrap();
    for expected in [("depth", 4), ("peer_depth", 4), ("max_message", 64), ("priority", 7)] {
        assert!(one.effective.contains(&expected), "{expected:?} in {:?}", one.effective);
    }
}
