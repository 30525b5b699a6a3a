//! What is special about POSIX message queues: priorities, and a budget that belongs to the user.

use std::io::IoSlice;

use ipc_tests::end::patiently;
use ipc_tests::turn::Turn;
use ipc_tests::watchdog::Watchdog;
use ipc_transports::{Mq, MqOptions, Order, Receiver, SendError, Sender, SetupErrorKind, Transport, Wait};

fn with_order(order: Order) -> MqOptions {
    MqOptions { order: Some(order), ..MqOptions::default() }
}

#[test]
fn priorities_overtake_where_both_sides_ask_for_it() {
    let _turn = Turn::of::<Mq>("");
    let _watchdog = Watchdog::over("priorities");
    let (mut one, mut other) = Mq::pair(&with_order(Order::Priority)).unwrap();
    for (priority, message) in [(0, "last"), (31, "first"), (5, "second"), (5, "third")] {
        one.tx.send_with_priority(message.as_bytes(), priority, Wait::Never).unwrap();
    }
    let mut buf = Vec::new();
    for expected in ["first", "second", "third", "last"] {
        other.rx.recv_with(&mut buf, patiently()).unwrap();
        assert_eq!(String::from_utf8_lossy(&buf), expected);
    }
    let answer = one.tx.send_with_priority(b"x", 32, Wait::Never);
    assert!(matches!(answer, Err(SendError::Io(_))), "{answer:?}");
}

#[test]
fn without_being_asked_nothing_overtakes() {
    let _turn = Turn::of::<Mq>("");
    let _watchdog = Watchdog::over("no priorities");
    let (mut one, _other) = Mq::pair(&with_order(Order::Sent)).unwrap();
    let answer = one.tx.send_with_priority(b"x", 1, Wait::Never);
    assert!(matches!(answer, Err(SendError::Io(_))), "{answer:?}");
    one.tx.send_with(&[IoSlice::new(b"x")], Wait::Never).unwrap();
}

#[test]
fn a_budget_used_up_is_a_limit_with_its_arithmetic_and_comes_back() {
    let _turn = Turn::of::<Mq>("");
    let _watchdog = Watchdog::over("the budget of queues");
    let mut open = Vec::new();
    let error = loop {
        match Mq::pair(&MqOptions::default()) {
            Ok(pair) => open.push(pair),
            Err(error) => break error,
        }
        if open.len() == 200 {
            return println!("skipped: this user's budget has room for 200 connections");
        }
    };
    assert!(!open.is_empty(), "not even one connection: {error}");
    match error.kind {
        SetupErrorKind::Limit { name, need, have } => {
            assert!(["RLIMIT_MSGQUEUE", "fs.mqueue.queues_max"].contains(&name), "{error}");
            assert!(need > 0 && have > 0, "{error}");
        }
        _ => panic!("{error}"),
    }
    let room = open.len();
    drop(open);
    let again: Vec<_> = (0..room).map(|_| Mq::pair(&MqOptions::default())).collect();
    assert!(again.iter().all(Result::is_ok), "{room} connections fitted before");
}
