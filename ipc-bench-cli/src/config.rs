//! `ipc-bench.toml`: the same settings as the flags, and presets of one's own.
//!
//! ```toml
//! schema = 1
//! [defaults]
//! trials = 9
//! [preset.adas]
//! extends = "quick"
//! transport = ["uds", "shm"]
//! size = [116, 1024]
//! [preset.adas.params]
//! "uds.sndbuf" = "1M"
//! [report]
//! percentiles = [75, 99.5]
//! [gate]
//! baseline = "main"
//! limits = { "@latency" = "5%|50ns" }
//! ```

mod gate;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::error::{Failure, nearest};
use crate::settings::{self, Origin};

/// Name of the file that is looked for upward.
pub(crate) const FILE: &str = "ipc-bench.toml";

/// The one version of the file.
const SCHEMA: &str = "1";

/// What the file says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    pub(crate) defaults: BTreeMap<&'static str, (String, Origin)>,
    /// Settings of the run that is replayed; not from the file.
    pub(crate) manifest: BTreeMap<&'static str, (String, Origin)>,
    pub(crate) presets: BTreeMap<String, FilePreset>,
    /// What the table of the report says; it becomes one of the defaults.
    percentiles: Option<(String, Origin)>,
    /// What the table of that name says.
    pub(crate) gate: Option<gate::GateTable>,
}

/// A preset of the user.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilePreset {
    /// The preset it completes.
    pub(crate) extends: Option<(String, Origin)>,
    pub(crate) values: BTreeMap<&'static str, (String, Origin)>,
}

impl Config {
    /// Reads the file named, else the nearest `ipc-bench.toml` upward, else nothing.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has a key that does not exist.
    pub(crate) fn load(named: Option<&Path>) -> Result<Config, Failure> {
        let Some(path) = named.map(Path::to_owned).or_else(find) else { return Ok(Config::default()) };
        let text = fs::read_to_string(&path).map_err(|error| {
            Failure::usage(format!("{} cannot be read", path.display()))
                .why(error)
                .fix("name another file with --config FILE")
        })?;
        log::info!("settings of {}", path.display());
        Config::parse(&path, &text)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Config, Failure> {
        let file = File { path, text };
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| file.line(&span));
            Failure::usage(format!("{}:{line} is not TOML", path.display())).why(error.message())
        })?;
        let mut config = Config::default();
        let mut schema = None;
        for (key, value) in table.get_ref() {
            match key.get_ref().as_ref() {
                "schema" => schema = file.text_of(value)?,
                "defaults" => config.defaults = file.section(value, &[])?.values,
                "report" => {
                    for (key, value) in file.table(value)? {
                        if key.get_ref().as_ref() != "percentiles" {
                            return Err(file.unknown(key.span(), key.get_ref(), ["percentiles"].into_iter()));
                        }
                        let origin = file.origin(&key.span());
                        config.percentiles = file.text_of(value)?.map(|text| (text, origin));
                    }
                }
                "gate" => config.gate = Some(file.gate(value)?),
                "preset" => {
                    for (name, value) in file.table(value)? {
                        let preset = file.section(value, &["extends", "params"])?;
                        config.presets.insert(name.get_ref().to_string(), preset);
                    }
                }
                other => {
                    return Err(file.unknown(
                        key.span(),
                        other,
                        ["schema", "defaults", "preset", "gate", "report"].into_iter(),
                    ));
                }
            }
        }
        if let Some(percentiles) = config.percentiles.take() {
            config.defaults.entry("percentiles").or_insert(percentiles);
        }
        match schema.as_deref() {
            Some(SCHEMA) => Ok(config),
            Some(other) => Err(Failure::usage(format!("{}: schema {other} is not known", path.display()))
                .why(format!("this program reads schema {SCHEMA}"))
                .fix("use a newer ipc-bench")),
            None => Err(Failure::usage(format!("{}: it has no schema", path.display()))
                .why("the version tells how to read the rest")
                .fix("begin it with: schema = 1")),
        }
    }
}

