//! Failures as a person reads them: what, why, fix; and the exit code they end with.

use std::fmt;
use std::process::ExitCode;

use ipc_results::run::RunError;

/// How the program ends. The numbers are a contract: scripts and CI read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: a measurement or I/O failed; what was measured is saved.
    Failed,
    /// 2: usage, configuration or planning error; nothing was measured.
    Usage,
    /// 3: a regression.
    Regressed,
    /// 4: inconclusive or missing, where that was to fail.
    Undecided,
    /// 5: this environment is refused.
    Refused,
    /// 6: a transport that was required is not supported here.
    Unsupported,
    /// 128 + n: interrupted by signal n; what was measured is saved.
    Interrupted(i32),
}

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Regressed => 3,
            Exit::Undecided => 4,
            Exit::Refused => 5,
            Exit::Unsupported => 6,
            // Signal numbers are below 65, so the sum fits.
            Exit::Interrupted(signal) => 128 + signal as u8,
        })
    }
}

/// What went wrong, why, and what the reader can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One sentence, without full stop.
    pub(crate) what: String,
    pub(crate) why: Option<String>,
    pub(crate) fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Failure {
        Failure { exit, what: what.to_string(), why: None, fix: None }
    }

    /// A usage, configuration or planning error.
    pub(crate) fn usage(what: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, what)
    }

    /// A measurement or I/O error.
    pub(crate) fn failed(what: impl fmt::Display) -> Failure {
        Failure::new(Exit::Failed, what)
    }

    #[must_use]
    pub(crate) fn why(self, why: impl fmt::Display) -> Failure {
        Failure { why: Some(why.to_string()), ..self }
    }

    #[must_use]
    pub(crate) fn fix(self, fix: impl fmt::Display) -> Failure {
        Failure { fix: Some(fix.to_string()), ..self }
    }

    /// The same for the result file.
    pub(crate) fn to_run_error(&self, cell: Option<String>) -> RunError {
        RunError { message: self.what.clone(), why: self.why.clone(), fix: self.fix.clone(), cell }
    }
}

/// `error: …` with indented `why:` and `fix:` lines where there are any.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        let lines = [("why", &self.why), ("fix", &self.fix)];
        for (name, text) in lines {
            if let Some(text) = text {
                write!(f, "\n   {name}: {}", text.replace('\n', "\n        "))?;
            }
        }
        Ok(())
    }
}

/// The known name nearest to `typed`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |name: &&str| distance(typed, name) <= 2.max(name.len() / 3);
    known.into_iter().filter(close).min_by_key(|name| distance(typed, name))
}

/// Levenshtein distance in characters, by the two-row dynamic programme (Wagner and Fischer, 1974).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_what_why_fix() {
        let failure = Failure::usage("mq cannot carry 65536-byte messages here")
            .why("fs.mqueue.msgsize_max is 8192")
            .fix("drop mq");
        assert_eq!(
            failure.to_string(),
            "error: mq cannot carry 65536-byte messages here\n   why: fs.mqueue.msgsize_max is 8192\n   fix: drop mq"
        );
    }

    #[test]
    fn the_nearest_name_is_found_within_reason() {
        assert_eq!(nearest("ud", ["uds", "tcp"]), Some("uds"));
        assert_eq!(nearest("smh", ["uds", "shm", "shm-direct"]), Some("shm"));
        assert_eq!(nearest("shmdirect", ["uds", "shm", "shm-direct"]), Some("shm-direct"));
        assert_eq!(nearest("bluetooth", ["uds", "tcp"]), None);
    }
}
