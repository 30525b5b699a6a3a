//! A command line that is not understood, told as every other failure: what, why, fix.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::error::{Failure, nearest};

/// What clap found in `words`, in ours. Help and version are no failures and do not come here.
pub(crate) fn failure(error: &Error, program: &Command, words: &[String]) -> Failure {
    let said = |kind: ContextKind| error.get(kind).map(plain).filter(|text| !text.is_empty());
    let argument = said(ContextKind::InvalidArg).unwrap_or_default();
    let value = said(ContextKind::InvalidValue);
    let help = help_of(words, program);
    match error.kind() {
        ErrorKind::ArgumentConflict => {
            let other = said(ContextKind::PriorArg).unwrap_or_else(|| "itself".into());
            let failure = if other == argument {
                Failure::usage(format!("{argument} is given twice")).why("only one of them could hold")
            } else {
                Failure::usage(format!("{argument} and {other} cannot both be given"))
                    .why("each decides what the other would decide")
            };
            failure.fix("leave one of them out")
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            Failure::usage(format!("{argument} is missing"))
                .why("nothing can be done without it")
                .fix(format!("add it; {help} shows how"))
        }
        ErrorKind::InvalidValue if value.is_none() => Failure::usage(format!("{argument} needs a value"))
            .why("nothing follows it")
            .fix(format!("add one; {help} shows what it may be")),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = value.unwrap_or_default();
            let valid = said(ContextKind::ValidValue).map(|all| format!("there are: {all}"));
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let near = said(ContextKind::SuggestedValue).map(|near| format!("did you mean {near}?"));
            Failure::usage(format!("{argument}: {value:?} is not understood"))
                .why(valid.or(cause).unwrap_or_else(|| "it is not what this takes".into()))
                .fix(near.unwrap_or_else(|| format!("{help} shows what it may be")))
        }
        ErrorKind::InvalidSubcommand => {
            let name = said(ContextKind::InvalidSubcommand).unwrap_or_default();
            let known: Vec<&str> =
                program.get_subcommands().filter(|own| !own.is_hide_set()).map(Command::get_name).collect();
            let near = nearest(&name, known.iter().copied()).map(|near| format!("did you mean {near}?"));
            Failure::usage(format!("unknown command {name:?}"))
                .why(format!("there are: {}", known.join(", ")))
                .fix(near.unwrap_or_else(|| "ipc-bench --help says what each does".into()))
        }
        ErrorKind::UnknownArgument => {
            let near = said(ContextKind::SuggestedArg).map(|near| format!("did you mean {near}?"));
            let why = if argument.starts_with('-') {
                "there is no such option here"
            } else {
                "no word without an option is expected there"
            };
            Failure::usage(format!("unexpected {argument:?}"))
                .why(why)
                .fix(near.unwrap_or_else(|| format!("{help} shows what there is")))
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Failure::usage(first).why("the command line is not understood").fix(format!("see {help}"))
        }
    }
}

/// The values of a context on one line, without the signs around an argument's name.
fn plain(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => all.join(", "),
        ContextValue::String(one) => one.clone(),
        other => other.to_string(),
    }
}

/// The help that is about it: that of the command whose name the line begins with.
fn help_of(words: &[String], program: &Command) -> String {
    let mut line = program.get_name().to_owned();
    let mut within = program;
    for command in words {
        let Some(own) = within.find_subcommand(command) else { continue };
        line.push(' ');
        line.push_str(command);
        within = own;
    }
    line + " --help"
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn told(line: &str) -> Failure {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut program = crate::args::Cli::command();
        let all = std::iter::once("ipc-bench".to_owned()).chain(words.iter().cloned());
        let error = program.try_get_matches_from_mut(all).unwrap_err();
        failure(&error, &program, &words)
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_value_the_choice_and_the_way_out() {
        for (line, what, why, fix) in [
            (
                "run -d 1s -n 5",
                "--duration <TIME> and --messages <N> cannot both be given",
                "decides",
                "leave",
            ),
            ("run -d 1s -d 2s", "--duration <TIME> is given twice", "only one", "leave"),
            ("run --mdoe rtt", "unexpected \"--mdoe\"", "no such option", "did you mean --mode?"),
            ("run extra", "unexpected \"extra\"", "no word", "ipc-bench run --help"),
            ("rnu", "unknown command \"rnu\"", "there are: run, plan, ab", "did you mean run?"),
            (
                "list trasports",
                "\"trasports\" is not understood",
                "there are: transports, ",
                "did you mean transports?",
            ),
            (
                "report --format pdf",
                "--format <FORMAT>: \"pdf\"",
                "text, html, md",
                "ipc-bench report --help",
            ),
            ("run --seed x", "--seed <N>: \"x\" is not understood", "whole number", "ipc-bench run --help"),
            ("run --tag foo", "--tag <KEY=VALUE>: \"foo\"", "expected KEY=VALUE", "ipc-bench run --help"),
            ("run --tag", "--tag <KEY=VALUE> needs a value", "nothing follows", "ipc-bench"),
            ("client", "<ADDRESS> is missing", "nothing can be done", "ipc-bench client --help"),
            ("baseline save", "<NAME> is missing", "nothing can be done", "ipc-bench baseline save --help"),
            ("merge last", "<RUN> <RUN>... is missing", "nothing can be done", "ipc-bench merge --help"),
            ("ab --a x", "--b <CMD> is missing", "nothing can be done", "ipc-bench ab --help"),
        ] {
            let failure = told(line);
            let (own_why, own_fix) = (failure.why.unwrap_or_default(), failure.fix.unwrap_or_default());
            assert!(failure.what.contains(what), "{line}: {}", failure.what);
            assert!(own_why.contains(why), "{line}: {own_why}");
            assert!(own_fix.contains(fix), "{line}: {own_fix}");
        }
    }
}
