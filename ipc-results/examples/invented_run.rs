//! Prints a run file whose numbers are INVENTED, for the tests of the renderers and for working on them. Nothing in it was
//! measured; the label and the machine say so.
//!
//! `cargo run -p ipc-results --example invented_run > ipc-results/tests/fixtures/invented-run.v1.json`, and with the word
//! `scenes` behind it the cells of patterns, idle endpoints and codecs instead: `invented-scenes.v1.json`.
#![allow(clippy::unwrap_used, reason = "an example that fails should stop")]

use ipc_results::cell::{Latency, Limit, Method, Throughput, Warmup};
use ipc_results::environment::{Cgroup, Cpu};
use ipc_results::run::{CellStatus, CpuUse, Finding, Level, Manifest, RunStatus, Tool, Warning};
use ipc_results::{Cell, Environment, Estimate, Recorder, Run, Trial, summarise};

const TRIALS: u32 = 7;
const SIZES: [u64; 3] = [64, 4096, 65536];

/// Name, wait, median round trip per size in ns, shape (sigma of the logarithm), stream rate per size in msgs/s.
type Invention = (&'static str, &'static str, [f64; 3], f64, [f64; 3]);

const TRANSPORTS: [Invention; 6] = [
    ("shm", "adaptive", [381.0, 1_930.0, 17_500.0], 0.10, [31.2e6, 4.6e6, 256e3]),
    ("shm-direct", "adaptive", [712.0, 2_410.0, 18_900.0], 0.12, [3.1e6, 1.9e6, 150e3]),
    ("uds", "park", [8_410.0, 11_050.0, 32_300.0], 0.16, [1.3e6, 610e3, 110e3]),
    ("pipe", "park", [8_560.0, 10_900.0, 35_100.0], 0.15, [1.75e6, 480e3, 38e3]),
    ("mq", "park", [10_320.0, 12_100.0, 0.0], 0.17, [870e3, 420e3, 0.0]),
    ("tcp", "park", [14_650.0, 17_200.0, 37_400.0], 0.18, [360e3, 290e3, 74e3]),
];

/// SplitMix64 (Steele, Lea and Flood 2014): the same invented numbers on every machine.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// Log-normal latencies with a second hump and a rare long tail.
fn latencies(random: &mut Random, median: f64, sigma: f64, samples: u64) -> Recorder {
    let mut recorder = Recorder::new();
    for _ in 0..samples {
        let factor = match random.uniform() {
            u if u < 0.003 => 3.0 + 12.0 * random.uniform(),
            u if u < 0.05 => 1.45,
            _ => 1.0,
        };
        recorder.record((median * factor * (sigma * random.normal()).exp()) as u64);
    }
    recorder
}

struct Inventor {
    random: Random,
    order: u32,
}

impl Inventor {
    fn trial(&mut self, index: u32, median: f64, sigma: f64, messages: u64, size: u64, period: f64) -> Trial {
        // Two of the pinnings give two levels, as on a real machine: the strip must show it.
        let level = 1.0 + 0.02 * self.random.normal() + if index % 5 == 4 { 0.05 } else { 0.0 };
        let recorder = (median > 0.0).then(|| latencies(&mut self.random, median * level, sigma, messages));
        let elapsed_ns = (messages as f64 * period * level) as u64;
        self.order += 1;
        let busy = if median > 0.0 && median < 1_000.0 { 2.0 } else { 0.75 };
        let switches = if busy > 1.0 { messages / 5_000 } else { 2 * messages };
        Trial {
            index,
            order: self.order,
            flags: if self.order.is_multiple_of(41) { vec!["steal".into()] } else { vec![] },
            messages,
            elapsed_ns,
            first_send_ns: Some(1_000_000_000),
            last_recv_ns: Some(1_000_000_000 + elapsed_ns),
            warmup: Warmup { messages: messages / 10, elapsed_ns: elapsed_ns / 10, steady: Some(true) },
            first_message_ns: recorder.as_ref().map(|_| (median * 9.0) as u64),
            latency: recorder.as_ref().and_then(Latency::of),
            throughput: Throughput::new(messages, size, elapsed_ns),
            cpu: Some(CpuUse {
                user_ns: (elapsed_ns as f64 * busy * 0.4) as u64,
                sys_ns: (elapsed_ns as f64 * busy * 0.6) as u64,
                vcsw: switches,
                ivcsw: messages / 20_000,
                minflt: 12,
                majflt: 0,
                migrations: Some(0),
            }),
            steal_ns: Some(if self.order.is_multiple_of(41) { elapsed_ns / 50 } else { 0 }),
            ..Trial::default()
        }
    }
}

fn finish(mut cell: Cell) -> Cell {
    cell.pin = [("client".to_owned(), 0), ("server".to_owned(), 1)].into();
    cell.summary = summarise(&cell).unwrap();
    cell
}

