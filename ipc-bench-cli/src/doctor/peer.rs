//! K: whether a peer lives in another world.

use std::collections::{BTreeMap, BTreeSet};

use ipc_results::Environment;
use ipc_results::environment::namespaces_of;
use ipc_results::run::{Level, Side};

use super::Check;
use super::system::System;

/// Another process, to be held against this one.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// What people know it by.
    name: String,
    boot_id: Option<String>,
    /// None where it cannot be looked at.
    namespaces: BTreeMap<String, String>,
    /// What would let them be read.
    readable: &'static str,
}

impl Peer {
    /// A process of this machine.
    pub(super) fn process(pid: u32, environment: &Environment) -> Peer {
        Peer {
            name: format!("process {pid}"),
            boot_id: environment.boot_id.clone(),
            namespaces: namespaces_of(&pid.to_string()),
            readable: "the same user, or root, in the host's pid namespace",
        }
    }

    /// A server that said this of itself.
    pub(super) fn server(name: String, side: &Side) -> Peer {
        let Side { boot_id, namespaces, .. } = side;
        let readable = "mount /proc where it runs: a server reads its own there";
        Peer { name, boot_id: boot_id.clone(), namespaces: namespaces.clone(), readable }
    }
}

pub(super) fn checks(system: &System) -> Vec<Check> {
    system.peer.as_ref().map(|peer| compare(&system.environment, peer)).unwrap_or_default()
}

/// What this process, in `environment`, and a peer have in common. With another boot that is nothing, which K2 says: the numbers
/// of the first namespaces are the same on every machine.
pub(super) fn compare(environment: &Environment, peer: &Peer) -> Vec<Check> {
    let elsewhere = environment.boot_id.iter().zip(&peer.boot_id).any(|(own, theirs)| own != theirs);
    let namespaces = (!elsewhere).then(|| namespaces(environment, peer));
    namespaces.into_iter().chain([boot(environment, peer)]).collect()
}

fn namespaces(environment: &Environment, peer: &Peer) -> Check {
    let Peer { name, namespaces: theirs, .. } = peer;
    let own = &environment.namespaces;
    let check = |level, text: String| Check::new("K1", "namespaces", level, text);
    if theirs.is_empty() {
        return check(Level::Warn, format!("those of {name} cannot be read")).fix(peer.readable);
    }
    let kinds: BTreeSet<&String> = own.keys().chain(theirs.keys()).collect();
    let (told, untold): (Vec<&String>, Vec<&String>) =
        kinds.into_iter().partition(|kind| own.contains_key(*kind) && theirs.contains_key(*kind));
    let list = |kinds: &[&String]| kinds.iter().map(|kind| meaning(kind)).collect::<Vec<_>>().join(", ");
    let others: Vec<&String> = told.into_iter().filter(|kind| own[*kind] != theirs[*kind]).collect();
    let untold = match &untold[..] {
        [] => String::new(),
        kinds => format!("; only one side can read, so cannot be told: {}", list(kinds)),
    };
    if !others.is_empty() {
        return check(Level::Warn, format!("{name} has other namespaces: {}{untold}", list(&others)));
    }
    if environment.boot_id.is_none() || peer.boot_id.is_none() {
        let text = format!(
            "those of {name} have our numbers, as on every machine: no boot_id says whether it is this one{untold}"
        );
        return check(Level::Note, text);
    }
    match &untold[..] {
        "" => check(Level::Ok, format!("{name} shares every namespace with this process")),
        untold => check(Level::Note, format!("{name} shares with this process what both can read{untold}")),
    }
}

/// A namespace with what a peer in another one cannot have with us.
fn meaning(kind: &str) -> &str {
    match kind {
        "ipc" => "ipc (no common mq)",
        "net" => "net (no common loopback)",
        "time" => "time (no one-way latency)",
        "mnt" => "mnt (bind-mount the socket's directory)",
        other => other,
    }
}

