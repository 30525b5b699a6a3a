//! What is held against what, and how far apart the two may be.

use std::time::Duration;

use ipc_limits::{Kind, Params, Wait};

use super::loops::{Figures, Shape, Work};
use super::pair::{How, Through};

/// The figure of a trial that a row compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Median round trip; smaller is better.
    P50,
    /// 99th percentile of the round trip; smaller is better.
    P99,
    /// Messages per second; larger is better.
    Rate,
}

impl Figure {
    pub(super) fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Figure::P50 => Some(figures.p50_ns),
            Figure::P99 => figures.p99_ns,
            Figure::Rate => Some(figures.msgs_per_s),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Figure::P50 => "p50_ns",
            Figure::P99 => "p99_ns",
            Figure::Rate => "msgs_per_s",
        }
    }

    /// Whether `ratio`, ours over the limit, is as good as `bound`.
    pub(super) fn reaches(self, ratio: f64, bound: f64) -> bool {
        if self == Figure::Rate { ratio >= bound } else { ratio <= bound }
    }
}

/// A figure, the ratio it may have, and the one we would like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) figure: Figure,
    /// `None` where the row is shown and not judged.
    pub(super) floor: Option<f64>,
    pub(super) goal: Option<f64>,
}

/// Ours and its limit.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) against: String,
    pub(super) ours: (Through, Work),
    pub(super) limit: (Through, Work),
    /// Both sides on one CPU.
    pub(super) same_core: bool,
    /// A side sleeps, so the CPUs are kept from halting.
    pub(super) sleeps: bool,
    pub(super) bounds: Vec<Bound>,
}

