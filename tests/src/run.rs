//! Runs a sentence: in two threads, in two processes, or at a place for listeners.

use std::path::Path;
use std::thread;

use ipc_transports::{Listener, Options, Sender, Transport};

use crate::end::{Cue, End, Side, patiently};
use crate::place::Place;
use crate::turn::Turn;
use crate::watchdog::Watchdog;

/// How the far side of a sentence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// It plays its part and exits with success.
    ByItself,
    /// The near side kills it.
    Killed,
}

/// The options written as `key=value&key=value`.
pub fn options<T: Transport>(text: &str) -> T::Options {
    let mut options = T::Options::default();
    for (key, value) in text.split('&').filter_map(|option| option.split_once('=')) {
        options.fill(key, value).unwrap_or_else(|error| panic!("{error}"));
    }
    options
}

/// Plays both sides in two threads of this process.
pub fn in_one_process<T: Transport>(name: &str, with: &str, sentence: fn(End<T>)) {
    let _turn = Turn::of::<T>(with);
    let _watchdog = Watchdog::over(&format!("{} {name} in one process", T::NAME));
    play_in_threads::<T>(with, sentence);
}

/// [`in_one_process`] without taking a turn or setting a watchdog.
pub fn play_in_threads<T: Transport>(with: &str, sentence: fn(End<T>)) {
    let (near, far) = T::pair(&options::<T>(with)).unwrap_or_else(|error| panic!("{error}"));
    let (near_cue, far_cue) = Cue::pair();
    thread::scope(|scope| {
        scope.spawn(move || sentence(End::new(Side::Far, far, far_cue)));
        sentence(End::new(Side::Near, near, near_cue));
    });
}

/// Plays the near side here and the far side in the program at path `peer`.
pub fn across_two_processes<T: Transport>(
    peer: &'static str,
    name: &str,
    with: &str,
    ends: Ends,
    sentence: fn(End<T>),
) {
    let _turn = Turn::of::<T>(with);
    let _watchdog = Watchdog::over(&format!("{} {name} across two processes", T::NAME));
    let place = Place::new(Some(Path::new(peer)));
    let at = place.address::<T>();
    let mut listener = T::listen(&at, &options::<T>(with)).unwrap_or_else(|error| panic!("{error}"));
    let to = match with {
        "" => listener.address().to_string(),
        with => format!("{}?{with}", listener.address()),
    };
    let mut peer = place.spawn::<T>(name, &to);
    let connection = listener.accept(patiently()).unwrap_or_else(|error| panic!("{error}"));
    let cue = peer.cue.take().expect("the cue was not taken");
    let mut end = End::new(Side::Near, connection, cue);
    end.killer = Some(peer.killer());
    sentence(end);
    if ends == Ends::ByItself {
        peer.finish();
    }
}

/// Runs a sentence about listeners. `peer` is the path of the program that plays the other processes.
pub fn at_a_place<T: Transport>(peer: Option<&'static str>, name: &str, sentence: fn(&Place)) {
    let _turn = Turn::of::<T>("");
    let _watchdog = Watchdog::over(&format!("{} {name}", T::NAME));
    sentence(&Place::new(peer.map(Path::new)));
}

/// Panics unless `named` is exactly what the transport says it can do, so that no sentence is skipped by forgetting.
pub fn capabilities<T: Transport>(named: &[&str]) {
    let _turn = Turn::of::<T>("");
    let can = T::capabilities();
    let able: Vec<&str> = [("loan", can.loan), ("peek", can.peek), ("pollable", can.pollable)]
        .into_iter()
        .filter_map(|(name, able)| able.then_some(name))
        .collect();
    let named: Vec<&str> = named.iter().copied().filter(|name| *name != "half_close").collect();
    assert_eq!(named, able);
    let (left, _right) = T::pair(&T::Options::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(left.tx.max_message(), can.max_message, "the longest message with default options");
}
