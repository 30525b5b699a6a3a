//! SIGKILL at a named point: before or after a store to shared memory, a lock, a system call of set-up or transfer.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ipc_transports::{AnyConnection, AnyListener, Listener, Wait, listen};

use super::cell::{Cell, DEADLINE, Role, Violation, violated};
use super::journal::Journal;
use super::kill::{
    Killer, Victim, call_until_it_dies, journal_of, outlive_a_receiver, outlive_a_sender, serve_a_good_client,
};

/// What tells a victim where to die.
const VARIABLE: &str = "IPC_FAULT_POINT";

/// A victim that has not come to its point after this long is killed where it is.
const PATIENCE: Duration = Duration::from_millis(200);

/// A hit that did not come this often will not come.
const TRIES: u32 = 3;

/// Met by who takes away what a dead maker of a queue left.
const SWEPT: &str = "queue.swept";

/// Points that a victim passes once at most.
const ONCE: &[&str] = &[SWEPT, LEAVING];

/// Met by a listener on its way out; a victim that is to die there serves one client and goes.
const LEAVING: &str = "unbind.";

/// Whether this victim is to die on its way out.
pub(super) fn is_to_leave() -> bool {
    std::env::var(VARIABLE).is_ok_and(|plan| plan.starts_with(LEAVING))
}

/// How often a point is passed in one life of the victim.
#[derive(Debug)]
struct Reach {
    /// The latest hit worth trying; none: the point is not on this role's way.
    most: usize,
    /// How often each hit up to here was waited for in vain.
    misses: u32,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach { most: 300, misses: 0 }
    }
}

impl Reach {
    /// The `nth` hit did not come. Late hits are given up at once, the first only after some tries.
    fn missed(&mut self, nth: usize, met_before: bool) {
        if nth > 1 {
            self.most = self.most.min(nth - 1);
            return;
        }
        self.misses += 1;
        if self.misses >= TRIES && !met_before {
            self.most = 0;
        }
    }
}

/// The points that a mechanism can come to, by the beginnings of their names.
fn families(mechanism: &str) -> &'static [&'static str] {
    match mechanism {
        "uds" | "tcp" => &["hello.", "stream."],
        "uds-seqpacket" => &["hello.", "datagram."],
        "pipe" => &["hello.", "stream."],
        "shm" => &["hello.", "memory.", "shm."],
        "shm-direct" => &["hello.", "memory.", "slot."],
        _ => &["hello.", "queue."],
    }
}

/// The points of the library, none if it was built without them.
fn points() -> &'static [&'static str] {
    #[cfg(feature = "fault-points")]
    return ipc_transports::fault::POINTS;
    #[cfg(not(feature = "fault-points"))]
    &[]
}

/// The points of a cell; of those only the ones whose names begin with a word of `only`, if there is any.
pub(super) fn points_of(mechanism: &str, role: Role, only: &[String]) -> Vec<&'static str> {
    let named = role == Role::Listener && mechanism != "tcp";
    let bind: &[&str] = if named { &["bind.", "unbind."] } else { &[] };
    let is_of =
        |point: &&&str| families(mechanism).iter().chain(bind).any(|family| point.starts_with(family));
    let is_asked =
        |point: &&&str| only.is_empty() || only.iter().any(|word| point.starts_with(word.as_str()));
    points().iter().filter(is_of).filter(is_asked).copied().collect()
}

