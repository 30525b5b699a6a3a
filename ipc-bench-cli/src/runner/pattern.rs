//! A trial of a pattern: one worker per process of it.

use std::collections::BTreeMap;
use std::io;

use ipc_results::Recorder;
use ipc_transports::broadcast;

use super::{
    MEASURING_PATIENCE, Outcomes, Runner, SETUP_PATIENCE, greet, out_of_turn, recorder, with_options,
};
use crate::counters;
use crate::crew::{Crew, Trouble};
use crate::matrix::PlannedCell;
use crate::pattern::node::RESTED;
use crate::pattern::{self, Node, Pattern};
use crate::protocol::{Job, Journal, Link, Outcome, Reply, Request, Role};
use crate::scratch::Scratch;
use crate::worker::histogram;
use crate::workload::{Length, Work};

/// Looks at all connections before a process sleeps, where the policy lets it spin: about what a shared memory
/// connection by itself would spend.
const LOOKS: u32 = 200;

impl Runner<'_> {
    /// One trial.
    pub(super) fn perform(
        &self,
        planned: &PlannedCell,
        pattern: Pattern,
        work: Work,
    ) -> Result<Outcomes, Trouble> {
        let peers = planned.peers.unwrap_or(1);
        let nodes = match planned.shared_ring {
            true => pattern::shared_ring(peers),
            false => pattern.nodes_with(peers, planned.hot),
        };
        // Before the crew, as everywhere.
        let scratch = Scratch::choose()?;
        let mut crew = Crew::of(planned.arm.as_ref(), self.signals);
        let (id, hogs) = (planned.point.to_string(), self.hogs(planned));
        crew.start_hogs(hogs.len(), &id)?;
        for number in 0..nodes.len() {
            crew.start(Role::Node(number as u16), &id, None)?;
        }
        let roles = greet(&mut crew, work, &hogs)?;
        let effective = set_up(&mut crew, planned, (&roles, &nodes), work, &scratch, None)?;
        let mut done = BTreeMap::new();
        while done.len() < nodes.len() {
            match crew.next(MEASURING_PATIENCE)? {
                (_, Reply::Progress { .. }) => {}
                (Role::Node(number), Reply::Done(outcome)) => {
                    done.insert(usize::from(number), *outcome);
                }
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
        crew.dismiss();
        check(&done, work)?;
        let mut outcomes = merge(done);
        outcomes.client_ready.effective = effective;
        Ok(outcomes)
    }
}

/// Connects everybody and lets them begin; the settings that one of them was granted.
pub(super) fn set_up(
    crew: &mut Crew<'_>,
    planned: &PlannedCell,
    (roles, nodes): (&[Role], &[Node]),
    work: Work,
    scratch: &Scratch,
    journal: Option<&Journal>,
) -> Result<Vec<(String, u64)>, Trouble> {
    let addresses = assign(crew, planned, nodes, work, scratch, journal)?;
    for (role, node) in roles.iter().zip(nodes) {
        let peers = node.outbound.iter().map(|to| (*to, addresses[to].clone())).collect();
        crew.tell(*role, &Request::Peers(peers))?;
    }
    let mut effective = Vec::new();
    for _ in nodes {
        match crew.next(SETUP_PATIENCE)? {
            (_, Reply::Ready(ready)) if effective.is_empty() => effective = ready.effective,
            (_, Reply::Ready(_)) => {}
            (role, reply) => return Err(out_of_turn(role, &reply)),
        }
    }
    scratch.vacate();
    for role in roles {
        crew.tell(*role, &Request::Go)?;
    }
    Ok(effective)
}

/// Tells every worker its part, and hears where those that others connect to listen. The first of them makes the
/// trial's directory, so it goes before the others.
fn assign(
    crew: &mut Crew<'_>,
    planned: &PlannedCell,
    nodes: &[Node],
    work: Work,
    scratch: &Scratch,
    journal: Option<&Journal>,
) -> Result<BTreeMap<usize, String>, Trouble> {
    let name = if planned.shared_ring { broadcast::SCHEME } else { &planned.point.transport };
    let looks = if planned.wait == "park" { 0 } else { LOOKS };
    let mut addresses = BTreeMap::new();
    let listening: Vec<usize> = (0..nodes.len()).filter(|number| nodes[*number].inbound > 0).collect();
    let others = (0..nodes.len()).filter(|number| nodes[*number].inbound == 0);
    for number in listening.iter().copied().chain(others) {
        let role = Role::Node(number as u16);
        let bare = match name {
            "tcp" => "tcp:127.0.0.1:0".to_owned(),
            _ => format!("{name}:{}", scratch.path().join(number.to_string()).display()),
        };
        let link = Link::Node {
            name: name.to_owned(),
            address: with_options(&bare, planned),
            node: nodes[number].clone(),
            looks,
            journal: journal.cloned(),
        };
        let first = listening.first() == Some(&number);
        let scratch = first.then(|| scratch.path().to_owned());
        crew.tell(role, &Request::Job(Box::new(Job { role, link, work, cpu: None, scratch })))?;
        if nodes[number].inbound > 0 {
            match crew.next(SETUP_PATIENCE)? {
                (Role::Node(from), Reply::Listening { address }) if usize::from(from) == number => {
                    addresses.insert(number, with_options(&address, planned));
                }
                (role, reply) => return Err(out_of_turn(role, &reply)),
            }
        }
    }
    Ok(addresses)
}

/// Every message that was made for somebody who counts arrived there, once, and as many were made as were asked for.
pub(super) fn check(done: &BTreeMap<usize, Outcome>, work: Work) -> Result<(), Trouble> {
    let wrong = |text: String| Err(Trouble::Io(io::Error::other(text)));
    for (sender, outcome) in done {
        if let (Length::Messages(asked), true) = (work.length, !outcome.made_for.is_empty()) {
            let made: u64 = outcome.made_for.iter().map(|(_, count)| count).sum();
            if made < asked && !outcome.flags.iter().any(|flag| flag == RESTED) {
                return wrong(format!("peer {sender} made {made} messages of {asked}"));
            }
        }
        for (receiver, made) in &outcome.made_for {
            let got = done.get(receiver).map_or(&[][..], |outcome| &outcome.got_from);
            // A relay passes on without counting; the end of its chain is checked below.
            let arrived = got.iter().find(|(from, _)| from == sender).map(|(_, count)| *count);
            if arrived.is_some_and(|arrived| arrived != *made) {
                return wrong(format!(
                    "{} of {made} messages from peer {sender} arrived at peer {receiver}",
                    arrived.unwrap_or(0)
                ));
            }
        }
    }
    let made: u64 = done.values().flat_map(|outcome| &outcome.made_for).map(|(_, count)| count).sum();
    let got: u64 = done.values().map(|outcome| outcome.messages).sum();
    if made != got { wrong(format!("{got} messages arrived of {made}")) } else { Ok(()) }
}

/// What all processes together say, as the two sides of a trial.
pub(super) fn merge(done: BTreeMap<usize, Outcome>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut latency = Recorder::new();
    let mut shares: Vec<u64> = Vec::new();
    let single_sink = done.values().filter(|outcome| outcome.messages > 0).count() == 1;
    let receiver = done.values().find(|outcome| outcome.messages > 0).and_then(|outcome| outcome.cpu);
    outcomes.client.cpu = Some(Default::default());
    outcomes.server.cpu = Some(Default::default());
    for outcome in done.into_values() {
        if let Some(other) = outcome.latency.as_ref().and_then(recorder) {
            latency.merge(&other);
        }
        let earlier = outcomes.client.first_send_ns.into_iter().chain(outcome.first_send_ns).min();
        outcomes.client.first_send_ns = earlier;
        outcomes.server.last_recv_ns = outcomes.server.last_recv_ns.max(outcome.last_recv_ns);
        outcomes.server.messages += outcome.messages;
        outcomes.client.cpu = outcomes.client.cpu.zip(outcome.cpu).map(|(all, one)| all.plus(one));
        outcomes.client.counted = match outcomes.client.counted.take() {
            None => outcome.counted,
            all => counters::sum(all, outcome.counted),
        };
        if single_sink {
            shares.extend(outcome.got_from.iter().map(|(_, count)| *count));
        } else if outcome.messages > 0 {
            shares.push(outcome.messages);
        }
    }
    outcomes.client.latency = Some(histogram(&latency));
    if let (Some(cpu), Some(first), Some(last)) =
        (receiver, outcomes.client.first_send_ns, outcomes.server.last_recv_ns.filter(|_| single_sink))
        && last > first
    {
        let busy = (cpu.user_ns + cpu.sys_ns) as f64 / (last - first) as f64;
        outcomes.measures.insert("receiver_cpu_percent".into(), busy * 100.0);
    }
    // The smallest share of one sender, or of one receiver where there are several, against the largest.
    if let (Some(least), Some(most)) = (shares.iter().min(), shares.iter().max()) {
        outcomes.measures.insert("fairness_ratio".into(), *least as f64 / *most as f64);
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(made: u64, got: u64) -> BTreeMap<usize, Outcome> {
        let sender = Outcome { made_for: vec![(0, made)], ..Outcome::default() };
        let sink = Outcome { messages: got, got_from: vec![(1, got)], ..Outcome::default() };
        [(0, sink), (1, sender)].into()
    }

    fn work(length: Length) -> Work {
        let mode = crate::workload::Mode::Pattern(Pattern::FanIn);
        Work { mode, length, ..super::super::STANDARD_WORK }
    }

    #[test]
    fn a_message_that_is_missing_or_came_twice_fails_the_trial() {
        let time = work(Length::Time(std::time::Duration::ZERO));
        assert!(check(&done(10, 10), time).is_ok());
        for got in [9, 11] {
            let error = format!("{:?}", check(&done(10, got), time).unwrap_err());
            assert!(
                error.contains(&format!("{got} of 10 messages from peer 1 arrived at peer 0")),
                "{error}"
            );
        }
        assert!(check(&done(10, 10), work(Length::Messages(11))).is_err());
    }

    #[test]
    fn fairness_is_the_smallest_share_against_the_largest() {
        let sink = Outcome { messages: 30, got_from: vec![(1, 10), (2, 20)], ..Outcome::default() };
        let outcomes = merge([(0, sink)].into());
        assert_eq!(outcomes.measures["fairness_ratio"], 0.5);
        let sinks = [10, 40].map(|messages| Outcome { messages, ..Outcome::default() });
        let outcomes = merge(sinks.into_iter().enumerate().collect());
        assert_eq!(outcomes.measures["fairness_ratio"], 0.25);
        assert_eq!(outcomes.messages(), 50);
    }
}
