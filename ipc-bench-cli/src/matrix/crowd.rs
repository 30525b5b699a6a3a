//! The same thing several times at once: independent pairs, or several clients of one server.

use std::ops::Range;

use super::{PlannedCell, unique};
use crate::error::Failure;
use crate::fit::Impossible;
use crate::lists;
use crate::mechanism::Mechanism;
use crate::settings::Settings;
use crate::workload::Mode;

/// How many of the same, each a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    /// So many servers with a client each.
    Pairs(usize),
    /// So many clients of one server, which serves each on a thread.
    Clients(usize),
}

impl Crowd {
    /// The setting that asks for it.
    fn name(self) -> &'static str {
        match self {
            Crowd::Pairs(_) => "pairs",
            Crowd::Clients(_) => "clients",
        }
    }

    pub(crate) fn connections(self) -> usize {
        match self {
            Crowd::Pairs(count) | Crowd::Clients(count) => count,
        }
    }

    pub(crate) fn servers(self) -> usize {
        match self {
            Crowd::Pairs(count) => count,
            Crowd::Clients(_) => 1,
        }
    }

    /// The clients of a server, by number.
    pub(crate) fn clients_of(self, server: usize) -> Range<usize> {
        match self {
            Crowd::Pairs(_) => server..server + 1,
            Crowd::Clients(count) => 0..count,
        }
    }
}

/// What was asked for; one of something is no crowd.
pub(super) fn asked(settings: &Settings) -> Result<Vec<Option<Crowd>>, Failure> {
    let pairs = settings.parse("pairs", counts)?.unwrap_or_default().into_iter().map(Crowd::Pairs);
    let clients = settings.parse("clients", counts)?.unwrap_or_default().into_iter().map(Crowd::Clients);
    let mut crowds: Vec<Option<Crowd>> = Vec::new();
    for crowd in pairs.chain(clients) {
        let crowd = Some(crowd).filter(|crowd| crowd.connections() > 1);
        if !crowds.contains(&crowd) {
            crowds.push(crowd);
        }
    }
    Ok(if crowds.is_empty() { vec![None] } else { crowds })
}

fn counts(text: &str) -> Result<Vec<usize>, String> {
    const MOST: u64 = 256;
    unique(text, |number| match lists::count(number.trim())? {
        count if count <= MOST => Ok(count as usize),
        count => Err(format!("{count} at once are more than {MOST}, each a process of its own")),
    })
}

/// Whether several of a mode can run at once. Patterns and scenes say themselves who takes part.
pub(crate) fn has_crowds(mode: Mode) -> bool {
    matches!(mode, Mode::Rtt | Mode::OneWay | Mode::Stream | Mode::Load)
}

impl PlannedCell {
    /// The same cell with each crowd, where its mode has any.
    pub(super) fn crowded(self, crowds: &[Option<Crowd>], mechanism: &Mechanism) -> Vec<PlannedCell> {
        if !has_crowds(self.point.mode) {
            return vec![self];
        }
        let with = |crowd: &Option<Crowd>| {
            let mut cell = PlannedCell { crowd: *crowd, ..self.clone() };
            if let Some(crowd) = crowd {
                cell.point.dimensions.insert(crowd.name().into(), crowd.connections().to_string());
                let apart = super::cannot_part(mechanism, crowd.name(), true);
                cell.impossible = cell.impossible.or(apart).or_else(|| {
                    no_room(*crowd, mechanism, (mechanism.can)(&self.options).ok()?.max_clients?)
                });
            }
            cell
        };
        crowds.iter().map(with).collect()
    }
}

fn no_room(crowd: Crowd, mechanism: &Mechanism, most: usize) -> Option<Impossible> {
    let (name, needed) = (mechanism.name, crowd.connections());
    (needed > most).then(|| Impossible {
        what: format!("{name} cannot carry {needed} {} here", crowd.name()),
        why: format!("there is room for {most} connections"),
        fix: format!("use --{} {most} or fewer, or leave it out: -t all,-{name}", crowd.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_one_server() {
        for crowd in [Crowd::Pairs(3), Crowd::Clients(3)] {
            let mut served: Vec<usize> =
                (0..crowd.servers()).flat_map(|server| crowd.clients_of(server)).collect();
            served.sort_unstable();
            assert_eq!(served, [0, 1, 2]);
        }
    }
}
