//! A trial of durable logging: one logger, a worker per producer, and the file read back by this process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::pattern::{check, merge, set_up};
use super::{MEASURING_PATIENCE, Outcomes, Runner, greet, out_of_turn};
use crate::crew::{Crew, Trouble};
use crate::matrix::PlannedCell;
use crate::pattern::Pattern;
use crate::protocol::{Complaint, Journal, Outcome, Reply, Role};
use crate::scene::events::{ACKNOWLEDGED, LOST};
use crate::scene::journal::{self, Found};
use crate::scratch::Scratch;
use crate::workload::Work;

/// The process that others send to, in a fan-in.
const LOGGER: Role = Role::Node(0);

impl Runner<'_> {
    /// One trial. When the logger dies the file is read back, too: the trial fails either way, and says whether a record
    /// that was acknowledged as durable is missing.
    pub(super) fn log_events(
        &self,
        planned: &PlannedCell,
        directory: &Path,
        rate: u64,
        work: Work,
    ) -> Result<Outcomes, Trouble> {
        let nodes = Pattern::FanIn.nodes(planned.peers.unwrap_or(1));
        fs::create_dir_all(directory)?;
        let file = Scrap::new(directory);
        let journal = Journal { path: file.0.clone(), rate };
        let scratch = Scratch::choose()?;
        let mut crew = Crew::new(self.signals);
        let (id, hogs) = (planned.point.to_string(), self.hogs(planned));
        crew.start_hogs(hogs.len(), &id)?;
        for number in 0..nodes.len() {
            crew.start(Role::Node(number as u16), &id, None)?;
        }
        let roles = greet(&mut crew, work, &hogs)?;
        let effective = set_up(&mut crew, planned, (&roles, &nodes), work, &scratch, Some(&journal))?;
        let mut done: BTreeMap<usize, Outcome> = BTreeMap::new();
        let mut death = None;
        while done.len() + usize::from(death.is_some()) < nodes.len() {
            match crew.next(MEASURING_PATIENCE) {
                Ok((_, Reply::Progress { .. })) => {}
                Ok((Role::Node(number), Reply::Done(outcome))) => {
                    done.insert(usize::from(number), *outcome);
                }
                Ok((role, reply)) => return Err(out_of_turn(role, &reply)),
                Err(Trouble::Died { role: LOGGER, how, .. }) if death.is_none() => {
                    crew.bury(LOGGER);
                    death = Some(how);
                }
                Err(trouble) => return Err(trouble),
            }
        }
        crew.dismiss();
        let found = journal::read(&file.0, work.size, work.seed)?;
        if let Some(how) = death {
            return Err(Trouble::Complaint(LOGGER, obituary(&how, &done, &found)));
        }
        check(&done, work)?;
        compare(&done, &found)?;
        let measures = done.get(&0).map(|logger| logger.measures.clone()).unwrap_or_default();
        let mut outcomes = merge(done);
        outcomes.measures.extend(measures);
        outcomes.client_ready.effective = effective;
        Ok(outcomes)
    }
}

fn wrong(text: String) -> Trouble {
    Trouble::Io(io::Error::other(text))
}

/// Every record that a producer sent and heard to be durable is in the file, and nothing else.
fn compare(done: &BTreeMap<usize, Outcome>, found: &Found) -> Result<(), Trouble> {
    for (producer, outcome) in done.iter().filter(|(number, _)| **number != 0) {
        let sent: u64 = outcome.made_for.iter().map(|(_, count)| count).sum();
        let whole = found.records.get(producer).copied().unwrap_or(0);
        let acknowledged = acknowledged(outcome);
        if outcome.flags.iter().any(|flag| flag == LOST) || sent != whole || sent != acknowledged {
            return Err(wrong(format!(
                "peer {producer} sent {sent} records, {acknowledged} were called durable and {whole} are in the file"
            )));
        }
    }
    if found.torn_bytes > 0 {
        return Err(wrong(format!(
            "{} bytes behind the last record of a file that was closed",
            found.torn_bytes
        )));
    }
    Ok(())
}

fn acknowledged(outcome: &Outcome) -> u64 {
    outcome.measures.get(ACKNOWLEDGED).map_or(0, |count| *count as u64)
}

/// What the file says after the logger died.
fn obituary(how: &str, done: &BTreeMap<usize, Outcome>, found: &Found) -> Complaint {
    let whole: u64 = found.records.values().sum();
    let called: u64 = done.values().map(acknowledged).sum();
    let missing = |(producer, outcome): (&usize, &Outcome)| {
        acknowledged(outcome).saturating_sub(found.records.get(producer).copied().unwrap_or(0))
    };
    let verdict = match done.iter().map(missing).sum::<u64>() {
        0 => format!("all {called} that were called durable are among them"),
        lost => format!("{lost} of {called} that were called durable ARE MISSING"),
    };
    Complaint {
        what: format!("the logger (peer 0) died ({how})"),
        why: Some(format!(
            "its file was read back: {whole} whole records, {} torn bytes behind them; {verdict}",
            found.torn_bytes
        )),
        fix: None,
        blames_the_peer: false,
    }
}

/// A file that is gone when the trial is over.
struct Scrap(PathBuf);

impl Scrap {
    fn new(directory: &Path) -> Scrap {
        let name: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
        Scrap(directory.join(format!("events-{name}.log")))
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(sent: u64, acknowledged: f64) -> Outcome {
        let measures = [(ACKNOWLEDGED.to_owned(), acknowledged)].into();
        Outcome { made_for: vec![(0, sent)], measures, ..Outcome::default() }
    }

    fn found(records: u64) -> Found {
        Found { records: [(1, records)].into(), whole_bytes: 0, torn_bytes: 0 }
    }

    #[test]
    fn a_record_that_was_called_durable_and_is_not_there_is_told() {
        let done: BTreeMap<usize, Outcome> = [(1, producer(12, 10.0))].into();
        let why = |records| obituary("signal 9", &done, &found(records)).why.unwrap();
        assert!(why(11).contains("all 10 that were called durable"), "{}", why(11));
        assert!(why(9).contains("1 of 10 that were called durable ARE MISSING"), "{}", why(9));
    }

    #[test]
    fn a_file_with_more_or_less_than_was_sent_fails_the_trial() {
        let done: BTreeMap<usize, Outcome> = [(1, producer(12, 12.0))].into();
        assert!(compare(&done, &found(12)).is_ok());
        assert!(compare(&done, &found(11)).is_err() && compare(&done, &found(13)).is_err());
        let torn = Found { torn_bytes: 3, ..found(12) };
        assert!(compare(&done, &torn).is_err());
    }
}
