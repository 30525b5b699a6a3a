//! A server in another terminal, container or host: what the two sides say to each other over the connection itself.
//!
//! ```text
//! client                              server
//!   |  Greeting: who I am, the work ---> |
//!   |  <----- who I am, or silence if the work is none that it does
//!   |  <-------- the workload ---------> |
//!   |  <----------- Outcome of the server|
//! ```
//! Who a side is says [`Side`]: version of the program, boot, namespaces, process, CPUs. Without work, that is all.
//! Each is nine bytes of magic, the protocol and the length of what follows as little-endian `u32`, then postcard: one
//! message, or as many as it takes on a connection of short ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipc_results::run::{CpuUse, Side};
use ipc_transports::{Address, Connection, Listener, Receiver, Sender, SetupErrorKind, Transport, Wait};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::hello;
use crate::mechanism::{Ended, setup};
use crate::payload::MIN_SIZE;
use crate::protocol::{Outcome, PROTOCOL, Role};
use crate::records::CAPACITY;
use crate::signals::Signals;
use crate::ways::Ways;
use crate::worker::{Serve, Session, broken_trial};
use crate::workload::{Blocking, MAX_BATCH, Observer, Work};
use crate::{os, pin};

const MAGIC: &[u8; 9] = b"ipc-bench";

/// Bytes of magic, protocol and length.
const HEADER: usize = MAGIC.len() + 4 + 4;

/// Longest thing one side tells the other, in bytes: two histograms are below 100 KiB.
const MAX_TOLD: usize = 4 << 20;

/// How long the other side may take to say what is due.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often an accepting server looks up.
const SLICE: Duration = Duration::from_millis(100);

/// What the client opens with.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    side: Side,
    /// Nothing, where it only wants to know who is there.
    work: Option<Work>,
}

/// Tells the server what is to be done; what it says of itself.
///
/// # Errors
/// It is no server of this version, or reads another clock and the work needs one.
pub(crate) fn greet<Tx: Sender, Rx: Receiver>(
    end: &mut Blocking<Tx, Rx>,
    work: &Work,
) -> Result<Side, Failure> {
    let own = hello::own();
    let server = introduce(end, Greeting { side: own.clone(), work: Some(*work) })?;
    match hello::no_common_clock(&server, &own).filter(|_| work.mode.needs_one_clock()) {
        None => Ok(server),
        Some(difference) => {
            Err(Failure::failed(format!("{} cannot be measured with this server", work.mode))
                .why(difference)
                .fix("use --mode rtt, which takes both its times on this side"))
        }
    }
}

/// What the server says of itself, which is all that is wanted of it.
///
/// # Errors
/// It is no server of this version.
pub(crate) fn ask<Tx: Sender, Rx: Receiver>(end: &mut Blocking<Tx, Rx>) -> Result<Side, Failure> {
    introduce(end, Greeting { side: hello::own(), work: None })
}

fn introduce<Tx: Sender, Rx: Receiver>(
    end: &mut Blocking<Tx, Rx>,
    greeting: Greeting,
) -> Result<Side, Failure> {
    say(end, &greeting)?;
    hear(end).map(harmless)
}

/// Without what would move the cursor of a terminal: a stranger says this, and people read it.
fn harmless(side: Side) -> Side {
    let text = |text: String| -> String {
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
    };
    Side {
        version: text(side.version),
        boot_id: side.boot_id.map(text),
        namespaces: side.namespaces.into_iter().map(|(kind, id)| (text(kind), text(id))).collect(),
        ..side
    }
}

/// What the server measured.
pub(crate) fn outcome<Tx: Sender, Rx: Receiver>(end: &mut Blocking<Tx, Rx>) -> Result<Outcome, Failure> {
    hear(end)
}

fn say<Tx: Sender, Rx: Receiver>(
    end: &mut Blocking<Tx, Rx>,
    message: &impl Serialize,
) -> Result<(), Failure> {
    let body = postcard::to_stdvec(message).map_err(Failure::failed)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&PROTOCOL.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).map_err(Failure::failed)?.to_le_bytes());
    bytes.extend(body);
    bytes.chunks(end.tx.max_message()).try_for_each(|piece| {
        end.tx
            .send_timeout(piece, PATIENCE)
            .map_err(|error| Failure::failed("the peer cannot be told").why(error))
    })
}

