//! Peers that break the protocol on purpose, from the first byte to the last word of shared memory. Whatever they do is
//! told as a typed error, costs nothing but their own connection, and leaves nothing behind.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipc_transports::hello::Hello;
use ipc_transports::{
    Address, AnyConnection, AnyListener, Listener, Receiver, RecvError, SendError, Sender, SetupErrorKind,
    Wait, connect, listen,
};

use super::attacker::{self, Attack, Stage};
use super::cell::{Cell, DEADLINE, GRACE, Role, Violation, violated};
use crate::end::Random;

/// How long a hostile connection is listened to.
const PATIENCE: Duration = Duration::from_millis(25);

/// Most memory that all hostile connections of one attack may cost us, in bytes.
const MOST_MEMORY: u64 = 64 << 20;

/// What our side was told, and how often.
type Tally = BTreeMap<String, u64>;

/// `rounds` times through the table of attacks.
pub fn run(cell: &mut Cell, rounds: u64) {
    let mut tally = Tally::new();
    for round in 0..rounds {
        match cell.role {
            Role::Listener => beware_of_listeners(cell, round, &mut tally),
            _ => beware_of_clients(cell, round, &mut tally),
        }
    }
    let told = tally.iter().map(|(what, times)| format!("{what} {times}")).collect::<Vec<_>>();
    cell.notes.push(format!("told: {}", told.join(", ")));
    if cell.mechanism != "tcp" && cell.role == Role::Listener {
        for (name, outcome) in super::squatter::all(cell) {
            cell.count(
                outcome.or_else(|violation| violated(violation.of, format!("{name}: {}", violation.what))),
            );
        }
    }
    let names = cell.check_names();
    if names.is_err() {
        cell.count(names);
    }
}

fn named(attack: &Attack, outcome: Result<(), Violation>) -> Result<(), Violation> {
    outcome.map_err(|violation| Violation {
        of: violation.of,
        what: format!("{}: {}", attack.name, violation.what),
    })
}

fn beware_of_clients(cell: &mut Cell, round: u64, tally: &mut Tally) {
    let mut listener = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let stage = Stage::before(&mut listener, cell.mechanism);
    let mut random = Random(cell.seed.wrapping_add(round));
    for attack in attacker::on_listeners(cell.mechanism, &stage.hello, &mut random) {
        let outcome = one_client(&mut listener, &stage, &attack, tally);
        let outcome = outcome.and_then(|()| cell.check_traces());
        cell.count(named(&attack, outcome));
    }
}

/// A hostile client and, behind it, one of our own.
fn one_client(
    listener: &mut AnyListener,
    stage: &Stage,
    attack: &Attack,
    tally: &mut Tally,
) -> Result<(), Violation> {
    let to = listener.address().clone();
    std::thread::scope(|scope| {
        let clients = scope.spawn(move || {
            let held = (attack.play)(stage);
            let good = good_client(&to);
            drop(held);
            good
        });
        let (began, resident) = (Instant::now(), self::resident());
        let (mut outcome, mut hostile) = (Ok(()), Vec::new());
        loop {
            if began.elapsed() > 20 * DEADLINE {
                outcome = outcome.and(violated("I5", "our own client is not served behind it"));
                break;
            }
            let called = Instant::now();
            let accepted = listener.accept(Wait::within(DEADLINE));
            outcome = outcome.and(in_time(called, DEADLINE));
            match accepted {
                Ok(mut connection) => match endure(&mut connection, tally) {
                    Ok(true) => break,
                    Ok(false) => hostile.push(connection),
                    Err(violation) => outcome = outcome.and(Err(violation)),
                },
                Err(error) if error.kind == SetupErrorKind::TimedOut => {}
                Err(error) => {
                    outcome = outcome.and(violated("I3", format!("the listener fails: {error}")));
                    break;
                }
            }
        }
        let now_resident = self::resident();
        if now_resident > resident + MOST_MEMORY {
            outcome =
                outcome.and(violated("I4", format!("{} bytes more are resident", now_resident - resident)));
        }
        for connection in hostile {
            let called = Instant::now();
            drop(connection);
            // Its last words wait a second for room.
            outcome = outcome.and(in_time(called, DEADLINE));
        }
        let good = clients.join().map_err(|_| Violation { of: "I6", what: "a client panicked".into() })?;
        // Who hung up in the middle of its hello is sent away by the next look.
        while let Ok(mut connection) = listener.accept(Wait::Never) {
            outcome = outcome.and(endure(&mut connection, tally).map(drop));
        }
        outcome.and(good.or_else(|what| violated("I5", what)))
    })
}

