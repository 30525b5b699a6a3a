//! What a codec costs, alone and over a transport.
//!
//! ```text
//! client, in turn            server
//!   encode                                           timed: encoding
//!   send what was encoded    ──────►   decode        timed there: decoding; the answer tells how long it took
//!                            ◄──────   answer        timed: the exchange; less decoding it is transport
//!   encode, send             ──────►   decode
//!                            ◄──────   answer        timed: end to end
//! ```
//! Everything is timed where it happens, and once per timing, as it is done end to end. The first of several calls in a row
//! takes some 50 ns longer than the others; bytes written just now travel at another speed than old ones; and whoever waits
//! for a millisecond of decoding has fallen asleep and is woken, which belongs to transport then. The parts hold three readings
//! of the clock more than the whole. The server's second one lies in the way of its answer and is taken off transport. What
//! those of encoding and decoding add lies between nothing and a reading, for a processor goes on while it reads: half of each
//! is taken off, and a sum is right to one reading. The first byte of a message tells what is to be done with it.

use std::hint::black_box;
use std::io::IoSlice;

use ipc_results::Recorder;
use ipc_transports::{Address, Connection, Sender, Transport};

use super::idle::effective;
use crate::clock::{self, now_ns};
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
const DECODE: u8 = 0;
const TIME: u8 = 1;
const COMPARE: u8 = 2;
const END: u8 = 3;

/// Turns between two messages whose decoded value is compared, outside of the timed part.
const COMPARED: u64 = 64;

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
                let served = executor.run(serve(end, buf, &document, codec, &mut watch));
                served.map(|()| Outcome::default())
            }
        }?;
        Ok(Outcome { cpu: watch.during, ..outcome })
    }
}

fn failed(wrong: Wrong) -> Ended {
    Failure::failed("the codec failed").why(wrong).into()
}

fn lost(error: impl Into<Broken>) -> Ended {
    Ended::lost(error.into())
}

async fn serve<E: Endpoint, D: Coded>(
    end: &mut E,
    mut buf: Vec<u8>,
    document: &D,
    codec: Codec,
    watch: &mut Watch<'_>,
) -> Result<(), Ended> {
    watch.boundary(false);
    loop {
        end.recv(&mut buf).await.map_err(lost)?;
        let [what, encoded @ ..] = &buf[..] else { return Err(failed("an empty message came".into())) };
        let mut took = 0;
        // Held until the answer is on its way: what it costs to free belongs to no part.
        let mut decoded = None;
        match *what {
            TIME => {
                let start = now_ns();
                decoded = Some(black_box(D::decode(codec, encoded).map_err(failed)?));
                took = now_ns() - start;
            }
            DECODE | COMPARE => decoded = Some(black_box(D::decode(codec, encoded).map_err(failed)?)),
            _ => {}
        }
        if *what == COMPARE && decoded.as_ref() != Some(document) {
            return Err(failed("the decoded value is another one".into()));
        }
        end.send(&took.to_le_bytes()).await.map_err(lost)?;
        if *what == END {
            watch.boundary(true);
            return Ok(());
        }
        drop(decoded);
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
        let mut times = [const { Vec::new() }; 4];
        let mut latency = Recorder::new();
        self.turn(COMPARE).await?;
        // Ten turns warm up what the first one did not.
        for _ in 0..10 {
            self.turn(DECODE).await?;
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
            let took = self.turn(DECODE).await?;
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
        let [encode, decode, transport, whole] = times.map(mean_of_middle_half);
        let reading = clock::reading_ns();
        let less = |time: f64, readings: f64| (time - readings * reading).max(0.0);
        let [encode, decode, transport] = [less(encode, 0.5), less(decode, 0.5), less(transport, 1.0)];
        let size = work.size as f64;
        let measures = [
            ("encode_ns", encode),
            ("decode_ns", decode),
            ("encoded_bytes", self.encoded.len() as f64),
            ("transport_ns", transport),
            ("end_to_end_ns", whole),
            ("clock_reading_ns", reading),
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

    /// One turn, whose last message says `what`; the nanoseconds of encoding, decoding, transport and end to end.
    async fn turn(&mut self, what: u8) -> Result<[f64; 4], Ended> {
        let t0 = now_ns();
        self.document.encode(self.codec, &mut self.encoded).map_err(failed)?;
        black_box(&self.encoded);
        let t1 = now_ns();
        self.exchange(TIME).await.map_err(lost)?;
        let t2 = now_ns();
        let Some(decoding) = self.message.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
            return Err(failed("the server does not say how long it decoded".into()));
        };
        self.document.encode(self.codec, &mut self.encoded).map_err(failed)?;
        self.exchange(what).await.map_err(lost)?;
        let t3 = now_ns();
        Ok([t1 - t0, decoding, (t2 - t1).saturating_sub(decoding), t3 - t2].map(|time| time as f64))
    }

    /// Sends what is encoded, and waits for the answer.
    async fn exchange(&mut self, what: u8) -> Result<(), Broken> {
        self.end.send_parts(&[IoSlice::new(&[what]), IoSlice::new(&self.encoded)]).await?;
        self.end.recv(&mut self.message).await?;
        Ok(())
    }
}

/// The mean of what lies between the quartiles: as deaf to a few long ones as the median, and finer than the clock's steps
/// (10 ns here), of which the whole may be twenty.
fn mean_of_middle_half(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let quarter = values.len() / 4;
    let middle = &values[quarter..values.len() - quarter];
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}
