//! Many messages over one connection: what a process holds may not depend on how many.

use super::cell::{Cell, Role, violated};
use super::journal::Journal;
use super::kill::journal_of;
use super::soak::resident_kib;
use super::storm::{converse, pass};
use crate::traces::Traces;

/// What memory may grow by after the warm-up, in KiB.
const MOST_KIB: f64 = 128.0;

/// `messages` in one direction, after a tenth as many.
pub fn run(cell: &mut Cell, messages: u64) {
    let journal = Journal::at(&journal_of(cell));
    let (role, warm) = (cell.role, messages.div_ceil(10));
    let talked = converse(cell, &journal, warm + messages, &[], |connection, series| {
        pass(role, connection, series, warm)?;
        let (kib, traces) = (resident_kib(), Traces::now());
        pass(role, connection, series, warm + messages)?;
        let (grown, more) = (resident_kib() - kib, Traces::now().beyond(&traces));
        if grown > MOST_KIB || !more.is_empty() {
            return violated("I4", format!("{grown:.0} KiB more, {more}"));
        }
        Ok(grown)
    });
    if let Ok((grown, _)) = &talked {
        let who = if role == Role::Sender { "receives" } else { "sends" };
        cell.notes.push(format!("{messages} messages; memory of who {who} them {grown:+.0} KiB"));
    }
    let outcome = talked.map(drop).and_then(|()| cell.check_names());
    cell.count(outcome);
}
