//! Result files: the old or the new version, whole, whoever is killed and however full the disk is.

use std::path::Path;
use std::time::Duration;

use ipc_results::file::write_atomic;

use super::cell::{Cell, DEADLINE, Role, Violation, violated};
use super::guest::{self, Ground, NOBODY, become_user, mount_tmpfs};
use super::journal::Journal;
use super::kill::{Killer, Victim, journal_of};
use crate::end::Random;

/// The file of the cell.
const NAME: &str = "run.json";

/// `rounds` writers are killed; then the disk is full, and the directory read-only.
pub fn run(cell: &mut Cell, rounds: u64) {
    let path = cell.directory().join(NAME);
    let journal = Journal::at(&journal_of(cell));
    let killer = Killer::start();
    for _ in 0..rounds {
        let outcome = one_writer(cell, &journal, &killer, &path).and_then(|()| cell.check_traces());
        cell.count(outcome);
        // What a killed writer had begun is called `.NAME.PID-N.partial`, and nobody takes it for a result.
        for name in super::cell::names_in(cell.directory()) {
            if name.ends_with(".partial") {
                let _ = std::fs::remove_file(cell.directory().join(name));
            }
        }
    }
    for case in ["disk-full", "read-only"] {
        let ground = Ground::new();
        match guest::ask(cell, case, &ground) {
            Ok(told) if told == guest::SKIPPED => cell.missed += 1,
            Ok(told) => {
                cell.notes.push(told);
                cell.count(Ok(()));
            }
            Err(violation) => cell.count(Err(violation)),
        }
    }
}

fn one_writer(cell: &mut Cell, journal: &Journal, killer: &Killer, path: &Path) -> Result<(), Violation> {
    use std::sync::atomic::Ordering::SeqCst;
    journal.clear();
    let seed = cell.random.next();
    let address = format!("uds:{}", path.display()).parse().expect("an address");
    let mut victim = Victim::start_as(Role::Sender, cell, &address, seed, &[(VARIABLE, "1".into())]);
    let began = std::time::Instant::now();
    while journal.committed().load(SeqCst) == 0 {
        if victim.has_ended() || began.elapsed() > 10 * DEADLINE {
            victim.end();
            return violated("I5", "the next writer does not write");
        }
        std::thread::yield_now();
    }
    victim.doom(killer, Duration::from_micros(cell.random.below(3000) as u64));
    let _ = victim.blow();
    victim.end();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let (committed, begun) = (journal.committed().load(SeqCst), journal.begun().load(SeqCst));
    match number_of(&text) {
        Some(number) if (committed..=begun).contains(&number) => Ok(()),
        Some(number) => violated("I8", format!("version {number}, {committed} committed, {begun} begun")),
        None => violated("I8", format!("{} bytes that are no version", text.len())),
    }
}

/// What makes a victim a writer of files.
pub(super) const VARIABLE: &str = "IPC_CHAOS_WRITER";

/// Victim: writes one version after the other.
pub(super) fn write_for_ever(path: &Path, journal: &Journal, seed: u64) {
    use std::sync::atomic::Ordering::SeqCst;
    let mut random = Random(seed);
    for number in 1.. {
        journal.begun().store(number, SeqCst);
        if write_atomic(path, version(number, random.below(200_000)).as_bytes()).is_err() {
            journal.wrong().fetch_add(1, SeqCst);
            return;
        }
        journal.committed().store(number, SeqCst);
    }
}

/// A document that says in its first line which version it is and how long.
fn version(number: u64, len: usize) -> String {
    let mut text = format!("{number} {len}\n");
    text.extend((0..len).map(|at| char::from(b'a' + ((at as u64 + number) % 26) as u8)));
    text
}

/// Which version `text` is; none if it is not one, whole and right.
fn number_of(text: &str) -> Option<u64> {
    let (first, _) = text.split_once('\n')?;
    let (number, len) = first.split_once(' ')?;
    let (number, len) = (number.parse().ok()?, len.parse().ok()?);
    (version(number, len) == text).then_some(number)
}

/// Guest: a disk of 64 KiB, and files of every length around what still fits.
pub(super) fn disk_full(place: &guest::Place) -> Result<String, String> {
    let disk = place.ground.join("home");
    mount_tmpfs(&disk, 64 << 10)?;
    let path = disk.join(NAME);
    let mut told = (0, 0, String::new());
    let mut old = version(0, 4000);
    write_atomic(&path, old.as_bytes()).map_err(|error| error.to_string())?;
    for (number, len) in (0..128 << 10).step_by(64).enumerate() {
        let new = version(number as u64 + 1, len);
        match write_atomic(&path, new.as_bytes()) {
            Ok(()) => {
                told.0 += 1;
                old = new;
            }
            Err(error) => {
                told.1 += 1;
                told.2 = error.to_string();
            }
        }
        if std::fs::read_to_string(&path).map_err(|error| error.to_string())? != old {
            return Err(format!("a file of {len} bytes on a full disk: neither old nor new"));
        }
        let names = super::cell::names_in(&disk);
        if names != [NAME] {
            return Err(format!("a file of {len} bytes on a full disk leaves {names:?}"));
        }
    }
    match told {
        (0, ..) | (_, 0, _) => Err(format!("{} files fitted, {} did not", told.0, told.1)),
        (fitted, refused, why) => Ok(format!(
            "disk full: {fitted} files fitted, {refused} did not: {}",
            why.replace(&*disk.to_string_lossy(), "")
        )),
    }
}

/// Guest: a directory that cannot be written to.
pub(super) fn read_only(place: &guest::Place) -> Result<String, String> {
    let path = place.ground.join(NAME);
    std::fs::write(&path, "old").map_err(|error| error.to_string())?;
    become_user(NOBODY)?;
    match write_atomic(&path, b"new") {
        Ok(()) => Err("written into another user's directory".into()),
        Err(error) => Ok(error.to_string().replace(&*place.ground.to_string_lossy(), "")),
    }
}
