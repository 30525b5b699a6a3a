//! A trial of several pairs at once, or of several clients of one server: a worker per process, all of which begin together.

use std::collections::BTreeMap;

use ipc_results::Recorder;

use super::{
    MEASURING_PATIENCE, Outcomes, Runner, SETUP_PATIENCE, address, greet, longest_pause, out_of_turn,
    recorder, with_options,
};
use crate::counters;
use crate::crew::{Crew, Trouble};
use crate::matrix::PlannedCell;
use crate::matrix::crowd::Crowd;
use crate::protocol::{Histogram, Job, Link, Outcome, Ready, Reply, Request, Role, Window};
use crate::scratch::Scratch;
use crate::worker::histogram;
use crate::workload::{OpenLoop, Warmup, Work};

impl Runner<'_> {
    /// One trial. The servers are the first workers, the clients the others; on a remote server there are only clients.
    pub(super) fn gather(
        &self,
        planned: &PlannedCell,
        crowd: Crowd,
        work: Work,
    ) -> Result<Outcomes, Trouble> {
        let remote = self.plan.remote.as_ref();
        let (count, servers) = (crowd.connections(), if remote.is_some() { 0 } else { crowd.servers() });
        // Before the crew, as everywhere.
        let scratch = Scratch::choose()?;
        let mut crew = Crew::of(planned.arm.as_ref(), self.signals);
        let (id, hogs) = (planned.point.to_string(), self.hogs(planned));
        crew.start_hogs(hogs.len(), &id)?;
        for number in 0..servers + count {
            crew.start(Role::Node(number as u16), &id, None)?;
        }
        let roles = greet(&mut crew, work, &hogs)?;
        let work = self.share(work, count, servers);
        let name = &planned.point.transport;
        let job = |role, link, number: usize, scratch| {
            // Each draws its own payloads and send times.
            let seed = work.seed.wrapping_add((number as u64) << 32);
            Request::Job(Box::new(Job { role, link, work: Work { seed, ..work }, cpu: None, scratch }))
        };
        let mut addresses =
            vec![remote.map(|remote| with_options(&remote.address, planned)).unwrap_or_default(); count];
        for (server, server_role) in roles[..servers].iter().enumerate() {
            let own = address(planned, scratch.path(), &server.to_string());
            let link = match crowd {
                Crowd::Pairs(_) => Link::Transport { name: name.clone(), address: own },
                Crowd::Clients(clients) => Link::Hall { name: name.clone(), address: own, clients },
            };
            // The first of them makes the directory, and guards it.
            let guarded = (server == 0).then(|| scratch.path().to_owned());
            crew.tell(*server_role, &job(Role::Server, link, server, guarded))?;
            match crew.next(SETUP_PATIENCE)? {
                (role, Reply::Listening { address }) if role == *server_role => {
                    crowd
                        .clients_of(server)
                        .for_each(|client| addresses[client] = with_options(&address, planned));
                }
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        for (client, address) in addresses.into_iter().enumerate() {
            let link = match crowd {
                Crowd::Pairs(_) => Link::Transport { name: name.clone(), address },
                Crowd::Clients(_) => Link::Remote {
                    name: name.clone(),
                    address,
                    patience: self.patience(),
                    echo: remote.is_some_and(|remote| remote.echo),
                },
            };
            crew.tell(roles[servers + client], &job(Role::Client, link, client, None))?;
        }
        let mut readies: BTreeMap<Role, Ready> = BTreeMap::new();
        while readies.len() < roles.len() {
            match crew.next(self.patience())? {
                (role, Reply::Ready(ready)) => drop(readies.insert(role, ready)),
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        scratch.vacate();
        for role in &roles {
            crew.tell(*role, &Request::Go)?;
        }
        let (mut done, mut records) = (BTreeMap::new(), Vec::new());
        while done.len() < roles.len() {
            match crew.next(MEASURING_PATIENCE + longest_pause(&work))? {
                (_, Reply::Progress { .. }) => {}
                (_, Reply::Records(rows)) => records.extend(rows),
                (role, Reply::Done(outcome)) => drop(done.insert(role, *outcome)),
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        crew.dismiss();
        let mut parts = Vec::new();
        for client in 0..count {
            let mut own: Outcome = done.remove(&roles[servers + client]).unwrap_or_default();
            let server = match crowd {
                Crowd::Pairs(_) => done.remove(&roles[client]).unwrap_or_default(),
                Crowd::Clients(_) => own.peer.take().map(|peer| *peer).unwrap_or_default(),
            };
            let part = Outcomes { client: own, server, ..Outcomes::default() };
            part.check_count(&work)?;
            parts.push(part);
        }
        let mut outcomes = merge(parts, crowd);
        outcomes.client.records = records;
        if remote.is_some() {
            outcomes.servers = readies.values().filter_map(|ready| ready.server.clone()).collect();
        }
        outcomes.client_ready.effective = readies.remove(&roles[servers]).unwrap_or_default().effective;
        Ok(outcomes)
    }

    /// The part of one of so many connections. They warm up for a fixed time, so that all are measured at once, and share
    /// the rate of an open loop.
    fn share(&self, work: Work, count: usize, servers: usize) -> Work {
        let open_loop = work.open_loop.map(|open| OpenLoop { per_s: open.per_s / count as f64, ..open });
        let shares_cpu = work.shares_cpu || count + servers > self.plan.topology.allowed.len();
        Work { warmup: Warmup::Fixed(work.warmup.about()), open_loop, shares_cpu, ..work }
    }
}

/// What all connections together say, as the two sides of a trial. Their latencies are one histogram: each of them is a
/// client's that somebody waited for.
fn merge(parts: Vec<Outcomes>, crowd: Crowd) -> Outcomes {
    let mut all = Outcomes::default();
    let shares: Vec<u64> = parts.iter().map(Outcomes::messages).collect();
    if let (Some(least), Some(most)) = (shares.iter().min(), shares.iter().max().filter(|most| **most > 0)) {
        all.measures.insert("fairness_ratio".into(), *least as f64 / *most as f64);
    }
    let (mut latency, mut service) = (Pool::default(), Pool::default());
    let mut timeline: Vec<(u64, u64, Pool)> = Vec::new();
    all.client.cpu = Some(Default::default());
    all.server.cpu = Some(Default::default());
    for part in parts {
        all.client.messages += part.messages();
        let (client, server) = (part.client, part.server);
        latency.add(client.latency.or(server.latency));
        service.add(server.service);
        // All began within a moment, so that their intervals are the same ones.
        for (index, window) in client.timeline.into_iter().chain(server.timeline).enumerate() {
            if index == timeline.len() {
                timeline.push((window.start_ns, 0, Pool::default()));
            }
            let (_, elapsed_ns, pool) = &mut timeline[index];
            *elapsed_ns = window.elapsed_ns.max(*elapsed_ns);
            pool.add(Some(window.latency));
        }
        all.client.first_send_ns = all.client.first_send_ns.into_iter().chain(client.first_send_ns).min();
        let last_recv_ns = server.last_recv_ns.or(client.last_recv_ns);
        all.server.last_recv_ns = all.server.last_recv_ns.max(last_recv_ns);
        all.client.cpu = all.client.cpu.zip(client.cpu).map(|(all, one)| all.plus(one));
        all.server.cpu = all.server.cpu.zip(server.cpu).map(|(all, one)| match crowd {
            Crowd::Pairs(_) => all.plus(one),
            // Each thread of the one server tells of the whole process.
            Crowd::Clients(_) if one.user_ns + one.sys_ns > all.user_ns + all.sys_ns => one,
            Crowd::Clients(_) => all,
        });
        all.client.counted = match all.client.counted.take() {
            None => counters::sum(client.counted, server.counted),
            counted => counters::sum(counters::sum(counted, client.counted), server.counted),
        };
        if matches!(crowd, Crowd::Clients(_)) {
            counters::none(
                &mut all.client.counted,
                "the one server of several clients has no measured part of its own",
            );
        }
        all.client.warmup_messages += client.warmup_messages;
        all.client.warmup_ns = all.client.warmup_ns.max(client.warmup_ns);
        // The slowest is the one to know of.
        all.client.first_message_ns =
            all.client.first_message_ns.max(client.first_message_ns.or(server.first_message_ns));
        all.client.records_lost += client.records_lost + server.records_lost;
        all.client.kept = [all.client.kept, client.kept].into_iter().flatten().reduce(f64::min);
        for (name, count) in client.stats.into_iter().chain(server.stats) {
            super::outcomes::count(&mut all.client.stats, name, count);
        }
        for flag in client.flags.into_iter().chain(server.flags) {
            if !all.client.flags.contains(&flag) {
                all.client.flags.push(flag);
            }
        }
    }
    all.client.latency = latency.into_histogram();
    all.server.service = service.into_histogram();
    all.client.timeline = timeline
        .into_iter()
        .filter_map(|(start_ns, elapsed_ns, pool)| {
            Some(Window { start_ns, elapsed_ns, latency: pool.into_histogram()? })
        })
        .collect();
    all
}

/// The histograms of all connections in one.
#[derive(Default)]
struct Pool(Option<Recorder>);

impl Pool {
    fn add(&mut self, part: Option<Histogram>) {
        if let Some(part) = part.as_ref().and_then(recorder) {
            self.0.get_or_insert_default().merge(&part);
        }
    }

    fn into_histogram(self) -> Option<Histogram> {
        self.0.as_ref().map(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc_results::run::CpuUse;

    #[test]
    fn a_crowd_is_the_sum_of_its_parts_from_the_first_send_to_the_last_receive() {
        let part = |messages: u64, first: u64, last: u64| {
            let mut recorder = Recorder::new();
            (0..messages).for_each(|_| recorder.record(last - first));
            let cpu = Some(CpuUse { user_ns: messages, ..CpuUse::default() });
            Outcomes {
                client: Outcome {
                    messages,
                    first_send_ns: Some(first),
                    last_recv_ns: Some(last),
                    latency: Some(histogram(&recorder)),
                    cpu,
                    ..Outcome::default()
                },
                server: Outcome { cpu, ..Outcome::default() },
                ..Outcomes::default()
            }
        };
        let merged = |crowd| merge(vec![part(10, 100, 200), part(30, 150, 400)], crowd);
        let pairs = merged(Crowd::Pairs(2));
        assert_eq!((pairs.messages(), pairs.elapsed_ns()), (40, 300));
        assert_eq!(pairs.measures["fairness_ratio"], 1.0 / 3.0);
        assert_eq!(pairs.client.latency.as_ref().and_then(recorder).unwrap().len(), 40);
        assert_eq!(
            pairs.client.cpu.zip(pairs.server.cpu).map(|(c, s)| (c.user_ns, s.user_ns)),
            Some((40, 40))
        );
        let clients = merged(Crowd::Clients(2));
        assert_eq!(clients.server.cpu.map(|cpu| cpu.user_ns), Some(30), "one process, counted once");
    }
}
