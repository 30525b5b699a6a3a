//! K: whether a peer lives in another world.

use std::collections::BTreeMap;

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
}

impl Peer {
    /// A process of this machine.
    pub(super) fn process(pid: u32, environment: &Environment) -> Peer {
        let namespaces = namespaces_of(&pid.to_string());
        Peer { name: format!("process {pid}"), boot_id: environment.boot_id.clone(), namespaces }
    }

    /// A server that said this of itself.
    pub(super) fn server(at: &str, side: &Side) -> Peer {
        let Side { boot_id, namespaces, .. } = side;
        Peer { name: at.to_owned(), boot_id: boot_id.clone(), namespaces: namespaces.clone() }
    }
}

pub(super) fn checks(system: &System) -> Vec<Check> {
    system.peer.as_ref().map(|peer| compare(&system.environment, peer)).unwrap_or_default()
}

/// What this process, in `environment`, and a peer have in common.
pub(super) fn compare(environment: &Environment, peer: &Peer) -> Vec<Check> {
    vec![namespaces(environment, peer), boot(environment, peer)]
}

fn namespaces(environment: &Environment, Peer { name, namespaces, .. }: &Peer) -> Check {
    let check = |level, text: String| Check::new("K1", "namespaces", level, text);
    if namespaces.is_empty() {
        return check(Level::Warn, format!("{name} cannot be looked at"))
            .fix("the same user, or root, in the host's pid namespace");
    }
    let differ =
        |(kind, own): &(&String, &String)| namespaces.get(*kind).is_some_and(|theirs| theirs != *own);
    let others: Vec<&str> =
        environment.namespaces.iter().filter(differ).map(|(kind, _)| meaning(kind)).collect();
    match &others[..] {
        [] => check(Level::Ok, format!("{name} shares every namespace with this process")),
        others => check(Level::Warn, format!("{name} has other namespaces: {}", others.join(", "))),
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
                "{name} runs on another machine, or on another boot (boot_id {theirs}, here {own}): no common clock, so no \
                 one-way latency, and its processors are not the ones told of here"
            );
            check(Level::Warn, text).fix("use --mode rtt, which takes both its times on this side")
        }
        _ => check(Level::Note, format!("whether {name} runs on this boot cannot be told: no boot_id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_another_world_is_told_by_what_cannot_be_had_with_it() {
        let named = |kinds: &[(&str, &str)]| {
            kinds.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect()
        };
        let environment = Environment {
            boot_id: Some("here".into()),
            namespaces: named(&[("ipc", "ipc:[1]"), ("net", "net:[1]"), ("time", "time:[1]")]),
            ..Environment::default()
        };
        let seen = |boot: Option<&str>, kinds: &[(&str, &str)]| {
            let side = Side { boot_id: boot.map(str::to_owned), namespaces: named(kinds), ..Side::default() };
            let checks = compare(&environment, &Peer::server("uds:x", &side));
            let [namespaces, boot] = <[Check; 2]>::try_from(checks).unwrap();
            assert_eq!((namespaces.id, boot.id), ("K1", "K2"));
            (namespaces, boot)
        };
        let same = [("ipc", "ipc:[1]"), ("net", "net:[1]"), ("time", "time:[1]"), ("user", "user:[9]")];
        let (namespaces, boot) = seen(Some("here"), &same);
        assert_eq!((namespaces.level, boot.level), (Level::Ok, Level::Ok));
        let (namespaces, boot) =
            seen(Some("there"), &[("ipc", "ipc:[2]"), ("net", "net:[1]"), ("time", "time:[3]")]);
        assert_eq!((namespaces.level, boot.level), (Level::Warn, Level::Warn));
        assert!(
            namespaces.message.contains("ipc (no common mq), time (no one-way latency)"),
            "{namespaces:?}"
        );
        assert!(!namespaces.message.contains("net"), "{namespaces:?}");
        assert!(boot.message.contains("boot_id there, here here"), "{boot:?}");
        let (namespaces, boot) = seen(None, &[]);
        assert_eq!((namespaces.level, boot.level), (Level::Warn, Level::Note));
    }
}
