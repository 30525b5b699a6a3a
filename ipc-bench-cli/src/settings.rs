//! Settings in layers: the command line wins over the environment, that over the file, that over the preset, that over
//! the default. Every value is text until the plan parses it, so that each layer says things in the same words and each
//! error can name its origin.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::codec;
use crate::config::Config;
use crate::error::{Failure, nearest};
use crate::presets;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    /// The variable.
    Environment(String),
    File {
        path: PathBuf,
        line: usize,
    },
    /// The run that is replayed.
    Manifest(PathBuf),
    Preset(&'static str),
    /// `ab` makes more and shorter trials than the preset.
    Pairs,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine => f.write_str("command line"),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Manifest(path) => write!(f, "{}", path.display()),
            Origin::Preset(name) => write!(f, "preset {name}"),
            Origin::Pairs => f.write_str("ab: more and shorter trials"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Settings that decide what is measured, each with its default; the names are those of the flags.
const DEFAULTS: &[(&str, Option<&str>)] = &[
    ("preset", Some(presets::DEFAULT)),
    ("transport", Some("all")),
    ("size", Some("64,4K,64K")),
    ("mode", Some("rtt,stream")),
    ("io", Some("sync")),
    ("rate", None),
    ("arrivals", Some("constant")),
    ("pace", None),
    ("batch", Some("1")),
    ("access", Some("copy")),
    ("include-first", Some("no")),
    ("pairs", None),
    ("clients", None),
    ("peers", Some("1")),
    ("duration", Some("200ms")),
    ("messages", None),
    ("trials", Some("7")),
    ("ci", None),
    ("warmup", Some("auto")),
    ("time-budget", None),
    ("pin", Some("auto")),
    ("wait", Some("default")),
    ("buffer", None),
    ("hot", None),
    ("endpoints", None),
    ("observe", None),
    ("cycles", None),
    ("burst", None),
    ("gap", None),
    ("sizes", None),
    ("profile", None),
    ("codec", None),
    ("event-rate", None),
    ("event-log", None),
    ("oversize", None),
    ("background", Some("none")),
    ("keep-awake", Some("auto")),
    ("sched", None),
    ("mlock", Some("no")),
    ("hugepages", Some("no")),
    ("perf", Some("no")),
    ("percentiles", None),
    ("clock", Some("monotonic")),
    ("interval", None),
    ("reference", None),
    ("require", None),
    ("fail-fast", Some("no")),
    ("retry-flagged", Some("0")),
    ("setup", None),
    ("prepare", None),
    ("cleanup", None),
    ("order", Some("interleave")),
];

/// Names of all settings.
pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
    DEFAULTS.iter().map(|(name, _)| *name)
}

/// What a setting is when nobody says anything.
pub(crate) fn defaults(name: &str) -> Option<&'static str> {
    DEFAULTS.iter().find(|(known, _)| *known == name)?.1
}

/// A setting as the reference tells of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) default: Option<&'static str>,
    pub(crate) variable: String,
    /// What a value looks like.
    pub(crate) value: String,
    pub(crate) help: String,
}

/// Every setting with the words of its flag.
pub(crate) fn told(program: &clap::Command) -> impl Iterator<Item = Told> {
    let flags: Vec<clap::Arg> =
        program.find_subcommand("run").map(|run| run.get_arguments().cloned().collect()).unwrap_or_default();
    names().map(move |name| {
        let flag = flags.iter().find(|flag| flag.get_id() == name);
        let value = flag.and_then(|flag| flag.get_value_names()?.first().map(ToString::to_string));
        let help = flag.and_then(|flag| flag.get_help().map(ToString::to_string)).unwrap_or_default();
        // The default has a place of its own.
        let help = help.split(" [default:").next().unwrap_or_default().to_owned();
        Told {
            name,
            default: defaults(name),
            variable: variable(name),
            value: value.unwrap_or_default(),
            help,
        }
    })
}

/// The variable of a setting: `IPC_BENCH_TRIALS`.
fn variable(name: &str) -> String {
    format!("IPC_BENCH_{}", name.replace('-', "_").to_ascii_uppercase())
}

/// What the values of a repeated flag are joined by: lists by commas, but a parameter has commas of its own.
pub(crate) fn separator(name: &str) -> &'static str {
    if name == "buffer" { " " } else { "," }
}