/// `rounds` rounds, point after point.
pub fn run(cell: &mut Cell, rounds: u64) {
    let points = points_of(cell.mechanism, cell.role, &cell.only);
    if points.is_empty() {
        cell.missed = rounds;
        cell.notes.push("built without the points: use cargo xtask chaos".into());
        return;
    }
    let journal = Journal::at(&journal_of(cell));
    let killer = Killer::start();
    let mut reach = BTreeMap::<&str, Reach>::new();
    let mut next = 0;
    let mut doubles = 0;
    let mut listener = (cell.role != Role::Listener)
        .then(|| listen(&cell.address()).unwrap_or_else(|error| panic!("{error}")));
    for round in 0..rounds {
        let point = loop {
            let point = points[next % points.len()];
            next += 1;
            let on_its_way = reach.get(point).is_none_or(|reach| reach.most > 0);
            if on_its_way || next > 100_000 + rounds as usize {
                break point;
            }
        };
        // The first hits, and now and then a late one, as far as the point was ever reached.
        let most = reach.get(point).map_or(300, |reach| reach.most).max(1);
        let nth = 1 + match cell.random.below(4) {
            0 => 0,
            1 => cell.random.below(4.min(most)),
            2 => cell.random.below(30.min(most)),
            _ => cell.random.below(300.min(most)),
        };
        let nth = if ONCE.iter().any(|once| point.starts_with(once)) { 1 } else { nth };
        let plan = format!("{point}:{nth}");
        let outcome = match &mut listener {
            Some(listener) if point == SWEPT => leave_a_record(cell, listener)
                .and_then(|()| one_peer(cell, &journal, &killer, listener, &plan)),
            Some(listener) => one_peer(cell, &journal, &killer, listener, &plan),
            None => one_listener(cell, &journal, &killer, &plan, round.is_multiple_of(5)),
        };
        match outcome {
            Ok(true) => {
                let kills = cell.points.entry(point).or_default();
                kills.all += 1;
                kills.second += u64::from(point == SWEPT);
                cell.count(Ok(()));
            }
            Ok(false) => {
                cell.miss();
                reach.entry(point).or_default().missed(nth, cell.points.contains_key(point));
            }
            Err(violation) => {
                cell.count(violated(violation.of, format!("at {plan}: {}", violation.what)));
            }
        }
        let repairs = cell.only.is_empty() && round.is_multiple_of(5);
        if cell.mechanism == "shm-direct" && cell.role == Role::Listener && repairs {
            match killed_repairing(cell, &journal) {
                Ok(true) => doubles += 1,
                Ok(false) => cell.miss(),
                Err(violation) => cell.count(Err(violation)),
            }
        }
    }
    if doubles > 0 {
        cell.passed += doubles;
        cell.notes.push(format!("{doubles} rounds with a second kill in the repair after the first"));
    }
    drop(listener);
    if cell.role == Role::Listener {
        drop(listen(&cell.address()));
    }
    let (met, never): (Vec<&str>, Vec<&str>) =
        points.iter().partition(|point| cell.points.contains_key(*point));
    cell.notes.push(format!("{} of {} points met", met.len(), points.len()));
    cell.note_deaths_in_long();
    if !never.is_empty() {
        cell.notes.push(format!("not on its way: {}", never.join(", ")));
    }
    let names = cell.check_names().and_then(|()| check_records(cell));
    if names.is_err() {
        cell.count(names);
    }
}

/// I4: no record of a queue is left once the next one has been made.
fn check_records(cell: &Cell) -> Result<(), Violation> {
    if cell.mechanism != "mq" {
        return Ok(());
    }
    use ipc_transports::{Mq, MqOptions, Transport};
    drop(Mq::pair(&MqOptions::default()));
    let Some(names) = std::env::var_os("XDG_RUNTIME_DIR") else { return Ok(()) };
    let left = super::cell::names_in(&std::path::Path::new(&names).join("ipc"));
    match left.iter().any(|name| name.starts_with("mq-")) {
        true => violated("I4", format!("records of queues are left: {left:?}")),
        false => Ok(()),
    }
}

/// One connection whose other end dies at its point; false: it did not come to it.
fn one_peer(
    cell: &mut Cell,
    journal: &Journal,
    killer: &Killer,
    listener: &mut AnyListener,
    plan: &str,
) -> Result<bool, Violation> {
    journal.clear();
    let seed = cell.seed_of_any();
    let mut victim = Victim::start(cell, listener.address(), seed, &[(VARIABLE, plan.to_owned())]);
    let Some(mut connection) = accept_or_end(listener, &mut victim)? else {
        victim.end();
        // It died on its way in.
        let outcome = serve_a_good_client(listener);
        while listener.accept(Wait::Never).is_ok() {}
        return outcome.and_then(|()| cell.check_traces()).map(|()| true);
    };
    victim.doom(killer, PATIENCE);
    let began = Instant::now();
    let survived = match cell.role {
        Role::Sender => outlive_a_sender(cell, &mut connection, journal, seed, &mut victim),
        _ => outlive_a_receiver(cell, &mut connection, journal, seed, &mut victim),
    };
    let met = began.elapsed() < PATIENCE;
    let _ = victim.blow();
    victim.end();
    drop(connection);
    survived?;
    if journal.wrong().load(SeqCst) != 0 {
        return violated("I2", "the victim saw a wrong message or an error before it was killed");
    }
    cell.check_traces().map(|()| met)
}

/// A client dies with a queue of which only its record tells; the next one finds it.
fn leave_a_record(cell: &Cell, listener: &mut AnyListener) -> Result<(), Violation> {
    let plan = [(VARIABLE, "queue.made:1".to_owned())];
    let mut maker = Victim::start(cell, listener.address(), 0, &plan);
    let came = accept_or_end(listener, &mut maker)?;
    maker.end();
    // Whoever says nothing more is gone with it.
    while listener.accept(Wait::Never).is_ok() {}
    match came {
        None => Ok(()),
        Some(_) => violated("I6", "a client was let in whose queues were not made"),
    }
}

