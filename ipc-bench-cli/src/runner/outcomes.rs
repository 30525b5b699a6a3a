//! What the two sides of a trial said, and the trial that makes of it.

use std::collections::BTreeMap;

use ipc_results::Recorder;
use ipc_results::run::{Cell, Interval, Latency, Limit, Side, Throughput, Trial, Warmup};
use serde_json::Value;

use crate::counters;
use crate::crew::Trouble;
use crate::lookout::{self, Look};
use crate::plan::Plan;
use crate::protocol::{Histogram, Outcome, Ready, Window};
use crate::scene::combine;
use crate::workload::{Length, Work};

/// Flag of a trial that was moved between CPUs.
pub(super) const MIGRATIONS: &str = "migrations";

/// What both sides said.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) client: Outcome,
    pub(super) server: Outcome,
    pub(super) client_ready: Ready,
    pub(super) server_ready: Ready,
    /// Servers that were there already, as each said of itself.
    pub(super) servers: Vec<Side>,
    /// What was seen of the trial from beside it.
    pub(super) looks: Vec<Look>,
    /// Of a pattern.
    pub(super) measures: BTreeMap<String, f64>,
}

impl Outcomes {
    pub(super) fn messages(&self) -> u64 {
        // In a stream the receiver counts; in a round trip the client does.
        self.client.messages.max(self.server.messages)
    }

    /// Delivered per second, from the first send to the last receive.
    pub(super) fn msgs_per_s(&self) -> Option<f64> {
        let rate = Throughput::new(self.messages(), 0, self.elapsed_ns()).msgs_per_s;
        (rate > 0.0).then_some(rate)
    }

    /// From the first send to the last receive, each by the side that did it where both read one clock.
    pub(super) fn elapsed_ns(&self) -> u64 {
        let last = self.server.last_recv_ns.or(self.client.last_recv_ns);
        last.zip(self.client.first_send_ns).map_or(0, |(last, first)| last.saturating_sub(first))
    }

    /// Whether as many messages arrived as were asked for.
    pub(super) fn check_count(&self, work: &Work) -> Result<(), Trouble> {
        if let Length::Messages(asked) = work.length
            && asked != self.messages()
        {
            return Err(
                std::io::Error::other(format!("{} messages delivered of {asked}", self.messages())).into()
            );
        }
        Ok(())
    }

    /// Whether the workers ran where they were to.
    pub(super) fn check_pins(&self, plan: &Plan) -> Result<(), Trouble> {
        let pins = [(plan.pins.client, &self.client_ready), (plan.pins.server, &self.server_ready)];
        for (cpu, ready) in pins {
            if cpu.is_some_and(|cpu| ready.cpus != [cpu]) {
                let text = format!("a worker pinned to cpu {} may run on {:?}", cpu.unwrap_or(0), ready.cpus);
                return Err(std::io::Error::other(text).into());
            }
        }
        Ok(())
    }

    /// Adds to the cell what was in force.
    pub(super) fn describe(&self, cell: &mut Cell) {
        let counted =
            counters::sum(self.client.counted.clone(), self.server.counted.clone()).unwrap_or_default();
        cell.uncounted.extend(counted.into_iter().filter_map(|(name, value)| Some((name, value.err()?))));
        for (role, ready) in [("client", &self.client_ready), ("server", &self.server_ready)] {
            if let [cpu] = ready.cpus[..] {
                cell.pin.insert(role.to_owned(), cpu);
            }
        }
        for (name, value) in &self.client_ready.effective {
            grant(cell, name.clone(), *value);
        }
        for (name, value) in &self.server_ready.effective {
            if cell.effective.get(name) != Some(&Value::from(*value)) {
                grant(cell, format!("server.{name}"), *value);
            }
        }
    }