/// Every setting with its value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Settings {
    /// Completes what the command line says.
    ///
    /// # Errors
    /// The preset does not exist.
    pub(crate) fn complete(
        command_line: BTreeMap<&'static str, String>,
        config: &Config,
    ) -> Result<Settings, Failure> {
        let given =
            command_line.into_iter().map(|(key, value)| (key, (value, Origin::CommandLine))).collect();
        let mut layers: Vec<BTreeMap<&'static str, (String, Origin)>> =
            vec![given, config.manifest.clone(), environment(), config.defaults.clone()];
        let preset = layers.iter().find_map(|layer| layer.get("preset").cloned());
        let mut next = preset.or_else(|| Some((presets::DEFAULT.to_owned(), Origin::Default)));
        let mut seen = Vec::new();
        while let Some((name, origin)) = next.take() {
            if seen.contains(&name) {
                return Err(Failure::usage(format!("preset {name:?} extends itself ({origin})")));
            }
            if let Some(preset) = config.presets.get(&name) {
                layers.push(preset.values.clone());
                next.clone_from(&preset.extends);
            } else if let Some(preset) = presets::find(&name) {
                let value = |(key, value): &(&'static str, &str)| {
                    (*key, ((*value).to_owned(), Origin::Preset(preset.name)))
                };
                layers.push(preset.values.iter().map(value).collect());
            } else if name == "codec" && !codec::BUILT {
                return Err(Failure::usage("preset codec is not in this program")
                    .why(format!(
                        "it was built without codecs, whose libraries are behind a feature ({origin})"
                    ))
                    .fix("build it with: cargo build --profile bench -p ipc-bench-cli --features codecs"));
            } else {
                let own = config.presets.keys().map(String::as_str);
                return Err(unknown(
                    "preset",
                    &name,
                    presets::ALL.iter().map(|preset| preset.name).chain(own),
                    &origin,
                ));
            }
            seen.push(name);
        }
        let default = |(key, value): &(&'static str, Option<&str>)| {
            Some((*key, ((*value)?.to_owned(), Origin::Default)))
        };
        layers.push(DEFAULTS.iter().filter_map(default).collect());

        let level = |key| layers.iter().position(|layer| layer.contains_key(key)).unwrap_or(usize::MAX);
        // A length is a time or a number of messages: the higher layer decides which.
        let shadowed = if level("messages") <= level("duration") { "duration" } else { "messages" };
        let mut values = BTreeMap::new();
        for layer in layers {
            for (key, value) in layer {
                values.entry(key).or_insert(value);
            }
        }
        values.remove(shadowed);
        Ok(Settings { values })
    }

    /// The same without one of them.
    pub(crate) fn without(mut self, key: &str) -> Settings {
        self.values.remove(key);
        self
    }

    /// The same with one of them from somewhere else.
    pub(crate) fn with(mut self, key: &'static str, value: String, origin: Origin) -> Settings {
        self.values.insert(key, (value, origin));
        self
    }

    /// The settings that `matches` has from the command line, by name.
    pub(crate) fn given(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
        let given = |key: &'static str| {
            // A command that is not about measuring has none of them, or another of the same name.
            let values = matches.try_get_many::<String>(key).ok().flatten()?;
            if matches.value_source(key) != Some(ValueSource::CommandLine) {
                return None;
            }
            Some((key, values.map(String::as_str).collect::<Vec<_>>().join(separator(key))))
        };
        let mut given: BTreeMap<_, _> = names().filter_map(given).collect();
        if matches!(matches.try_get_one::<bool>("keep-going"), Ok(Some(true))) {
            given.insert("fail-fast", "no".to_owned());
        }
        given
    }

    /// Every setting with its value and origin, in the order in which they are documented.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &str, &Origin)> {
        names().filter_map(|name| self.text(name).map(|(value, origin)| (name, value, origin)))
    }

    /// The text of a setting and its origin.
    pub(crate) fn text(&self, key: &str) -> Option<(&str, &Origin)> {
        self.values.get(key).map(|(value, origin)| (value.as_str(), origin))
    }

    /// The setting as a value; `None` when it is not set and has no default.
    ///
    /// # Errors
    /// It does not parse.
    pub(crate) fn parse<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some((text, origin)) = self.text(key) else { return Ok(None) };
        parse(text).map(Some).map_err(|expected| {
            Failure::usage(format!("--{key} {text}: not understood"))
                .why(expected)
                .fix(format!("correct it ({origin}); ipc-bench run --help shows every flag with an example"))
        })
    }

    /// Every setting, as TOML.
    pub(crate) fn to_toml(&self) -> String {
        self.values.iter().map(|(key, (value, _))| format!("{key} = {value:?}\n")).collect()
    }
}

/// Settings in variables: `IPC_BENCH_TRIALS` and so on.
fn environment() -> BTreeMap<&'static str, (String, Origin)> {
    let read = |name: &'static str| {
        let variable = variable(name);
        let value = env::var(&variable).ok().filter(|value| !value.is_empty())?;
        Some((name, (value, Origin::Environment(variable))))
    };
    names().filter_map(read).collect()
}

/// A name that is not among `known`.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    origin: &Origin,
) -> Failure {
    let listed = known.clone().collect::<Vec<_>>().join(", ");
    let failure = Failure::usage(format!("unknown {what} {name:?}")).why(format!("there are: {listed}"));
    match nearest(name, known) {
        Some(near) => failure.fix(format!("did you mean {near}? ({origin})")),
        None => failure.fix(format!("choose one of them ({origin})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_preset_and_the_preset_over_the_default() {
        let settings =
            Settings::complete(BTreeMap::from([("size", "1K".to_owned())]), &Config::default()).unwrap();
        assert_eq!(settings.text("size"), Some(("1K", &Origin::CommandLine)));
        assert_eq!(settings.text("trials"), Some(("5", &Origin::Preset("quick"))));
        assert_eq!(settings.text("order"), Some(("interleave", &Origin::Default)));
        assert_eq!(settings.text("messages"), None);
    }

    #[test]
    fn a_number_of_messages_replaces_the_duration_of_the_preset() {
        let settings =
            Settings::complete(BTreeMap::from([("messages", "9".to_owned())]), &Config::default()).unwrap();
        assert_eq!((settings.text("duration"), settings.text("messages").map(|(n, _)| n)), (None, Some("9")));
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_list_and_the_nearest_name() {
        let failure = Settings::complete(BTreeMap::from([("preset", "quik".to_owned())]), &Config::default())
            .unwrap_err();
        assert!(
            failure.why.unwrap().contains("quick") && failure.fix.unwrap().contains("did you mean quick")
        );
    }

    #[test]
    fn every_setting_of_a_preset_exists() {
        for preset in presets::ALL {
            for (key, _) in preset.values {
                assert!(DEFAULTS.iter().any(|(name, _)| name == key), "{} sets {key}", preset.name);
            }
        }
    }
}