/// The victim's connection, or none if it died first.
fn accept_or_end(
    listener: &mut AnyListener,
    victim: &mut Victim,
) -> Result<Option<AnyConnection>, Violation> {
    let began = Instant::now();
    loop {
        let ended = victim.has_ended();
        match listener.accept(Wait::within(DEADLINE / 20)) {
            Ok(connection) => return Ok(Some(connection)),
            Err(_) if ended => return Ok(None),
            Err(error) if began.elapsed() > 10 * DEADLINE => {
                return violated("I5", format!("no connection, and no end of its client: {error}"));
            }
            Err(_) => {}
        }
    }
}

/// A client is killed holding the slot's lock, and then its peer as it repairs the slot: nobody of the two is left, nor
/// anything of theirs, and the next listener serves the next client. False: the second one did not come to repair.
fn killed_repairing(cell: &mut Cell, journal: &Journal) -> Result<bool, Violation> {
    journal.clear();
    let at = cell.address();
    let point = ["slot.repair", "slot.repaired"][cell.random.below(2)];
    let repairing = [(VARIABLE, format!("{point}:1"))];
    let mut listener = Victim::start_as(Role::Listener, cell, &at, 0, &repairing);
    let began = Instant::now();
    while journal.begun().load(SeqCst) == 0 {
        if listener.has_ended() || began.elapsed() > 10 * DEADLINE {
            listener.end();
            return violated("I5", "the next listener cannot take the address over");
        }
        std::thread::yield_now();
    }
    let held = ["slot.locked", "slot.word", "slot.word.stored", "slot.payload", "slot.payload.stored"];
    let plan = [(VARIABLE, format!("{}:1", held[cell.random.below(held.len())]))];
    let client = Victim::start_as(Role::Connector, cell, &at, 0, &plan);
    let began = Instant::now();
    while !listener.has_ended() && began.elapsed() < DEADLINE + PATIENCE {
        std::thread::yield_now();
    }
    let met = listener.has_ended();
    client.end();
    listener.end();
    let mut heir = match listen(&at) {
        Ok(listener) => listener,
        Err(error) => return violated("I5", format!("nobody can take over after a killed repair: {error}")),
    };
    serve_a_good_client(&mut heir)?;
    drop(heir);
    if met {
        count_second(cell, point);
    }
    cell.check_traces().map(|()| met)
}

/// Counts a kill of who took over, or repaired, after another one.
fn count_second(cell: &mut Cell, point: &'static str) {
    let kills = cell.points.entry(point).or_default();
    kills.all += 1;
    kills.second += 1;
}

/// A listener that dies at its point, another one that dies as it takes over if asked for, and one that lives.
fn one_listener(
    cell: &mut Cell,
    journal: &Journal,
    killer: &Killer,
    plan: &str,
    twice: bool,
) -> Result<bool, Violation> {
    let met = struck_listener(cell, journal, killer, plan)?;
    if twice && cell.mechanism != "tcp" {
        let point = ["bind.locked", "bind.bound", "bind.listening"][cell.random.below(3)];
        if struck_listener(cell, journal, killer, &format!("{point}:1"))? {
            count_second(cell, point);
        }
    }
    let mut heir = match listen(&cell.address()) {
        Ok(listener) => listener,
        Err(error) => return violated("I5", format!("the next listener cannot take over: {error}")),
    };
    serve_a_good_client(&mut heir)?;
    drop(heir);
    cell.check_traces().map(|()| met)
}

fn struck_listener(
    cell: &mut Cell,
    journal: &Journal,
    killer: &Killer,
    plan: &str,
) -> Result<bool, Violation> {
    journal.clear();
    let at = cell.address();
    let mut victim = Victim::start_as(Role::Listener, cell, &at, 0, &[(VARIABLE, plan.to_owned())]);
    let began = Instant::now();
    while journal.begun().load(SeqCst) == 0 {
        if victim.has_ended() {
            return Ok(true);
        }
        if began.elapsed() > 10 * DEADLINE {
            victim.end();
            return violated("I5", "the next listener cannot take the address over");
        }
        std::thread::yield_now();
    }
    let port = journal.begun().load(SeqCst) as u16;
    let address = match at.target() {
        ipc_transports::Target::Inet(any) => {
            at.with_target(ipc_transports::Target::Inet((any.ip(), port).into()))
        }
        _ => at.clone(),
    };
    victim.doom(killer, PATIENCE);
    let began = Instant::now();
    let outcome = call_until_it_dies(&address, &mut victim);
    let met = began.elapsed() < PATIENCE;
    let _ = victim.blow();
    victim.end();
    outcome.map(|()| met)
}