    pub(super) fn into_trial(self, work: &Work, limit: Option<Limit>, steal_ns: Option<u64>) -> Trial {
        let (messages, elapsed_ns) = (self.messages(), self.elapsed_ns());
        let pinned = [&self.client_ready, &self.server_ready].iter().all(|ready| ready.cpus.len() == 1);
        let Outcomes { client, server, looks, mut measures, .. } = self;
        for (name, value) in client.measures.into_iter().chain(server.measures) {
            let known = measures.get(&name).copied();
            measures.insert(name.clone(), known.map_or(value, |known| combine(&name, known, value)));
        }
        let first_send_ns = client.first_send_ns;
        let last_recv_ns = server.last_recv_ns.or(client.last_recv_ns);
        let counted = counters::sum(client.counted, server.counted).unwrap_or_default();
        let counters = counted.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect();
        let cpu = client.cpu.zip(server.cpu).map(|(client, server)| client.plus(server));
        let mut stats = client.stats;
        for (name, events) in server.stats {
            count(&mut stats, name, events);
        }
        let interval = |window: Window| {
            Some(Interval::new(window.start_ns, window.elapsed_ns, &recorder(&window.latency)?))
        };
        let timeline = if client.timeline.is_empty() { server.timeline } else { client.timeline };
        let mut timeline: Vec<Interval> = timeline.into_iter().filter_map(interval).collect();
        // Without a first message nobody knows where on the clock an interval is.
        if let Some(begin_ns) = first_send_ns {
            lookout::tell(&mut timeline, begin_ns, &looks);
        }
        let mut flags: Vec<String> = client.flags.into_iter().chain(server.flags).collect();
        // A hundredth of the time of two CPUs.
        if steal_ns.is_some_and(|steal| steal > elapsed_ns / 50) {
            flags.push("steal".to_owned());
        }
        if cpu.is_some_and(|cpu| cpu.majflt > 0) {
            flags.push("major_faults".to_owned());
        }
        // Who was not free to move was moved by somebody who took the CPU away. Who was free to is held against the other
        // trials of its cell, when all are there.
        if pinned && cpu.and_then(|cpu| cpu.migrations).is_some_and(|moves| moves > 0) {
            flags.push(MIGRATIONS.to_owned());
        }
        let lost = client.records_lost + server.records_lost;
        let errors = (lost > 0).then(|| ("records_without_room".to_owned(), lost)).into_iter().collect();
        let mut throughput = Throughput::new(messages, work.size as u64, elapsed_ns);
        if let (Some(bytes), true) = (server.bytes, messages > 0) {
            throughput.bytes_per_s = throughput.msgs_per_s * bytes as f64 / messages as f64;
        }
        Trial {
            flags,
            errors,
            messages,
            elapsed_ns,
            first_send_ns,
            last_recv_ns,
            warmup: Warmup {
                messages: client.warmup_messages,
                elapsed_ns: client.warmup_ns,
                steady: client.warmup_steady,
            },
            first_message_ns: client.first_message_ns.or(server.first_message_ns),
            stats,
            latency: latency(client.latency.or(server.latency)),
            timeline,
            service: latency(server.service),
            throughput,
            requested_rate: work.open_loop.map(|asked| asked.per_s),
            achieved_rate: work.open_loop.zip(client.kept).map(|(asked, kept)| asked.per_s * kept),
            cpu,
            counters,
            steal_ns,
            limit,
            measures,
            ..Trial::default()
        }
    }
}

/// Adds a setting as the system granted it. Huge pages may be there for one trial and not for the next: the least counts.
fn grant(cell: &mut Cell, name: String, value: u64) {
    let known = cell.effective.get(&name).and_then(Value::as_u64).filter(|_| name.ends_with("huge_bytes"));
    cell.effective.insert(name, Value::from(known.map_or(value, |known| known.min(value))));
}

/// Adds a counter of one side to those of both.
pub(super) fn count(stats: &mut BTreeMap<String, u64>, name: String, events: u64) {
    let is_peak = name.starts_with("max_");
    let sum = stats.entry(name).or_default();
    *sum = if is_peak { events.max(*sum) } else { *sum + events };
}

fn latency(histogram: Option<Histogram>) -> Option<Latency> {
    histogram.as_ref().and_then(recorder).and_then(|recorder| Latency::of(&recorder))
}

pub(super) fn recorder(histogram: &Histogram) -> Option<Recorder> {
    Recorder::from_bytes(&histogram.bytes, histogram.saturated).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::STANDARD_WORK;

    #[test]
    fn a_trial_without_a_first_message_has_nothing_to_hold_looks_against() {
        let timeline = |first_send_ns| {
            let latency = Histogram { bytes: Recorder::new().to_bytes(), saturated: 0 };
            let window = Window { start_ns: 0, elapsed_ns: 100, latency };
            let client = Outcome { first_send_ns, timeline: vec![window], ..Outcome::default() };
            let looks = vec![Look::of(0, 70, 5), Look::of(200, 80, 6)];
            let outcomes = Outcomes { client, looks, ..Outcomes::default() };
            outcomes.into_trial(&STANDARD_WORK, None, None).timeline
        };
        assert_eq!(timeline(Some(0))[0].steal_ns, Some(10));
        assert_eq!(timeline(None)[0].steal_ns, None);
    }
}