/// A transport whose receiver waits for nothing, and how often per second it may wake up.
#[derive(Clone, Debug)]
pub(super) struct IdleRow {
    pub(super) name: String,
    pub(super) through: Through,
    pub(super) most_per_s: f64,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Bytes of ring for messages of a mebibyte, ours and the bare ring's.
const LARGE: usize = 8 * MIB;

/// Round trips as the bytes come.
const SATURATED: Shape = Shape::RoundTrip { gap: Duration::ZERO };

fn transport(scheme: &'static str, query: &'static str) -> Through {
    Through::Transport { scheme, query, how: How::Static }
}

/// Our ring between two sides that map each other's memory writable, as those of the bare loops do.
fn trusting() -> Through {
    Through::Transport { scheme: "shm", query: "wait=spin", how: How::Trusting }
}

/// With buffers as large as ours are by default.
fn bare(kind: Kind, size: usize) -> Through {
    let buffer = matches!(kind, Kind::Unix(_)).then_some(416 << 10);
    Through::Bare(Params { buffer, ..Params::new(kind, size) })
}

/// The same with memory that each side maps as our ring does unless both sides trust each other: what the peer writes
/// for reading only.
fn sealed(limit: Through) -> Through {
    match limit {
        Through::Bare(params) => Through::Bare(Params { sealed: true, ..params }),
        through => through,
    }
}

/// The row of a stream, held against a ring with such memory.
fn against_sealed(row: Row) -> Row {
    let limit = (sealed(row.limit.0), row.limit.1);
    Row { name: format!("{}, sealed", row.name), against: "bare sealed ring".into(), limit, ..row }
}

fn bound(figure: Figure, floor: f64, goal: f64) -> Vec<Bound> {
    vec![Bound { figure, floor: Some(floor), goal: Some(goal) }]
}

/// `64`, `4K`, `1M`.
fn short(size: usize) -> String {
    match size {
        size if size % MIB == 0 => format!("{}M", size / MIB),
        size if size % KIB == 0 => format!("{}K", size / KIB),
        size => size.to_string(),
    }
}

/// Every comparison, with trials of this length.
pub(super) fn rows(length: Duration) -> Vec<Row> {
    let work = |shape, size| Work { shape, size, length };
    let trip = |name: String, against: &str, ours, limit, size, bounds| Row {
        name,
        against: against.to_owned(),
        ours: (ours, work(SATURATED, size)),
        limit: (limit, work(SATURATED, size)),
        same_core: false,
        sleeps: false,
        bounds,
    };
    let mut rows = Vec::new();

    let line = || bare(Kind::Cacheline, 8);
    let mut bounds = bound(Figure::P50, 1.35, 1.25);
    bounds.push(Bound { figure: Figure::P99, floor: None, goal: Some(1.5) });
    let mut row =
        trip("shm rtt 48 spin".into(), "cache line", transport("shm", "wait=spin"), line(), 48, bounds);
    row.limit.1.size = 8;
    rows.push(row);
    for size in [64, KIB, 4 * KIB, 64 * KIB] {
        let name = format!("shm rtt {} spin", short(size));
        let (ours, slot) = (transport("shm", "wait=spin"), bare(Kind::Slot, size));
        let bounds = bound(Figure::P50, 1.25, 1.10);
        rows.push(trip(name.clone(), "bare slot", ours.clone(), slot.clone(), size, bounds.clone()));
        let limit = sealed(slot.clone());
        rows.push(trip(format!("{name}, sealed"), "bare sealed slot", ours, limit, size, bounds));
        let name = format!("{name}, trusting");
        rows.push(trip(name, "bare slot", trusting(), slot, size, bound(Figure::P50, 1.25, 1.10)));
    }
    let direct = transport("shm-direct", "wait=spin");
    let mut row =
        trip("shm-direct rtt 48 spin".into(), "cache line", direct, line(), 48, bound(Figure::P50, 3.0, 2.0));
    row.limit.1.size = 8;
    rows.push(row);
    let (direct, futex) = (transport("shm-direct", "wait=park"), || bare(Kind::Futex, 48));
    let row = trip(
        "shm-direct rtt 48 park".into(),
        "bare futex",
        direct,
        futex(),
        48,
        bound(Figure::P50, 1.25, 1.10),
    );
    rows.push(Row { sleeps: true, ..row });
    let row = trip(
        "shm rtt 48 park".into(),
        "bare futex",
        transport("shm", "wait=park"),
        futex(),
        48,
        bound(Figure::P50, 1.20, 1.10),
    );
    rows.push(Row { sleeps: true, ..row });
    rows.push(trip(
        "shm rtt 48 adaptive".into(),
        "shm spin",
        transport("shm", "wait=adaptive"),
        transport("shm", "wait=spin"),
        48,
        bound(Figure::P50, 1.15, 1.10),
    ));
    let mut row = trip(
        "shm rtt 48 adaptive, 100 us gaps".into(),
        "bare spin-then-futex",
        transport("shm", "wait=adaptive"),
        bare(Kind::SpinThenFutex, 48),
        48,
        bound(Figure::P50, 1.20, 1.10),
    );
    let gaps = Shape::RoundTrip { gap: Duration::from_micros(100) };
    (row.ours.1.shape, row.limit.1.shape, row.sleeps) = (gaps, gaps, true);
    rows.push(row);
    let row = trip(
        "shm rtt 48 adaptive, one core".into(),
        "bare futex",
        transport("shm", "wait=adaptive"),
        futex(),
        48,
        bound(Figure::P50, 2.5, 1.5),
    );
    rows.push(Row { same_core: true, sleeps: true, ..row });
    let any = Through::Transport { scheme: "shm", query: "wait=spin", how: How::Any };
    rows.push(trip(
        "shm rtt 48 AnyConnection".into(),
        "shm spin",
        any,
        transport("shm", "wait=spin"),
        48,
        bound(Figure::P50, 1.03, 1.0),
    ));

    for (batch, floor, goal) in [(1, 0.8, 0.9), (32, 0.7, 0.8)] {
        let shape = work(Shape::Stream { batch }, 48);
        let row = Row {
            name: format!("shm stream 48 batch {batch}"),
            against: "bare ring".into(),
            ours: (transport("shm", "wait=spin"), shape),
            limit: (Through::Bare(Params { batch, ..Params::new(Kind::Ring, 48) }), shape),
            same_core: false,
            sleeps: false,
            bounds: bound(Figure::Rate, floor, goal),
        };
        rows.push(row.clone());
        rows.push(against_sealed(row));
    }
    let fenced = Through::Transport { scheme: "shm", query: "wait=spin", how: How::Fenced };
    rows.push(Row {
        name: "shm stream 48 fence per message".into(),
        against: "shm membarrier".into(),
        ours: (fenced, work(Shape::Stream { batch: 1 }, 48)),
        limit: (transport("shm", "wait=spin"), work(Shape::Stream { batch: 1 }, 48)),
        same_core: false,
        sleeps: false,
        bounds: vec![Bound { figure: Figure::Rate, floor: None, goal: None }],
    });
    for size in [4 * KIB, 64 * KIB, MIB] {
        for shape in [Shape::Stream { batch: 1 }, Shape::InPlace] {
            let query = if size == MIB { "wait=spin&capacity=8M" } else { "wait=spin" };
            let mut params = Params::new(Kind::Ring, size);
            if size == MIB {
                params.slots = LARGE / size;
            }
            let access = if shape == Shape::InPlace { "loan" } else { "copy" };
            let row = Row {
                name: format!("shm stream {} {access}", short(size)),
                against: "bare ring".into(),
                ours: (transport("shm", query), work(shape, size)),
                limit: (Through::Bare(params), work(shape, size)),
                same_core: false,
                sleeps: false,
                bounds: bound(Figure::Rate, 0.85, 0.95),
            };
            rows.push(row.clone());
            if (size, access) == (4 * KIB, "copy") {
                let name = format!("{}, trusting", row.name);
                rows.push(Row { name, ours: (trusting(), row.ours.1), ..row.clone() });
                rows.push(against_sealed(row));
            }
        }
    }

    let kernel =
        [("uds", Kind::Unix(Wait::Park)), ("tcp", Kind::Tcp(Wait::Park)), ("pipe", Kind::Pipe(Wait::Park))];
    for (scheme, kind) in kernel {
        for size in [64, KIB, 64 * KIB] {
            let name = format!("{scheme} rtt {}", short(size));
            let (ours, limit) = (transport(scheme, ""), bare(kind, size));
            let row = trip(name, "bare calls", ours, limit, size, bound(Figure::P50, 1.10, 1.05));
            rows.push(Row { sleeps: true, ..row });
        }
    }
    // Beside a long message ours looks before it sleeps (docs/adr/0023): as good as calls that never do.
    let spinning =
        [("uds", Kind::Unix(Wait::Spin)), ("tcp", Kind::Tcp(Wait::Spin)), ("pipe", Kind::Pipe(Wait::Spin))];
    for (scheme, kind) in spinning {
        let name = format!("{scheme} rtt {}, to spinning", short(64 * KIB));
        let (ours, limit) = (transport(scheme, ""), bare(kind, 64 * KIB));
        let row = trip(name, "bare calls that spin", ours, limit, 64 * KIB, bound(Figure::P50, 1.25, 1.10));
        rows.push(Row { sleeps: true, ..row });
    }
    for size in [64, KIB, 8 * KIB] {
        let name = format!("mq rtt {}", short(size));
        let (ours, limit) = (transport("mq", ""), bare(Kind::Mq(Wait::Park), size));
        let row = trip(name, "bare calls", ours, limit, size, bound(Figure::P50, 1.10, 1.05));
        rows.push(Row { sleeps: true, ..row });
    }
    for (scheme, kind) in kernel {
        for (size, batch, floor, goal) in [(64, 32, 4.0, 8.0), (64 * KIB, 1, 0.9, 0.97)] {
            let batched = if batch == 1 { String::new() } else { format!(" batch {batch}") };
            rows.push(Row {
                name: format!("{scheme} stream {}{batched}", short(size)),
                against: "bare, one per call".into(),
                ours: (transport(scheme, ""), work(Shape::Stream { batch }, size)),
                limit: (bare(kind, size), work(Shape::Stream { batch: 1 }, size)),
                same_core: false,
                sleeps: true,
                bounds: bound(Figure::Rate, floor, goal),
            });
        }
    }
    rows
}

/// Every transport, waiting for so long. Who parks on a futex wakes up once, to go on waiting where the peer's end shows.
pub(super) fn idle_rows(length: Duration) -> Vec<IdleRow> {
    let once = (1.0 / length.as_secs_f64()).max(1.0);
    [("shm", once), ("shm-direct", once), ("mq", 0.0), ("uds", 0.0), ("tcp", 0.0), ("pipe", 0.0)]
        .map(|(scheme, most_per_s)| IdleRow {
            name: format!("{scheme} idle"),
            through: transport(scheme, ""),
            most_per_s,
        })
        .into()
}
