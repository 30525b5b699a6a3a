//! Settings in layers: what the command line says wins over the preset, the preset over the default. Every value is text
//! until the plan parses it, so that each layer says things in the same words and each error can name its origin.

use std::collections::BTreeMap;
use std::fmt;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::error::{Failure, nearest};
use crate::presets;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    CommandLine,
    Preset(&'static str),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine => f.write_str("command line"),
            Origin::Preset(name) => write!(f, "preset {name}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// Settings that decide what is measured, each with its default; the names are those of the flags.
const DEFAULTS: [(&str, Option<&str>); 11] = [
    ("preset", Some(presets::DEFAULT)),
    ("transport", Some("all")),
    ("size", Some("64,4K,64K")),
    ("mode", Some("rtt,stream")),
    ("duration", Some("200ms")),
    ("messages", None),
    ("trials", Some("7")),
    ("warmup", Some("auto")),
    ("pin", Some("auto")),
    ("wait", Some("default")),
    ("order", Some("interleave")),
];

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
    pub(crate) fn complete(command_line: BTreeMap<&'static str, String>) -> Result<Settings, Failure> {
        let name = command_line.get("preset").map_or(presets::DEFAULT, String::as_str);
        let preset = presets::find(name).ok_or_else(|| {
            let known = presets::ALL.iter().map(|preset| preset.name);
            unknown("preset", name, known, &Origin::CommandLine)
        })?;
        let mut values = BTreeMap::new();
        let from_preset =
            |key: &str| preset.values.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        for (key, default) in DEFAULTS {
            let value = command_line.get(key).map(|value| (value.clone(), Origin::CommandLine));
            let value = value
                .or_else(|| from_preset(key).map(|value| (value.to_owned(), Origin::Preset(preset.name))))
                .or_else(|| default.map(|value| (value.to_owned(), Origin::Default)));
            if let Some(value) = value {
                values.insert(key, value);
            }
        }
        Ok(Settings { values })
    }

    /// The settings that `matches` has from the command line, by name.
    pub(crate) fn given(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
        let given = |key: &'static str| {
            // A command that is not about measuring has none of them.
            let is_known = matches.try_contains_id(key).is_ok();
            let is_given = is_known && matches.value_source(key) == Some(ValueSource::CommandLine);
            let values = is_given.then(|| matches.get_many::<String>(key)).flatten()?;
            Some((key, values.map(String::as_str).collect::<Vec<_>>().join(",")))
        };
        DEFAULTS.iter().filter_map(|(key, _)| given(key)).collect()
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
        let settings = Settings::complete(BTreeMap::from([("size", "1K".to_owned())])).unwrap();
        assert_eq!(settings.text("size"), Some(("1K", &Origin::CommandLine)));
        assert_eq!(settings.text("trials"), Some(("5", &Origin::Preset("quick"))));
        assert_eq!(settings.text("order"), Some(("interleave", &Origin::Default)));
        assert_eq!(settings.text("messages"), None);
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_list_and_the_nearest_name() {
        let failure = Settings::complete(BTreeMap::from([("preset", "quik".to_owned())])).unwrap_err();
        assert!(
            failure.why.unwrap().contains("quick") && failure.fix.unwrap().contains("did you mean quick")
        );
    }

    #[test]
    fn every_setting_of_a_preset_exists() {
        for preset in &presets::ALL {
            for (key, _) in preset.values {
                assert!(DEFAULTS.iter().any(|(name, _)| name == key), "{} sets {key}", preset.name);
            }
        }
    }
}