fn hear<T: DeserializeOwned, Tx: Sender, Rx: Receiver>(end: &mut Blocking<Tx, Rx>) -> Result<T, Failure> {
    let stranger = || Failure::failed("the peer is not an ipc-bench").fix("check the address");
    let (mut bytes, mut piece) = (Vec::new(), Vec::new());
    let patience = Wait::within(PATIENCE);
    loop {
        end.rx
            .recv_with(&mut piece, patience)
            .map_err(|error| Failure::failed("the peer says nothing").why(error))?;
        bytes.extend_from_slice(&piece);
        let known = bytes.len().min(MAGIC.len());
        if piece.is_empty() || bytes[..known] != MAGIC[..known] {
            return Err(stranger());
        }
        let Some(header) = bytes.get(MAGIC.len()..HEADER) else { continue };
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        match number(0) {
            PROTOCOL => {}
            other => {
                // It may still wait for a first word of ours: so it can tell its user the same.
                let _ = say(end, &());
                return Err(Failure::failed("the two sides are of different versions")
                    .why(format!("the peer speaks protocol {other}, this side {PROTOCOL}"))
                    .fix(if other < PROTOCOL { "upgrade the peer" } else { "upgrade this side" }));
            }
        }
        let len = number(4) as usize;
        if len > MAX_TOLD {
            return Err(Failure::failed("the peer is not understood")
                .why(format!("it announces {len} bytes, and {MAX_TOLD} are the most")));
        }
        if bytes.len() > HEADER + len {
            return Err(stranger());
        }
        if bytes.len() == HEADER + len {
            return postcard::from_bytes(&bytes[HEADER..HEADER + len])
                .map_err(|error| Failure::failed("the peer is not understood").why(error));
        }
    }
}

/// What a standalone server was asked for.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) cpu: Option<u32>,
    /// End after the first client.
    pub(crate) once: bool,
    /// End when nobody came for so long.
    pub(crate) idle: Option<Duration>,
    pub(crate) quiet: bool,
    /// Clients being served, and when the last one came or went.
    pub(crate) active: AtomicUsize,
    pub(crate) last: Mutex<Instant>,
    /// Clients that came, at whichever address; who only asks who this is, is none.
    pub(crate) served: AtomicUsize,
    /// An address cannot be listened at: the others end too, and the reason is told at once.
    pub(crate) refused: AtomicBool,
}

impl Serving {
    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_over(&self) -> bool {
        if self.refused.load(Ordering::SeqCst) {
            return true;
        }
        let served = self.served.load(Ordering::SeqCst) > 0;
        let busy = self.active.load(Ordering::SeqCst) > 0;
        let quiet_for = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        !busy && (self.once && served || self.idle.is_some_and(|idle| quiet_for >= idle))
    }
}

/// Listens at `address` and serves every client on a thread of its own, until a signal comes or `serving` is over.
pub(crate) fn listen<T: Transport, W: Ways<T>>(
    address: &Address,
    serving: &Arc<Serving>,
    signals: &Signals,
) -> Result<(), Failure> {
    let mut listener = T::listen(address, &T::Options::default()).map_err(|error| {
        serving.refused.store(true, Ordering::SeqCst);
        setup(format!("cannot listen at {address}"), &error)
    })?;
    if !serving.quiet {
        eprintln!("listening at {}", listener.address());
    }
    while signals.caught().is_none() && !serving.is_over() {
        if serving.once && serving.served.load(Ordering::SeqCst) > 0 {
            thread::park_timeout(SLICE);
            continue;
        }
        match listener.accept(Wait::within(SLICE)) {
            Ok(connection) => {
                let present = Present::at(serving);
                let guest = Arc::clone(serving);
                let spawned = thread::Builder::new().name("client".into()).spawn(move || {
                    let done = attend::<T, W>(connection, guest.cpu, check);
                    if matches!(done, Ok(None)) {
                        guest.served.fetch_sub(1, Ordering::SeqCst);
                    }
                    drop(present);
                    match done {
                        Ok(_) if guest.quiet => {}
                        Ok(Some(work)) => eprintln!("served {} of {} bytes", work.mode, work.size),
                        Ok(None) => eprintln!("told who this is"),
                        Err(ended) => eprintln!("{}", ended.failure),
                    }
                });
                spawned.map_err(|error| Failure::failed("no thread for a client").why(error))?;
            }
            Err(error) if matches!(error.kind, SetupErrorKind::TimedOut) => {}
            Err(error) => return Err(setup(format!("cannot accept at {address}"), &error)),
        }
    }
    Ok(())
}