/// Patterns, idle endpoints and codecs.
fn scenes(inventor: &mut Inventor) -> Vec<Cell> {
    let mut cells = Vec::new();
    for mode in ["fan-out", "fan-in", "pipeline", "broadcast", "mesh"] {
        for (name, rate) in [("shm", 2.4e6), ("uds", 480e3), ("pipe", 470e3)] {
            for peers in [2, 8] {
                for ring in ["", "/ring=shared"].into_iter().take(if mode == "broadcast" && name == "shm" {
                    2
                } else {
                    1
                }) {
                    let mut cell = Cell::new(format!("{name}/{mode}/64/peers={peers}{ring}"), name, mode, 64);
                    cell.clients = peers;
                    let period = 1e9 / rate * f64::from(peers) / if ring.is_empty() { 1.0 } else { 1.6 };
                    cell.trials =
                        (0..TRIALS).map(|index| inventor.trial(index, 0.0, 0.0, 9_000, 64, period)).collect();
                    cells.push(finish(cell));
                }
            }
        }
    }
    for (name, bytes) in [("shm", 12_288.0), ("uds", 0.0), ("tcp", 4_096.0)] {
        let mut cell = Cell::new(format!("{name}/idle/64"), name, "idle", 64);
        for index in 0..TRIALS {
            let trial = inventor.trial(index, 0.0, 0.0, 50, 64, 9_000.0);
            let measures = [("endpoint_private_bytes", bytes), ("idle_wakeups_per_s", 0.0)];
            cell.trials.push(Trial {
                measures: measures.map(|(name, value)| (name.to_owned(), value)).into(),
                ..trial
            });
        }
        cells.push(finish(cell));
    }
    for (name, encode, decode) in
        [("postcard", 900.0, 1_400.0), ("json", 3_800.0, 5_100.0), ("rkyv", 700.0, 60.0)]
    {
        let mut cell = Cell::new(format!("uds/codec/1024/codec={name}"), "uds", "codec", 1024);
        cell.codec = name.into();
        for index in 0..TRIALS {
            let trial = inventor.trial(index, 0.0, 0.0, 50, 1024, 9_000.0);
            let spread = 1.0 + 0.02 * inventor.random.normal();
            let measures =
                [("encode_ns", encode * spread), ("decode_ns", decode * spread), ("encoded_bytes", 1024.0)];
            cell.trials.push(Trial {
                measures: measures.map(|(name, value)| (name.to_owned(), value)).into(),
                ..trial
            });
        }
        cells.push(finish(cell));
    }
    cells
}

