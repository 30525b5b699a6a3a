//! Workloads of more than two processes: who sends to whom.
//!
//! ```text
//! fan-out    0 ─► 1, 2, … N    each message to one of them, in turn
//! fan-in     1, 2, … N ─► 0
//! pipeline   0 ─► 1 ─► 2 … ─► N
//! broadcast  0 ─► 1, 2, … N    each message to all of them
//! mesh       each of N to every other, in turn
//! ```
//! Every process is a worker of its own and every arrow a connection of its own, but for the broadcast through one ring
//! of shared memory that all of its readers map.

pub(crate) mod gather;
pub(crate) mod node;
pub(crate) mod party;
pub(crate) mod shared;

use serde::{Deserialize, Serialize};

/// A shape of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Pattern {
    /// One process hands out messages to N.
    FanOut,
    /// N processes send to one.
    FanIn,
    /// Every message passes through N processes.
    Pipeline,
    /// One process sends every message to N.
    Broadcast,
    /// N processes, each to every other.
    Mesh,
}

impl Pattern {
    pub(crate) const ALL: [Pattern; 5] =
        [Pattern::FanOut, Pattern::FanIn, Pattern::Pipeline, Pattern::Broadcast, Pattern::Mesh];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pattern::FanOut => "fan-out",
            Pattern::FanIn => "fan-in",
            Pattern::Pipeline => "pipeline",
            Pattern::Broadcast => "broadcast",
            Pattern::Mesh => "mesh",
        }
    }

    /// Fewest peers that make the pattern.
    pub(crate) fn fewest(self) -> usize {
        if self == Pattern::Mesh { 2 } else { 1 }
    }

    /// Its processes, of which only `hot` send all the time, where that is said.
    pub(crate) fn nodes_with(self, peers: usize, hot: Option<usize>) -> Vec<Node> {
        let mut nodes = self.nodes(peers);
        // Process 0 receives.
        nodes.iter_mut().skip(1 + hot.unwrap_or(peers)).for_each(|node| node.duty = Duty::Rest);
        nodes
    }

    /// Its processes, for `peers` beside process 0 (in a mesh: in all).
    pub(crate) fn nodes(self, peers: usize) -> Vec<Node> {
        let hub = |outbound: Vec<usize>, duty| Node { inbound: 0, outbound, duty };
        let sink = |inbound| Node { inbound, outbound: Vec::new(), duty: Duty::Sink };
        let all = || (1..=peers).collect::<Vec<_>>();
        let (first, rest): (Node, Vec<Node>) = match self {
            Pattern::FanOut => (hub(all(), Duty::Spread), vec![sink(1); peers]),
            Pattern::Broadcast => (hub(all(), Duty::Copy), vec![sink(1); peers]),
            Pattern::FanIn => (sink(peers), vec![hub(vec![0], Duty::Spread); peers]),
            Pattern::Pipeline => {
                let relay = |index| Node { inbound: 1, outbound: vec![index + 1], duty: Duty::Relay };
                let relays = (1..peers).map(relay);
                (hub(vec![1], Duty::Spread), relays.chain([sink(1)]).collect())
            }
            Pattern::Mesh => {
                let member = |index: usize| {
                    let others = (0..peers).filter(|other| *other != index).collect();
                    Node { inbound: peers - 1, outbound: others, duty: Duty::Spread }
                };
                return (0..peers).map(member).collect();
            }
        };
        [first].into_iter().chain(rest).collect()
    }
}

/// The processes of a broadcast to `readers` through one ring. They come to its writer, as they would to a listener.
pub(crate) fn shared_ring(readers: usize) -> Vec<Node> {
    let writer = Node { inbound: readers, outbound: Vec::new(), duty: Duty::Publish };
    let reader = Node { inbound: 0, outbound: vec![0], duty: Duty::Subscribe };
    [writer].into_iter().chain(vec![reader; readers]).collect()
}

/// One process of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Connections that come to it.
    pub(crate) inbound: usize,
    /// Processes that it connects to, by number.
    pub(crate) outbound: Vec<usize>,
    pub(crate) duty: Duty,
}

impl Node {
    /// Whether messages end here.
    pub(crate) fn is_sink(&self) -> bool {
        self.inbound > 0 && self.duty != Duty::Relay
    }
}

/// What a process does with messages. One that has inbound connections and is no relay receives them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Duty {
    /// Makes messages, each for the next of its outbound connections.
    Spread,
    /// Makes messages, each for all of them.
    Copy,
    /// Sends one message at the beginning and one at the end.
    Rest,
    /// Passes on what comes.
    Relay,
    /// Receives only.
    Sink,
    /// Makes messages, each once, into a ring that all others read.
    Publish,
    /// Reads them there.
    Subscribe,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outbound_connection_is_somebodys_inbound_one() {
        for pattern in Pattern::ALL {
            for peers in pattern.fewest()..=8 {
                let nodes = pattern.nodes(peers);
                for (index, node) in nodes.iter().enumerate() {
                    let coming = nodes.iter().flat_map(|node| &node.outbound).filter(|to| **to == index);
                    assert_eq!(coming.count(), node.inbound, "{} {peers}: {index}", pattern.name());
                    assert!(!node.outbound.contains(&index));
                }
            }
        }
    }

    #[test]
    fn the_readers_of_one_ring_come_to_its_writer() {
        let nodes = shared_ring(3);
        assert_eq!((nodes.len(), nodes[0].inbound), (4, 3));
        assert!(nodes[1..].iter().all(|reader| reader.outbound == [0] && !reader.is_sink()));
    }

    #[test]
    fn the_shapes_are_those_of_the_picture() {
        let count = |pattern: Pattern| pattern.nodes(4).len();
        assert_eq!(Pattern::ALL.map(count), [5, 5, 5, 5, 4]);
        let sinks = |pattern: Pattern| pattern.nodes(4).iter().filter(|node| node.is_sink()).count();
        assert_eq!(Pattern::ALL.map(sinks), [4, 1, 1, 4, 4]);
    }
}