fn boot(environment: &Environment, Peer { name, boot_id, .. }: &Peer) -> Check {
    let check = |level, text: String| Check::new("K2", "boot", level, text);
    match (&environment.boot_id, boot_id) {
        (Some(own), Some(theirs)) if own == theirs => {
            check(Level::Ok, format!("{name} runs on this boot of this machine"))
        }
        (Some(own), Some(theirs)) => {
            let text = format!(
                "{name} runs on another machine, or on another boot (boot_id {theirs}, here {own}): no common \
                 namespace and no common clock, so no one-way latency, and its processors are not the ones told of here"
            );
            check(Level::Warn, text).fix("use --mode rtt, which takes both its times on this side")
        }
        _ => check(Level::Note, format!("whether {name} runs on this boot cannot be told: no boot_id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(kinds: &[(&str, &str)]) -> BTreeMap<String, String> {
        kinds.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect()
    }

    /// Of a server that said this, with what was found here.
    fn checks(boot_id: Option<&str>, kinds: &[(&str, &str)]) -> Vec<Check> {
        let environment = Environment {
            boot_id: Some("here".into()),
            namespaces: named(&[("ipc", "ipc:[1]"), ("net", "net:[1]"), ("time", "time:[1]")]),
            ..Environment::default()
        };
        let side = Side { boot_id: boot_id.map(str::to_owned), namespaces: named(kinds), ..Side::default() };
        compare(&environment, &Peer::server("server process 7".into(), &side))
    }

    const SAME: [(&str, &str); 3] = [("ipc", "ipc:[1]"), ("net", "net:[1]"), ("time", "time:[1]")];

    #[test]
    fn a_server_in_another_world_is_told_by_what_cannot_be_had_with_it() {
        let seen = |boot, kinds| {
            let [namespaces, boot] = <[Check; 2]>::try_from(checks(boot, kinds)).unwrap();
            assert_eq!((namespaces.id, boot.id), ("K1", "K2"));
            (namespaces, boot)
        };
        let (namespaces, boot) = seen(Some("here"), &SAME);
        assert_eq!((namespaces.level, boot.level), (Level::Ok, Level::Ok));
        let (namespaces, boot) =
            seen(Some("here"), &[("ipc", "ipc:[2]"), ("net", "net:[1]"), ("time", "time:[3]")]);
        assert_eq!((namespaces.level, boot.level), (Level::Warn, Level::Ok));
        assert_eq!(
            namespaces.message,
            "server process 7 has other namespaces: ipc (no common mq), time (no one-way latency)"
        );
        let (namespaces, boot) = seen(None, &[]);
        assert_eq!((namespaces.level, boot.level), (Level::Warn, Level::Note));
        let fix = namespaces.fix.unwrap().shown;
        assert!(fix.contains("mount /proc") && !fix.contains("root"), "{fix}");
    }

    #[test]
    fn the_same_numbers_on_another_boot_are_nothing_shared() {
        let [boot] = <[Check; 1]>::try_from(checks(Some("there"), &SAME)).unwrap();
        assert_eq!((boot.id, boot.level), ("K2", Level::Warn));
        assert!(boot.message.contains("boot_id there, here here"), "{boot:?}");
        assert!(boot.message.contains("no common namespace"), "{boot:?}");
        // Whoever does not say its boot may be there, too.
        let [namespaces, _] = <[Check; 2]>::try_from(checks(None, &SAME)).unwrap();
        assert_eq!((namespaces.id, namespaces.level), ("K1", Level::Note));
        assert!(namespaces.message.contains("no boot_id"), "{namespaces:?}");
    }

    #[test]
    fn a_namespace_that_one_side_cannot_read_is_not_shared() {
        let told = |kinds: &[_]| {
            let check = checks(Some("here"), kinds).remove(0);
            (check.level, check.message)
        };
        let (level, text) = told(&SAME[..2]);
        assert_eq!(level, Level::Note, "{text}");
        assert!(text.contains("cannot be told: time (no one-way latency)"), "{text}");
        let (level, text) = told(&[SAME[0], SAME[1], SAME[2], ("user", "user:[9]")]);
        assert!(level == Level::Note && text.ends_with("cannot be told: user"), "{text}");
        let (level, text) = told(&[("ipc", "ipc:[2]"), SAME[1]]);
        assert!(level == Level::Warn && text.contains("ipc (no common mq); only one side"), "{text}");
    }
}
