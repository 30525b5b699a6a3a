//! One broadcast to four reader processes against four rings of `shm`, in one run, each in turn: messages of 4 KiB, copied
//! out and read in place. `cargo bench -p ipc-tests --bench broadcast`. The time of a round runs from the first send to
//! the word of the last reader that it has read everything. Nothing is pinned: five processes share the CPUs there are.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has no result")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ipc_tests::broadcast::trust_our_own_code;
use ipc_tests::end::patiently;
use ipc_transports::broadcast::{BroadcastOptions, Reader, Writer};
use ipc_transports::{Address, Listener, PeekReceiver, Sender, Shm, ShmOptions, Transport, Trust};

const READERS: usize = 4;
const LEN: usize = 4096;
const MESSAGES: usize = 30_000;
const ROUNDS: usize = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, how, address] = &arguments[..] {
        return read(role, how == "in-place", &address.parse().unwrap());
    }
    println!(
        "messages per second, each to {READERS} readers, {LEN} bytes, median [worst–best] of {ROUNDS} rounds"
    );
    for how in ["copied", "in-place"] {
        let (mut rings, mut broadcast, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (separate, one) = (over_rings(how), over_broadcast(how));
            // The first round warms up.
            if round > 0 {
                rings.push(separate);
                broadcast.push(one);
                ratios.push(one / separate);
            }
        }
        let row = |name: &str, mut values: Vec<f64>, digits: usize| {
            values.sort_by(f64::total_cmp);
            let (low, high) = (values[0], values[ROUNDS - 1]);
            println!("{how:9} {name:16} {:10.digits$} [{low:.digits$}–{high:.digits$}]", values[ROUNDS / 2]);
        };
        row("4 rings", rings, 0);
        row("one broadcast", broadcast, 0);
        row("ratio", ratios, 2);
    }
}

/// The readers of one round.
struct Readers(Vec<(Child, BufReader<std::process::ChildStdout>)>);

impl Readers {
    fn start(&mut self, role: &str, how: &str, address: &Address) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child =
            command.args([role, how, &address.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        self.0.push((child, stdout));
    }

    /// Messages per second, once every reader has said that it has read them all.
    fn rate(mut self, send: impl FnOnce()) -> f64 {
        let began = Instant::now();
        send();
        for (_, stdout) in &mut self.0 {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, "done\n");
        }
        let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
        for (child, stdout) in &mut self.0 {
            let _ = stdout.read_to_end(&mut Vec::new());
            assert!(child.wait().unwrap().success());
        }
        rate
    }
}

fn address(scheme: &str) -> Address {
    format!("{scheme}:bench-{}", std::process::id()).parse().unwrap()
}

fn over_rings(how: &str) -> f64 {
    let mut listener = Shm::listen(&address("shm"), &ShmOptions::default()).unwrap();
    let mut readers = Readers(Vec::new());
    let mut connections: Vec<_> = (0..READERS)
        .map(|_| {
            readers.start("shm", how, listener.address());
            listener.accept(patiently()).unwrap()
        })
        .collect();
    readers.rate(|| {
        let mut message = [7; LEN];
        for number in 0..MESSAGES {
            message[..8].copy_from_slice(&number.to_le_bytes());
            connections.iter_mut().for_each(|connection| connection.tx.send(&message).unwrap());
        }
    })
}

fn over_broadcast(how: &str) -> f64 {
    let mut writer = Writer::listen(&address("broadcast"), &BroadcastOptions::default()).unwrap();
    let mut readers = Readers(Vec::new());
    for _ in 0..READERS {
        readers.start("broadcast", how, writer.address().unwrap());
        writer.accept(patiently()).unwrap();
    }
    readers.rate(|| {
        let mut message = [7; LEN];
        for number in 0..MESSAGES {
            message[..8].copy_from_slice(&number.to_le_bytes());
            writer.send(&message).unwrap();
        }
    })
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
    }
    println!("done");
}