/// The nearest file upward.
fn find() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    here.ancestors().map(|directory| directory.join(FILE)).find(|path| path.is_file())
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File { path: self.path.to_owned(), line: self.line(span) }
    }

    /// Settings, with those of `more` that the section may also have.
    fn section(&self, section: &Spanned<DeValue<'_>>, more: &[&'static str]) -> Result<FilePreset, Failure> {
        let mut preset = FilePreset::default();
        for (key, value) in self.table(section)? {
            let origin = self.origin(&key.span());
            let known = settings::names().find(|name| name == key.get_ref());
            match (key.get_ref().as_ref(), known) {
                ("extends", _) if more.contains(&"extends") => {
                    preset.extends = self.text_of(value)?.map(|name| (name, origin));
                }
                ("params", _) if more.contains(&"params") => {
                    let mut params = Vec::new();
                    for (name, value) in self.table(value)? {
                        params
                            .extend(self.text_of(value)?.map(|value| format!("{}={value}", name.get_ref())));
                    }
                    preset.values.insert("buffer", (params.join(" "), origin));
                }
                (_, Some(name)) => {
                    if let Some(text) = self.text_of(value)? {
                        preset.values.insert(name, (text, origin));
                    }
                }
                (other, None) => {
                    return Err(self.unknown(
                        key.span(),
                        other,
                        settings::names().chain(more.iter().copied()),
                    ));
                }
            }
        }
        Ok(preset)
    }

    fn table<'a>(&self, value: &'a Spanned<DeValue<'a>>) -> Result<impl Iterator<Item = Entry<'a>>, Failure> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table.iter()),
            _ => Err(self.wrong(value, "a table of settings")),
        }
    }

    /// A value as it would stand on the command line; an empty array is none.
    fn text_of(&self, value: &Spanned<DeValue<'_>>) -> Result<Option<String>, Failure> {
        Ok(Some(match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Array(values) => {
                let mut texts = Vec::new();
                for value in values.iter() {
                    texts.extend(self.text_of(value)?);
                }
                if texts.is_empty() {
                    return Ok(None);
                }
                texts.join(",")
            }
            _ => return Err(self.wrong(value, "text, a number, or a list of those")),
        }))
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, expected: &str) -> Failure {
        let what = format!("{}: not understood", self.origin(&value.span()));
        Failure::usage(what).why(format!("expected {expected}"))
    }

    fn unknown(
        &self,
        span: Range<usize>,
        key: &str,
        known: impl Iterator<Item = &'static str> + Clone,
    ) -> Failure {
        let names = known.clone().collect::<Vec<_>>().join(", ");
        let failure = Failure::usage(format!("{}: unknown key {key:?}", self.origin(&span)))
            .why(format!("there are: {names}"));
        match nearest(key, known) {
            Some(near) => failure.fix(format!("did you mean {near}?")),
            None => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_table_of_the_report_says_which_percentiles() {
        let text = "schema = 1\n[report]\npercentiles = [75, 99.5]\n";
        let config = Config::parse(Path::new("x.toml"), text).unwrap();
        let settings = Settings::complete(BTreeMap::new(), &config).unwrap();
        let origin = Origin::File { path: "x.toml".into(), line: 3 };
        assert_eq!(settings.text("percentiles"), Some(("75,99.5", &origin)));
        let wrong = Config::parse(Path::new("x.toml"), "schema = 1\n[report]\npercentile = 1\n").unwrap_err();
        assert!(wrong.to_string().contains("x.toml:3: unknown key"), "{wrong}");
    }

    const TEXT: &str = r#"schema = 1
[defaults]
trials = 9
preset = "adas"
[preset.adas]
extends = "quick"
transport = ["uds", "shm"]
size = [116, 1024]
[preset.adas.params]
"uds.sndbuf" = "1M"
"#;

    #[test]
    fn a_file_completes_the_preset_it_extends_and_every_value_knows_its_line() {
        let config = Config::parse(Path::new("x.toml"), TEXT).unwrap();
        let settings = Settings::complete(BTreeMap::new(), &config).unwrap();
        let at = |line| Origin::File { path: "x.toml".into(), line };
        assert_eq!(settings.text("trials"), Some(("9", &at(3))));
        assert_eq!(settings.text("transport"), Some(("uds,shm", &at(7))));
        assert_eq!(settings.text("size"), Some(("116,1024", &at(8))));
        assert_eq!(settings.text("buffer").map(|(value, _)| value), Some("uds.sndbuf=1M"));
        assert_eq!(settings.text("duration"), Some(("200ms", &Origin::Preset("quick"))));
        let given = BTreeMap::from([("trials", "3".to_owned())]);
        assert_eq!(
            Settings::complete(given, &config).unwrap().text("trials"),
            Some(("3", &Origin::CommandLine))
        );
    }

    #[test]
    fn a_key_that_does_not_exist_is_named_with_its_line_and_the_nearest() {
        let error = |text: &str| Config::parse(Path::new("x.toml"), text).unwrap_err().to_string();
        let text = error("schema = 1\n[defaults]\ntrails = 5\n");
        assert!(
            text.contains("x.toml:3: unknown key \"trails\"") && text.contains("did you mean trials?"),
            "{text}"
        );
        assert!(error("schema = 1\nfoo = 1").contains("x.toml:2"));
        assert!(error("schema = 2").contains("schema 2 is not known"));
        assert!(error("[defaults]").contains("schema = 1"));
        assert!(error("schema = ").contains("x.toml:1 is not TOML"));
        assert!(error("schema = 1\n[defaults]\ntrials = true").contains("x.toml:3: not understood"));
    }

    #[test]
    fn a_preset_that_extends_itself_is_refused() {
        let text = "schema = 1\n[preset.a]\nextends = \"b\"\n[preset.b]\nextends = \"a\"\n";
        let config = Config::parse(Path::new("x.toml"), text).unwrap();
        let given = BTreeMap::from([("preset", "a".to_owned())]);
        assert!(Settings::complete(given, &config).unwrap_err().what.contains("extends itself"));
    }
}