fn main() {
    let mut inventor = Inventor { random: Random(4711), order: 0 };
    let mut run = Run::new(
        "20261121-014207-invented-9be1",
        "2026-11-21T01:42:07Z",
        Tool {
            version: "0.1.0".into(),
            git: Some("3f9c1a".into()),
            dirty: Some(false),
            profile: Some("bench".into()),
            rustc: Some("1.95.0".into()),
            target: Some("x86_64-unknown-linux-gnu".into()),
            target_cpu: Some("x86-64".into()),
            lto: Some("fat".into()),
            features: vec![],
        },
    );
    run.label = "INVENTED NUMBERS, for tests only".into();
    run.status = RunStatus::Complete;
    run.elapsed_ns = 71_893_000_000;
    run.manifest = Manifest {
        argv: ["ipc-bench", "run", "-p", "invented"].map(str::to_owned).into(),
        preset: Some("invented".into()),
        config_toml: Some("preset = \"invented\"\ntrials = 7\nseed = 4711\n".into()),
        seed: 4711,
        order: Some("interleave".into()),
        reference: None,
    };
    run.environment = environment();
    let yardsticks = [
        ("clock_ns", 24.0),
        ("syscall_ns", 61.0),
        ("cacheline_rtt_ns", 298.0),
        ("futex_rtt_ns", 9_100.0),
        ("pipe_rtt_ns", 8_400.0),
        ("memcpy_bytes_per_s", 28e9),
    ];
    for (name, value) in yardsticks {
        let estimate =
            Estimate { value, lo: value * 0.97, hi: value * 1.04, trials: TRIALS, coverage: 0.984375 };
        run.yardsticks.insert(name.into(), estimate.rounded());
    }

    if std::env::args().nth(1).as_deref() == Some("scenes") {
        run.cells = scenes(&mut inventor);
        println!("{}", serde_json::to_string(&run).unwrap());
        return;
    }
    let method = |t0: &str| Method { clock: "monotonic".into(), t0: t0.into(), t1: "after_recv".into() };
    for (name, wait, medians, sigma, rates) in TRANSPORTS {
        for (column, size) in SIZES.into_iter().enumerate() {
            for mode in ["rtt", "stream"] {
                let mut cell = Cell::new(format!("{name}/{mode}/{size}"), name, mode, size);
                cell.wait = wait.into();
                cell.method = method("previous_t1");
                if name == "mq" && size > 8192 {
                    run.cells.push(cell.skipped("65536 B > fs.mqueue.msgsize_max 8192"));
                    continue;
                }
                if cell.id == "tcp/stream/65536" {
                    cell.status = CellStatus::Failed;
                    cell.reason = Some("the server died (signal 9) in trial 0".into());
                    run.cells.push(cell);
                    continue;
                }
                if name.starts_with("shm") {
                    cell.params.insert("shm.capacity".into(), (1 << 20).into());
                    cell.effective.insert("shm.capacity".into(), (1 << 20).into());
                }
                let (limit, limit_value) = if name.starts_with("shm") {
                    ("cacheline_rtt_ns", 298.0 + 0.27 * (size - 64) as f64)
                } else {
                    ("bare_rtt_ns", medians[column] / 1.03)
                };
                for index in 0..TRIALS {
                    let trial = if mode == "rtt" {
                        let samples = if medians[column] > 30_000.0 { 900 } else { 2_000 };
                        let trial =
                            inventor.trial(index, medians[column], sigma, samples, size, medians[column]);
                        let value = (limit_value * (1.0 + 0.01 * inventor.random.normal())).round();
                        Trial { limit: Some(Limit { name: limit.into(), value }), ..trial }
                    } else {
                        inventor.trial(index, 0.0, 0.0, 200_000, size, 1e9 / rates[column])
                    };
                    cell.trials.push(trial);
                }
                run.cells.push(finish(cell));
            }
        }
    }
    for (name, wait, capacity, base) in [("shm", "adaptive", 1.9e6, 450.0), ("uds", "park", 110e3, 9_000.0)] {
        for percent in [10, 30, 50, 70, 90, 95] {
            let mut cell = Cell::new(format!("{name}/load/1024/r{percent}%"), name, "load", 1024);
            cell.wait = wait.into();
            cell.rate = Some(format!("{percent}%"));
            cell.method = method("intended");
            let share = f64::from(percent) / 100.0;
            for index in 0..TRIALS {
                let requested = capacity * share;
                let achieved = if percent == 95 { requested * 0.96 } else { requested };
                let response = base * (1.0 + 0.8 * share / (1.0 - share));
                let mut trial = inventor.trial(index, response, 0.2, 1_000, 1024, 1e9 / achieved);
                trial.service = Latency::of(&latencies(&mut inventor.random, base, 0.12, 1_000));
                trial.requested_rate = Some(requested);
                trial.achieved_rate = Some(achieved);
                cell.trials.push(trial);
            }
            run.cells.push(finish(cell));
        }
    }
    run.doctor = vec![
        Finding {
            id: "C1".into(),
            level: Level::Ok,
            message: "2 cpus online, no cgroup limit".into(),
            fix: None,
        },
        Finding {
            id: "C2".into(),
            level: Level::Note,
            message: "cpufreq not visible: frequency drift cannot be seen; the yardsticks are used instead"
                .into(),
            fix: None,
        },
        Finding {
            id: "M2".into(),
            level: Level::Warn,
            message: "msgsize_max 8192: sizes above 8 KiB are skipped for mq".into(),
            fix: Some("sysctl -w fs.mqueue.msgsize_max=65536".into()),
        },
    ];
    run.warnings = vec![
        Warning {
            code: "W03".into(),
            message: "steal time 1.8 % during 5 of 300 trials: they are marked ◦ and kept in the statistics".into(),
            cells: vec!["uds/rtt/64".into()],
        },
        Warning {
            code: "W07".into(),
            message: "2 cpus only: spinning transports share the machine with everything else; p99.9 is pessimistic".into(),
            cells: vec![],
        },
    ];
    println!("{}", serde_json::to_string(&run).unwrap());
}

fn environment() -> Environment {
    Environment {
        host_fingerprint: format!("sha256:{}", "0".repeat(64)),
        hostname: Some("invented-host".into()),
        boot_id: Some("00000000-0000-4000-8000-000000000000".into()),
        kernel: Some("6.18.44".into()),
        cpu: Cpu {
            model: Some("Invented CPU".into()),
            microcode: Some("0x1".into()),
            sockets: Some(1),
            cores: Some(2),
            threads: Some(2),
            allowed: Some(vec![0, 1]),
            siblings: vec![vec![0], vec![1]],
            llc: vec![vec![0, 1]],
            capacity: vec![],
            mitigations: [("spectre_v2".to_owned(), "Mitigation: invented".to_owned())].into(),
        },
        memory_bytes: Some(24 << 30),
        smt: Some("notsupported".into()),
        isolated: Some(vec![]),
        clocksource: Some("tsc".into()),
        virt: Some("kvm".into()),
        cgroup: Cgroup::default(),
        thp: Some("madvise".into()),
        thp_shmem: Some("never".into()),
        numa: Some(1),
        limits: [("nofile", Some(20_000)), ("memlock", Some(8 << 20)), ("mq_msg_max", Some(10))]
            .map(|(name, limit)| (name.to_owned(), limit))
            .into(),
        ..Environment::default()
    }
}