/// Serves so many clients of one trial at once, each on a thread of its own.
pub(crate) fn host<T: Transport, W: Ways<T>>(
    session: &mut Session,
    address: &Address,
    clients: usize,
) -> Result<Outcome, Ended> {
    let no_connection = |error| setup(format!("{}: no connection", T::NAME), &error);
    let mut listener = T::listen(address, &T::Options::default()).map_err(no_connection)?;
    session.listening(listener.address());
    let mut guests = Vec::new();
    for _ in 0..clients {
        let connection = listener.accept(Wait::Forever).map_err(no_connection)?;
        // What our own runner asks for is not checked: side B of a comparison may be held back on purpose.
        let guest = thread::Builder::new()
            .name("client".into())
            .spawn(move || attend::<T, W>(connection, None, |_, _| Ok(())));
        guests.push(guest.map_err(|error| Failure::failed("no thread for a client").why(error))?);
    }
    drop(listener);
    session.ready(Vec::new());
    let _watch = session.watch();
    for guest in guests {
        guest.join().map_err(|_| Failure::failed("a thread that served a client panicked"))??;
    }
    Ok(Outcome::default())
}

/// A client that is being served, for as long as this lives, however its thread ends.
struct Present(Arc<Serving>);

impl Present {
    fn at(serving: &Arc<Serving>) -> Present {
        serving.active.fetch_add(1, Ordering::SeqCst);
        serving.served.fetch_add(1, Ordering::SeqCst);
        serving.touch();
        Present(Arc::clone(serving))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.touch();
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Refuses what no client of ours asks for: the work decides how much memory this side takes and how long it stays.
fn check(work: &Work, max_message: usize) -> Result<(), Failure> {
    let limits = [
        ("message bytes", work.size as u64, MIN_SIZE as u64, max_message as u64),
        ("rows", work.records.into(), 0, CAPACITY.into()),
        ("messages per call", work.batch.into(), 1, MAX_BATCH),
        ("nanoseconds held back", work.hold_ns, 0, 0),
    ];
    for (what, asked, least, most) in limits {
        if !(least..=most).contains(&asked) {
            return Err(Failure::failed("a client asked for what this server does not do")
                .why(format!("{asked} {what}; it takes {least} to {most}"))
                .fix("use a client of the same version, within these limits"));
        }
    }
    Ok(())
}

/// One client, on a CPU of its own where one is given, if `check` finds nothing wrong with what it asks for; what that was.
fn attend<T: Transport, W: Ways<T>>(
    connection: Connection<T::Tx, T::Rx>,
    cpu: Option<u32>,
    check: impl Fn(&Work, usize) -> Result<(), Failure>,
) -> Result<Option<Work>, Ended> {
    if let Some(cpu) = cpu {
        pin::pin_this_thread(cpu)
            .map_err(|error| Failure::failed(format!("cannot run on cpu {cpu}")).why(error))?;
    }
    let mut end = Blocking { tx: connection.tx, rx: connection.rx };
    let greeting: Greeting = hear(&mut end)?;
    if let Some(work) = &greeting.work {
        check(work, end.tx.max_message())?;
    }
    let own = hello::own();
    say(&mut end, &own)?;
    let Some(work) = greeting.work else { return Ok(None) };
    let mut usage = Usage { before: None, during: None };
    let serve = Serve { work: &work, observer: &mut usage };
    let (mut end, served) = W::perform(&work, end, serve)?;
    let outcome = served.map_err(|broken| broken_trial(Role::Server, &broken))?;
    // Without a common clock a stamp of ours would be taken for one of theirs.
    let last_recv_ns =
        outcome.last_recv_ns.filter(|_| hello::no_common_clock(&own, &greeting.side).is_none());
    say(&mut end, &Outcome { cpu: usage.during, last_recv_ns, ..outcome })?;
    Ok(Some(work))
}

/// Resources of this process during the measured part.
struct Usage {
    before: Option<CpuUse>,
    during: Option<CpuUse>,
}

impl Observer for Usage {
    fn progress(&mut self, _: u64) {}

    fn boundary(&mut self, over: bool) {
        let now = os::cpu_use().ok();
        if over {
            self.during = now.zip(self.before).map(|(after, before)| os::difference(after, before));
        } else {
            self.before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc_transports::{Uds, UdsOptions};

    use super::*;
    use crate::runner::STANDARD_WORK;

    #[test]
    fn work_that_no_client_of_ours_asks_for_is_refused_before_memory_is_taken() {
        let fine = Work { size: 64, ..STANDARD_WORK };
        assert!(check(&fine, 1 << 24).is_ok());
        let bad = [
            Work { size: 1 << 40, ..fine },
            Work { size: 8, ..fine },
            Work { size: usize::MAX, ..fine },
            Work { records: u32::MAX, ..fine },
            Work { batch: 0, ..fine },
            Work { batch: 65, ..fine },
            Work { hold_ns: 1, ..fine },
        ];
        for work in bad {
            let failure = check(&work, 1 << 24).unwrap_err().to_string();
            assert!(failure.contains("it takes"), "{failure}");
        }
    }

    #[test]
    fn another_protocol_says_on_both_sides_which_one_to_upgrade() {
        let told = |theirs: u32| {
            let (one, other) = Uds::pair(&UdsOptions::default()).unwrap();
            let mut ours = Blocking { tx: one.tx, rx: one.rx };
            let (mut tx, mut rx) = (other.tx, other.rx);
            let mut greeting = MAGIC.to_vec();
            greeting.extend_from_slice(&theirs.to_le_bytes());
            // What follows is nothing that this version could read.
            greeting.extend_from_slice(&3_u32.to_le_bytes());
            greeting.extend_from_slice(b"???");
            tx.send(&greeting).unwrap();
            let failure = hear::<Greeting, _, _>(&mut ours).unwrap_err();
            // The peer is told our number, whatever it waits for.
            let mut answer = Vec::new();
            rx.recv(&mut answer).unwrap();
            assert_eq!(answer[..MAGIC.len()], MAGIC[..]);
            assert_eq!(answer[MAGIC.len()..HEADER - 4], PROTOCOL.to_le_bytes());
            assert!(failure.why.unwrap().contains(&format!("protocol {theirs}, this side {PROTOCOL}")));
            failure.fix.unwrap()
        };
        assert_eq!(told(PROTOCOL - 1), "upgrade the peer");
        assert_eq!(told(PROTOCOL + 1), "upgrade this side");
    }

    #[test]
    fn what_a_stranger_says_of_itself_moves_no_cursor() {
        let (one, other) = Uds::pair(&UdsOptions::default()).unwrap();
        let (mut ours, mut theirs) =
            (Blocking { tx: one.tx, rx: one.rx }, Blocking { tx: other.tx, rx: other.rx });
        let named = |kind: &str, id: &str| [(kind.to_owned(), id.to_owned())].into_iter().collect();
        let side = Side {
            version: "0.1\x1b[2J".into(),
            boot_id: Some("a\r\nb".into()),
            namespaces: named("ipc\u{9b}", "ipc:[1]\x07"),
            pid: 7,
            cpus: vec![3],
        };
        say(&mut theirs, &side).unwrap();
        let expected = Side {
            version: "0.1\u{fffd}[2J".into(),
            boot_id: Some("a\u{fffd}\u{fffd}b".into()),
            namespaces: named("ipc\u{fffd}", "ipc:[1]\u{fffd}"),
            ..side
        };
        assert_eq!(ask(&mut ours).unwrap(), expected);
    }

    /// `Side` is also a type of the run's file, whose fields may come and go: here, a field more is another protocol.
    #[test]
    fn a_side_has_these_bytes_on_the_wire_as_long_as_the_protocol_has_this_number() {
        let side = Side {
            version: "1.2".into(),
            boot_id: Some("b".into()),
            namespaces: [("net".to_owned(), "n".to_owned())].into_iter().collect(),
            pid: 300,
            cpus: vec![1, 2],
        };
        let bytes = *b"\x031.2\x01\x01b\x01\x03net\x01n\xac\x02\x02\x01\x02";
        assert_eq!((PROTOCOL, &postcard::to_stdvec(&side).unwrap()[..]), (16, &bytes[..]));
        assert_eq!(postcard::from_bytes::<Side>(&bytes).unwrap(), side);
        let unknown = postcard::to_stdvec(&Side::default()).unwrap();
        assert_eq!(unknown, [0; 5], "what is absent has its place as well");
    }
}
