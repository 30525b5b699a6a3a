//! One broadcast to four reader processes against four rings of `shm`, both open at once in one run: messages of 4 KiB,
//! copied out and read in place. `cargo bench -p ipc-tests --bench broadcast`.
//!
//! The two take turns of 5,000 messages, each timed from the first send to the word of the last reader that it has read
//! them all. Eight turns in the order abba-abba make a round, so that what else the machine does falls on both alike.
//! Nothing is pinned: five processes share the CPUs there are.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has no result")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use ipc_tests::broadcast::trust_our_own_code;
use ipc_tests::end::patiently;
use ipc_transports::broadcast::{BroadcastOptions, Reader, Writer};
use ipc_transports::{Address, Listener, PeekReceiver, Sender, Shm, ShmOptions, Transport, Trust};

const READERS: usize = 4;
const LEN: usize = 4096;
/// Messages of a turn: long enough for the word of the readers to be nothing beside it.
const TURN: usize = 5_000;
const TURNS: usize = 4;
/// Beside one that warms up: 300,000 messages of each kind in all.
const ROUNDS: usize = 15;
const MESSAGES: usize = (ROUNDS + 1) * TURNS * TURN;
/// The median of 15 lies between the 4th and the 12th of them with a probability of 96.5 % (binomial).
const INTERVAL: [usize; 2] = [3, 11];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, how, address] = &arguments[..] {
        return read(role, how == "in-place", &address.parse().unwrap());
    }
    println!(
        "messages per second, each to {READERS} readers, {LEN} bytes, {ROUNDS} rounds: median [interval of the median]"
    );
    for how in ["copied", "in-place"] {
        let (mut rings, mut broadcast) = (over_rings(how), over_broadcast(how));
        let (mut separate, mut one, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (mut by_rings, mut by_broadcast) = (0.0, 0.0);
            for _ in 0..TURNS / 2 {
                by_rings += rings.turn();
                by_broadcast += broadcast.turn() + broadcast.turn();
                by_rings += rings.turn();
            }
            // The first round warms up.
            if round > 0 {
                let messages = (TURNS * TURN) as f64;
                separate.push(messages / by_rings);
                one.push(messages / by_broadcast);
                ratios.push(by_rings / by_broadcast);
            }
        }
        rings.end();
        broadcast.end();
        let row = |name: &str, mut values: Vec<f64>, digits: usize| {
            values.sort_by(f64::total_cmp);
            let [low, high] = INTERVAL.map(|at| values[at]);
            println!("{how:9} {name:16} {:10.digits$} [{low:.digits$}–{high:.digits$}]", values[ROUNDS / 2]);
        };
        row("4 rings", separate, 0);
        row("one broadcast", one, 0);
        row("ratio", ratios, 2);
    }
}

type SendToAll = dyn FnMut(&[u8]);

/// One of the two ways: its readers, and what sends a message to all of them.
struct Way {
    readers: Vec<(Child, BufReader<ChildStdout>)>,
    send: Box<SendToAll>,
    sent: usize,
}

impl Way {
    /// Seconds from the first message of a turn until every reader has said that it has read the last.
    fn turn(&mut self) -> f64 {
        let mut message = [7; LEN];
        let began = Instant::now();
        for number in self.sent..self.sent + TURN {
            message[..8].copy_from_slice(&number.to_le_bytes());
            (self.send)(&message);
        }
        self.sent += TURN;
        for (_, stdout) in &mut self.readers {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, "read\n");
        }
        began.elapsed().as_secs_f64()
    }

    fn end(mut self) {
        assert_eq!(self.sent, MESSAGES);
        for (child, _) in &mut self.readers {
            assert!(child.wait().unwrap().success());
        }
    }
}

fn start(role: &str, how: &str, address: &Address) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args([role, how, &address.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn address(scheme: &str) -> Address {
    format!("{scheme}:bench-{}", std::process::id()).parse().unwrap()
}

fn over_rings(how: &str) -> Way {
    let mut listener = Shm::listen(&address("shm"), &ShmOptions::default()).unwrap();
    let (readers, mut connections): (Vec<_>, Vec<_>) = (0..READERS)
        .map(|_| (start("shm", how, listener.address()), listener.accept(patiently()).unwrap()))
        .unzip();
    let send = move |message: &[u8]| {
        connections.iter_mut().for_each(|connection| connection.tx.send(message).unwrap());
    };
    Way { readers, send: Box::new(send), sent: 0 }
}

fn over_broadcast(how: &str) -> Way {
    let mut writer = Writer::listen(&address("broadcast"), &BroadcastOptions::default()).unwrap();
    let join = |_| {
        let reader = start("broadcast", how, writer.address().unwrap());
        writer.accept(patiently()).unwrap();
        reader
    };
    let readers = (0..READERS).map(join).collect();
    Way { readers, send: Box::new(move |message| writer.send(message).unwrap()), sent: 0 }
}

fn read(role: &str, in_place: bool, address: &Address) {
    let trust = if in_place { trust_our_own_code() } else { Trust::default() };
    if role == "shm" {
        let options = ShmOptions { trust, ..ShmOptions::default() };
        count(Shm::connect(address, &options, patiently()).unwrap().rx, in_place);
    } else {
        let options = BroadcastOptions { trust, ..BroadcastOptions::default() };
        count(Reader::connect(address, &options, patiently()).unwrap(), in_place);
    }
}

fn count(mut rx: impl PeekReceiver, in_place: bool) {
    let mut buf = Vec::new();
    for number in 0..MESSAGES {
        let first = if in_place {
            *rx.recv_ref(ipc_transports::Wait::Forever).unwrap().first_chunk().unwrap()
        } else {
            rx.recv(&mut buf).unwrap();
            *buf.first_chunk().unwrap()
        };
        assert_eq!(usize::from_le_bytes(first), number);
        if (number + 1).is_multiple_of(TURN) {
            println!("read");
        }
    }
}
