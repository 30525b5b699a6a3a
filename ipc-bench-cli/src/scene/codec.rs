//! What a codec costs, alone and over a transport.
//!
//! ```text
//! client, in turn                              server
//!   encode                       timed alone
//!   send what was encoded        ──────────►   decode, timed alone; tell how long it took
//!   encode
//!   send what was encoded        ──────────►   acknowledge                                      timed: transport
//!   encode and send              ──────────►   decode, compare sometimes, acknowledge           timed: end to end
//! ```
//! All are done in every turn, each where it happens, so that caches are about as warm in one as in the other. What is sent in
//! the last two was encoded right before, after an answer: a server that has had more time to fall asleep takes longer (9 µs
//! over uds), and bytes written just now travel at another speed than old ones. The first byte of a message tells what is to
//! be done with it.

use std::io::IoSlice;

use ipc_results::Recorder;
use ipc_transports::{Address, Connection, Sender, Transport};

use super::idle::effective;
use crate::clock::now_ns;
use crate::codec::coding::{Coded, Wrong};
use crate::codec::documents::{Array, Bytes, Nested, Record};
use crate::codec::{Codec, Value};
use crate::error::Failure;
use crate::mechanism::{Ended, meet, too_long};
use crate::protocol::{Job, Outcome, Role};
use crate::ways::Ways;
use crate::worker::{Session, Watch, histogram};
use crate::workload::{Blocking, Broken, Endpoint, Executor, Observer, PROGRESS_NS, Task, Work};

/// What the server does with a message.
const ACKNOWLEDGE: u8 = 0;
const DECODE: u8 = 1;
const COMPARE: u8 = 2;
const END: u8 = 3;
const TIME: u8 = 4;

/// Turns between two messages whose decoded value is compared, outside of the timed part.
const COMPARED: u64 = 64;

/// Calls per timed encoding or decoding of a small value: one alone takes no longer than reading the clock.
const SMALL_CALLS: u32 = 8;
const SMALL: usize = 4 << 10;

const HALF_A_PAGE: usize = 2 << 10;

pub(crate) fn run<T: Transport, W: Ways<T>>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    codec: Codec,
    value: Value,
) -> Result<Outcome, Ended> {
    match value {
        Value::Record => side::<T, W, Record>(session, job, address, codec),
        Value::Nested => side::<T, W, Nested>(session, job, address, codec),
        Value::Bytes => side::<T, W, Bytes>(session, job, address, codec),
        Value::Array => side::<T, W, Array>(session, job, address, codec),
    }
}

fn side<T: Transport, W: Ways<T>, D: Coded>(
    session: &mut Session,
    job: &Job,
    address: &Address,
    codec: Codec,
) -> Result<Outcome, Ended> {
    let connection = meet::<T>(session, job, address)?;
    let document = D::make(&mut fastrand::Rng::with_seed(job.work.seed));
    let mut encoded = Vec::new();
    document.encode(codec, &mut encoded).map_err(failed)?;
    let (len, max) = (encoded.len() + 1, connection.tx.max_message());
    if len > max {
        return Err(too_long(T::NAME, len, max).into());
    }
    session.ready(effective::<T>(&connection));
    let Connection { tx, rx, .. } = connection;
    let side = Side { job, document, codec, encoded, watch: session.watch() };
    W::perform(&job.work, Blocking { tx, rx }, side)?.1
}

/// One side, and what it has encoded so far.
struct Side<'a, D> {
    job: &'a Job,
    document: D,
    codec: Codec,
    encoded: Vec<u8>,
    watch: Watch<'a>,
}

impl<D: Coded> Task for Side<'_, D> {
    type Output = Result<Outcome, Ended>;

    fn over<E: Endpoint>(self, end: &mut E, executor: &mut impl Executor) -> Self::Output {
        let Side { job, document, codec, encoded, mut watch } = self;
        let outcome = match job.role {
            Role::Client => {
                let mut client = Client { end, document, codec, encoded, message: Vec::new() };
                executor.run(client.run(&job.work, &mut watch))
            }
            _ => {
                // A value that is decoded is placed behind this, half a page off: where source and target of a copy lie
                // alike in their pages, processors take ten times as long for it (glibc bug 30994: 18 µs for 64 KiB).
                let buf = Vec::with_capacity(encoded.len() + HALF_A_PAGE);
                let calls = calls(job.work.size);
                let served = executor.run(serve(end, buf, &document, codec, calls, &mut watch));
                served.map(|()| Outcome::default())
            }
        }?;
        Ok(Outcome { cpu: watch.during, ..outcome })
    }
}

fn failed(wrong: Wrong) -> Ended {
    Failure::failed("the codec failed").why(wrong).into()
}

/// Calls per timed encoding or decoding of a value of `size` bytes.
fn calls(size: usize) -> u32 {
    if size <= SMALL { SMALL_CALLS } else { 1 }
}

fn lost(error: impl Into<Broken>) -> Ended {
    Ended::lost(error.into())
}