/// I1, of a call that `began` then and had `deadline` to return.
fn in_time(began: Instant, deadline: Duration) -> Result<(), Violation> {
    match began.elapsed() {
        took if took > deadline + GRACE => violated("I1", format!("a call with {deadline:?} took {took:?}")),
        _ => Ok(()),
    }
}

/// Counts an error by its name.
fn note(tally: &mut Tally, error: &impl std::fmt::Debug) {
    let told = format!("{error:?}");
    let name = told.split([' ', '{', '(']).next().unwrap_or_default().to_owned();
    *tally.entry(name).or_default() += 1;
}

/// Bytes of this process in memory now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Comes until it is taken for what it is: a server that has waited in vain for its first word, on a machine full of
/// other work, takes it for a hostile one.
fn good_client(to: &Address) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..20 {
        let mut connection = connect(to, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())?;
        let mut buf = Vec::new();
        let answered = connection.tx.send_timeout(b"good", DEADLINE).map_err(|error| error.to_string());
        let answered = answered.and_then(|()| {
            connection.rx.recv_with(&mut buf, Wait::within(5 * DEADLINE)).map_err(|error| error.to_string())
        });
        match answered {
            Ok(_) if buf == b"good" => return Ok(()),
            other => last = format!("{other:?}"),
        }
    }
    Err(last)
}

/// Talks with whoever came; true: it was our own client.
fn endure(connection: &mut AnyConnection, tally: &mut Tally) -> Result<bool, Violation> {
    let until = Instant::now() + PATIENCE;
    let mut buf = Vec::new();
    loop {
        match connection.rx.recv_with(&mut buf, Wait::Until(until)) {
            Ok(_) if buf == b"good" => {
                let answered = connection.tx.send_timeout(b"good", DEADLINE);
                return match answered {
                    Ok(()) => Ok(true),
                    Err(error) => violated("I5", format!("our own client: {error}")),
                };
            }
            Ok(_) if Instant::now() < until => {}
            Ok(_) | Err(RecvError::TimedOut) => break,
            Err(RecvError::Io(error)) => return violated("I3", format!("received: {error}")),
            Err(error) => {
                note(tally, &error);
                break;
            }
        }
    }
    let until = Instant::now() + PATIENCE;
    for _ in 0..200 {
        match connection.tx.send_with(&[std::io::IoSlice::new(&[7; 500])], Wait::Until(until)) {
            Ok(()) => {}
            Err(SendError::Io(error)) => return violated("I3", format!("sent: {error}")),
            Err(error) => {
                note(tally, &error);
                break;
            }
        }
    }
    Ok(false)
}

fn beware_of_listeners(cell: &mut Cell, round: u64, tally: &mut Tally) {
    // What a listener of this mechanism says, learned from one of our own.
    let mut own = listen(&cell.address()).unwrap_or_else(|error| panic!("{error}"));
    let hello = Stage::before(&mut own, cell.mechanism).hello;
    drop(own);
    let stand = attacker::Stand::at(&cell.address());
    let mut random = Random(cell.seed.wrapping_add(round));
    for attack in attacker::on_clients(cell.mechanism, &hello, &mut random) {
        let outcome = one_listener(&stand, &attack, hello, tally).and_then(|()| cell.check_traces());
        cell.count(named(&attack, outcome));
    }
    drop(stand);
}

fn one_listener(
    stand: &attacker::Stand,
    attack: &Attack,
    hello: Hello,
    tally: &mut Tally,
) -> Result<(), Violation> {
    std::thread::scope(|scope| {
        let attacker = scope.spawn(move || {
            let socket = stand.accept()?;
            let stage = Stage::with(socket, hello);
            Some((attack.play)(&stage))
        });
        let began = Instant::now();
        let outcome = match connect(&stand.address, Wait::within(2 * PATIENCE)) {
            Ok(mut connection) => endure(&mut connection, tally).map(drop),
            Err(error) if error.kind == SetupErrorKind::Io => violated("I3", format!("told as Io: {error}")),
            Err(error) => {
                note(tally, &error.kind);
                Ok(())
            }
        };
        let outcome = outcome.and(in_time(began, DEADLINE));
        let held =
            attacker.join().map_err(|_| Violation { of: "I6", what: "the attacker panicked".into() })?;
        drop::<Option<Vec<OwnedFd>>>(held);
        outcome
    })
}
