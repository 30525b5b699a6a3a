//! What went wrong in a trial, for a person.

use crate::crew::Trouble;
use crate::error::{Exit, Failure};
use crate::protocol::{PROTOCOL, Reply, Role};

/// What happened to a cell, for a person.
pub(crate) fn explain(id: &str, trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Interrupted(signal) => Failure::new(Exit::Interrupted(signal), "interrupted"),
        Trouble::Died { role, how, last_line, .. } => {
            let failure = Failure::failed(format!("the {} of {id} died ({how})", role.name()));
            match last_line {
                Some(line) => failure.why(format!("its last words: {line}")),
                None => failure.why("it said nothing"),
            }
        }
        Trouble::Hook { name, command, how } => {
            Failure::failed(format!("{id}: --{name} failed ({how})")).why(format!("it was: {command}"))
        }
        Trouble::Silent(patience) => Failure::failed(format!("the workers of {id} hang"))
            .why(format!("neither got on for {} s", patience.as_secs())),
        Trouble::Complaint(role, complaint) => {
            let failure = Failure::failed(format!("{id}: {}", complaint.what));
            let failure = match complaint.why {
                Some(why) => failure.why(why),
                None => failure.why(format!("reported by the {}", role.name())),
            };
            match complaint.fix {
                Some(fix) => failure.fix(fix),
                None => failure,
            }
        }
        Trouble::Io(error) => Failure::failed(format!("{id} could not be measured")).why(error),
    }
}

/// A worker of another build.
pub(super) fn other_protocol(protocol: u32, version: &str) -> Trouble {
    let text =
        format!("the worker is ipc-bench {version} with control protocol {protocol}, this is {PROTOCOL}");
    std::io::Error::other(text).into()
}

/// A worker that says what is not due.
pub(super) fn out_of_turn(role: Role, reply: &Reply) -> Trouble {
    std::io::Error::other(format!("the {} said {reply:?} out of turn", role.name())).into()
}
