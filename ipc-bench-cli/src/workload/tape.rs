//! What a loop writes down for every measured message.

use ipc_results::Recorder;

use super::Work;
use super::windows::Windows;
use crate::records::{Record, Records};

/// One message, as the side that takes the time saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When it was there.
    pub(crate) now_ns: u64,
    /// What is measured: the round trip, the way to the receiver, or in open loop the response time.
    pub(crate) latency_ns: u64,
    /// Open loop only: from the actual send.
    pub(crate) service_ns: u64,
    /// Its row, if rows are asked for.
    pub(crate) record: Record,
}

/// All of them. Every byte is taken before the first message.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(crate) latency: Recorder,
    pub(crate) service: Option<Recorder>,
    pub(crate) windows: Option<Windows>,
    pub(crate) records: Option<Records>,
}

impl Tape {
    pub(crate) fn new(work: &Work) -> Tape {
        Tape {
            latency: Recorder::new(),
            service: work.open_loop.map(|_| Recorder::new()),
            windows: Windows::new(work),
            records: (work.records > 0).then(|| Records::new(work.records)),
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, sample: Sample) {
        self.latency.record(sample.latency_ns);
        if let Some(service) = &mut self.service {
            service.record(sample.service_ns);
        }
        if let Some(windows) = &mut self.windows {
            windows.record(sample.now_ns, sample.latency_ns);
        }
        if let Some(records) = &mut self.records {
            records.push(sample.record);
        }
    }

    /// Lets the first message of the connection, which has no row, count like any other.
    pub(crate) fn first(&mut self, ns: u64) {
        self.latency.record(ns);
        if let Some(service) = &mut self.service {
            service.record(ns);
        }
    }

    /// Forgets everything and keeps the memory, which is warm by then.
    pub(crate) fn clear(&mut self) {
        self.latency.clear();
        if let Some(service) = &mut self.service {
            service.clear();
        }
        if let Some(windows) = &mut self.windows {
            windows.clear();
        }
        if let Some(records) = &mut self.records {
            records.clear();
        }
    }
}