async fn serve<E: Endpoint, D: Coded>(
    end: &mut E,
    mut buf: Vec<u8>,
    document: &D,
    codec: Codec,
    calls: u32,
    watch: &mut Watch<'_>,
) -> Result<(), Ended> {
    watch.boundary(false);
    loop {
        end.recv(&mut buf).await.map_err(lost)?;
        let [what, encoded @ ..] = &buf[..] else { return Err(failed("an empty message came".into())) };
        if *what == TIME {
            let start = now_ns();
            for _ in 0..calls {
                std::hint::black_box(D::decode(codec, encoded).map_err(failed)?);
            }
            end.send(&(now_ns() - start).to_le_bytes()).await.map_err(lost)?;
            continue;
        }
        let decoded = match *what {
            DECODE | COMPARE => Some(D::decode(codec, encoded).map_err(failed)?),
            _ => None,
        };
        let decoded = std::hint::black_box(decoded);
        if *what == COMPARE && decoded.as_ref() != Some(document) {
            return Err(failed("the decoded value is another one".into()));
        }
        end.send(&[*what]).await.map_err(lost)?;
        if *what == END {
            watch.boundary(true);
            return Ok(());
        }
    }
}

struct Client<'a, E, D> {
    end: &'a mut E,
    document: D,
    codec: Codec,
    encoded: Vec<u8>,
    message: Vec<u8>,
}

impl<E: Endpoint, D: Coded> Client<'_, E, D> {
    async fn run(&mut self, work: &Work, watch: &mut Watch<'_>) -> Result<Outcome, Ended> {
        let calls = calls(work.size);
        let mut times = [const { Vec::new() }; 4];
        let mut latency = Recorder::new();
        self.turn(COMPARE, calls).await?;
        // Ten turns warm up what the first one did not.
        for _ in 0..10 {
            self.turn(DECODE, calls).await?;
        }
        watch.boundary(false);
        let start_ns = now_ns();
        let end = work.length.from(start_ns);
        let (mut turns, mut told) = (0u64, start_ns);
        loop {
            let now = now_ns();
            if now - told >= PROGRESS_NS {
                watch.progress(turns);
                told = now;
            }
            let last = end.is_next(turns, now);
            let took = self.turn(DECODE, calls).await?;
            for (all, one) in times.iter_mut().zip(took) {
                all.push(one);
            }
            latency.record(took[3] as u64);
            turns += 1;
            if turns.is_multiple_of(COMPARED) {
                self.exchange(COMPARE).await.map_err(lost)?;
            }
            if last {
                break;
            }
        }
        let end_ns = now_ns();
        watch.boundary(true);
        self.exchange(END).await.map_err(lost)?;
        let [encode, decode, transport, whole] = times.map(middle);
        let size = work.size as f64;
        let measures = [
            ("encode_ns", encode),
            ("decode_ns", decode),
            ("encoded_bytes", self.encoded.len() as f64),
            ("transport_ns", transport),
            ("end_to_end_ns", whole),
            ("parts_to_end_to_end_ratio", (encode + decode + transport) / whole),
            ("encode_bytes_per_s", size * 1e9 / encode.max(1.0)),
            ("decode_bytes_per_s", size * 1e9 / decode.max(1.0)),
        ];
        Ok(Outcome {
            messages: turns,
            first_send_ns: Some(start_ns),
            last_recv_ns: Some(end_ns),
            latency: Some(histogram(&latency)),
            measures: measures.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Outcome::default()
        })
    }

    /// One of each; how long each took, in nanoseconds per call.
    async fn turn(&mut self, what: u8, calls: u32) -> Result<[f64; 4], Ended> {
        let t0 = now_ns();
        for _ in 0..calls {
            self.document.encode(self.codec, &mut self.encoded).map_err(failed)?;
            std::hint::black_box(&self.encoded);
        }
        let t1 = now_ns();
        self.exchange(TIME).await.map_err(lost)?;
        let Some(decoding) = self.message.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return Err(failed("the server does not say how long it decoded".into()));
        };
        self.document.encode(self.codec, &mut self.encoded).map_err(failed)?;
        let t2 = now_ns();
        self.exchange(ACKNOWLEDGE).await.map_err(lost)?;
        let t3 = now_ns();
        self.document.encode(self.codec, &mut self.encoded).map_err(failed)?;
        self.exchange(what).await.map_err(lost)?;
        let t4 = now_ns();
        let per_call = |time: u64| time as f64 / f64::from(calls);
        Ok([per_call(t1 - t0), per_call(decoding), (t3 - t2) as f64, (t4 - t3) as f64])
    }

    /// Sends what is encoded, and waits for the acknowledgement.
    async fn exchange(&mut self, what: u8) -> Result<(), Broken> {
        self.end.send_parts(&[IoSlice::new(&[what]), IoSlice::new(&self.encoded)]).await?;
        self.end.recv(&mut self.message).await?;
        Ok(())
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    let at = values.len() / 2;
    if values.is_empty() { 0.0 } else { *values.select_nth_unstable_by(at, f64::total_cmp).1 }
}
