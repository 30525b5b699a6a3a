//! The dimensions of patterns: how many take part, how many of them send, and through what a broadcast goes.

use std::collections::BTreeMap;

use ipc_transports::Options;
use ipc_transports::broadcast::BroadcastOptions;

use super::{PlannedCell, unique};
use crate::error::Failure;
use crate::fit::Impossible;
use crate::lists;
use crate::mechanism::Mechanism;
use crate::pattern::Pattern;
use crate::settings::Settings;
use crate::workload::{Io, Mode};

/// The transport whose ring many can read at once.
const SHARED: &str = "shm";

impl PlannedCell {
    /// The same cell with each number of peers, where it is a pattern. A broadcast over shared memory is two cells: a
    /// connection and a copy for each peer, as over every other transport, and one ring that all read.
    pub(super) fn among(
        self,
        peers: &[usize],
        hot: Option<usize>,
        mechanism: &Mechanism,
    ) -> Vec<PlannedCell> {
        let Some(pattern) = self.point.mode.pattern() else { return vec![self] };
        let with = |count: &usize| {
            let mut cell = PlannedCell { peers: Some(*count), ..self.clone() };
            if *count != 1 {
                cell.point.dimensions.insert("peers".into(), count.to_string());
            }
            cell.hot = hot.filter(|hot| hot < count && self.point.mode == Mode::Pattern(Pattern::FanIn));
            if let Some(hot) = cell.hot {
                cell.point.dimensions.insert("hot".into(), hot.to_string());
            }
            cell.impossible =
                cell.impossible.or_else(|| no_pattern(mechanism, pattern, *count, &self.options));
            let shared = (pattern == Pattern::Broadcast && mechanism.name == SHARED).then(|| cell.shared());
            [cell].into_iter().chain(shared)
        };
        peers.iter().flat_map(with).collect()
    }

    /// The same broadcast through one ring.
    fn shared(&self) -> PlannedCell {
        let mut cell = PlannedCell { shared_ring: true, ..self.clone() };
        cell.point.dimensions.insert("ring".into(), "shared".into());
        let refused = |(key, value): (&String, &String)| BroadcastOptions::default().fill(key, value).err();
        cell.impossible = cell.impossible.or_else(|| {
            self.options.iter().find_map(refused).map(|error| Impossible {
                what: "the ring of a broadcast cannot be used with these options".into(),
                why: error.to_string(),
                fix: format!("change what -L says about {SHARED}"),
            })
        });
        cell
    }
}

/// Sizes of patterns.
pub(super) fn peers(text: &str) -> Result<Vec<usize>, String> {
    const MOST: u64 = 256;
    unique(text, |number| match lists::count(number.trim())? {
        count if count <= MOST => Ok(count as usize),
        count => Err(format!("{count} peers are more than {MOST}, each a process of its own")),
    })
}

/// How many peers of a fan-in send.
pub(super) fn hot(settings: &Settings, modes: &[Mode], peers: &[usize]) -> Result<Option<usize>, Failure> {
    let parse = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is not a number of peers"));
    let hot = settings.parse("hot", parse)?;
    if hot.is_some() && !modes.contains(&Mode::Pattern(Pattern::FanIn)) {
        return Err(Failure::usage("--hot changes nothing here")
            .why("it says how many peers of a fan-in send")
            .fix("drop it, or add --mode fan-in"));
    }
    if let Some(hot) = hot.filter(|hot| peers.iter().all(|count| hot >= count)) {
        let most = peers.iter().max().copied().unwrap_or(1);
        return Err(Failure::usage(format!("--hot {hot} leaves no peer silent"))
            .why(format!("there are {most} at most, and all of them send without it"))
            .fix(format!("use less than {most}, or more --peers")));
    }
    Ok(hot)
}

fn no_pattern(
    mechanism: &Mechanism,
    pattern: Pattern,
    peers: usize,
    options: &BTreeMap<String, String>,
) -> Option<Impossible> {
    let name = mechanism.name;
    let connections: usize = pattern.nodes(peers).iter().map(|node| node.inbound).sum();
    if peers < pattern.fewest() {
        return Some(Impossible {
            what: format!("{} of {peers} is no pattern", pattern.name()),
            why: format!("it needs {} peers", pattern.fewest()),
            fix: format!("use --peers {}", pattern.fewest()),
        });
    }
    if !mechanism.ways.contains(&Io::Async) && pattern.nodes(peers).iter().any(|node| node.inbound > 1) {
        return Some(Impossible {
            what: format!("{name} cannot be waited on together with others"),
            why: "it was added without a descriptor that says when it is ready".into(),
            fix: "make its halves Pollable and add it using with_pollable".into(),
        });
    }
    let can = (mechanism.can)(options).ok()?;
    let most = can.max_clients.filter(|most| connections > *most)?;
    Some(Impossible {
        what: format!("{name} cannot carry {} of {peers} here", pattern.name()),
        why: format!("it needs {connections} connections and there is room for {most}"),
        fix: format!("use fewer peers, or leave it out: -t all,-{name}"),
    })
}
