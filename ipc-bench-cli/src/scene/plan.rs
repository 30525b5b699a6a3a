//! From settings to scenes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::shape::{Oversize, Shape, mixed, profile};
use super::{Kind, Scene};
use crate::codec::{self, Codec, Value};
use crate::error::Failure;
use crate::fit::Impossible;
use crate::lists;
use crate::matrix::PlannedCell;
use crate::matrix::crowd::has_crowds;
use crate::mechanism::Mechanism;
use crate::settings::{Origin, Settings};
use crate::workload::Mode;

/// What shapes scenes: the setting, its value unless somebody sets it, and the modes it is for.
const SHAPING: &[(&str, &str, &[Kind])] = &[
    ("endpoints", "8", &[Kind::Idle]),
    ("observe", "5s", &[Kind::Idle, Kind::Stability]),
    ("cycles", "1000", &[Kind::Leak]),
    ("burst", "100", &[Kind::Burst]),
    ("gap", "100ms", &[Kind::Burst]),
    ("sizes", "100:40,1K:30,10K:20,50K:7,100K:3", &[Kind::Mixed]),
    ("profile", "high:2s,idle:1s,med:2s,low:2s", &[Kind::Ramp]),
    ("codec", "all", &[Kind::Codec]),
    ("event-rate", "1000", &[Kind::Events]),
    ("event-log", "", &[Kind::Events]),
    ("oversize", "", &[Kind::Burst, Kind::Mixed, Kind::Ramp, Kind::Stability]),
];

/// Refuses what was asked for on the command line and changes no cell.
pub(crate) fn refuse_what_changes_nothing(settings: &Settings, modes: &[Mode]) -> Result<(), Failure> {
    for (name, _, kinds) in SHAPING {
        let Some((text, Origin::CommandLine)) = settings.text(name) else { continue };
        let used = modes.iter().any(|mode| matches!(mode, Mode::Scene(kind) if kinds.contains(kind)));
        if !used {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            return Err(Failure::usage(format!("--{name} {text} changes nothing here"))
                .why(format!("it belongs to --mode {}", names.join(", ")))
                .fix(format!("drop it, or add --mode {}", names[0])));
        }
    }
    for (name, uses, homes) in OF_PAIRS {
        let Some((text, Origin::CommandLine)) = settings.text(name) else { continue };
        if !modes.iter().any(|mode| uses(*mode)) {
            return Err(Failure::usage(format!("--{name} {text} changes nothing here"))
                .why(format!("it belongs to --mode {homes}"))
                .fix("drop it, or add such a mode"));
        }
    }
    Ok(())
}

/// Settings of modes that are no scene: which modes look at them, and how those are called.
type OfPairs = (&'static str, fn(Mode) -> bool, &'static str);
const OF_PAIRS: &[OfPairs] = &[
    ("peers", |mode| mode.pattern().is_some(), "fan-out, fan-in, pipeline, broadcast or mesh"),
    ("pairs", has_crowds, "rtt, oneway, stream or load"),
    ("clients", has_crowds, "rtt, oneway, stream or load"),
    ("interval", has_times, "rtt, oneway or load"),
    ("include-first", has_times, "rtt, oneway or load"),
];

fn has_times(mode: Mode) -> bool {
    matches!(mode, Mode::Rtt | Mode::OneWay | Mode::Load)
}

/// The sizes that a mode is measured with: where a shape has its own ones, the longest of them stands for all.
pub(crate) fn sizes(settings: &Settings, mode: Mode, sizes: &[usize]) -> Result<Vec<usize>, Failure> {
    let Mode::Scene(kind) = mode else { return Ok(sizes.to_vec()) };
    match scene(settings, kind)? {
        (Scene::Flow { shape: shape @ Shape::Mixed(_), .. }, _) => Ok(vec![shape.longest(0)]),
        (Scene::Codec { .. }, _) if !is_chosen(settings, "size") => Ok(Value::ALL.map(Value::size).to_vec()),
        _ => Ok(sizes.to_vec()),
    }
}

/// The scene of a mode, with what distinguishes its cells from those with default settings.
pub(crate) fn scene(settings: &Settings, kind: Kind) -> Result<(Scene, BTreeMap<String, String>), Failure> {
    let asked = Asked { settings };
    let scene = match kind {
        Kind::Idle => Scene::Idle {
            endpoints: asked.value("endpoints", |text| lists::count(text).and_then(few))?,
            observe: asked.value("observe", time)?,
        },
        Kind::Leak => {
            Scene::Leak { cycles: asked.value("cycles", |text| lists::count(text).and_then(many))? }
        }
        Kind::Burst => {
            let (burst, gap) = (asked.value("burst", lists::count)?, asked.value("gap", lists::duration)?);
            asked.flow(Shape::Burst { burst, gap })?
        }
        Kind::Mixed => asked.flow(Shape::Mixed(asked.value("sizes", mixed)?))?,
        Kind::Ramp => asked.flow(Shape::Ramp(asked.value("profile", profile)?))?,
        Kind::Stability => asked.flow(Shape::Stability { observe: asked.value("observe", time)? })?,
        // Which codec and which value is for each cell to say.
        Kind::Codec => Scene::Codec { codec: Codec::Raw, value: Value::Record },
        Kind::Events => Scene::Events {
            rate: asked.value("event-rate", lists::count)?,
            directory: settings.text("event-log").map(|(text, _)| text.into()).unwrap_or_default(),
        },
    };
    // A codec is a dimension by itself. Where the file is belongs to the machine, not to the name of a cell.
    let own = SHAPING
        .iter()
        .filter(|(name, _, kinds)| kinds.contains(&kind) && !matches!(*name, "event-log" | "codec"));
    let differs = own.filter_map(|(name, default, _)| {
        let (text, _) = settings.text(name).filter(|(text, _)| text != default)?;
        Some(((*name).to_owned(), text.to_owned()))
    });
    Ok((scene, differs.collect()))
}

struct Asked<'a> {
    settings: &'a Settings,
}

impl Asked<'_> {
    fn value<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Failure> {
        if let Some(value) = self.settings.parse(name, &parse)? {
            return Ok(value);
        }
        let default = SHAPING.iter().find(|(known, ..)| *known == name).map_or("", |(_, text, _)| text);
        // A default that does not parse is found by the first test that plans.
        parse(default).map_err(Failure::failed)
    }

    fn flow(&self, shape: Shape) -> Result<Scene, Failure> {
        Ok(Scene::Flow { shape, oversize: self.settings.parse("oversize", Oversize::parse)? })
    }
}

fn few(count: u64) -> Result<usize, String> {
    const MOST: u64 = 1024;
    if count <= MOST { Ok(count as usize) } else { Err(format!("{count} endpoints are more than {MOST}")) }
}

fn many(count: u64) -> Result<u64, String> {
    const MOST: u64 = 100_000_000;
    if count <= MOST { Ok(count) } else { Err(format!("{count} cycles are more than {MOST}")) }
}

fn time(text: &str) -> Result<Duration, String> {
    match lists::duration(text)? {
        time if time >= Duration::from_millis(10) => Ok(time),
        _ => Err(format!("{text} shows nothing; 10ms is the least")),
    }
}

/// Whether somebody said it, and not a preset or a default.
fn is_chosen(settings: &Settings, name: &str) -> bool {
    !matches!(settings.text(name), None | Some((_, Origin::Default | Origin::Preset(_))))
}

impl PlannedCell {
    /// The same cell as every scene of its mode: one, or one for each codec.
    pub(crate) fn with_scenes(
        self,
        settings: &Settings,
        mechanism: &Mechanism,
    ) -> Result<Vec<Self>, Failure> {
        let size = self.point.size;
        let cell = self.with_scene(settings, mechanism)?;
        if cell.point.mode != Mode::Scene(Kind::Codec) {
            return Ok(vec![cell]);
        }
        let codecs = Asked { settings }.value("codec", Codec::list)?;
        let with = |codec: Codec| {
            let mut cell = cell.clone();
            if codec != Codec::Raw {
                cell.point.dimensions.insert("codec".into(), codec.label().into());
            }
            let value = Value::of_size(size);
            cell.scene = value.map(|value| Scene::Codec { codec, value });
            cell.impossible = cell.impossible.or_else(|| no_codec(codec, value));
            cell
        };
        Ok(codecs.into_iter().map(with).collect())
    }

    /// The same cell as a scene of its mode.
    fn with_scene(mut self, settings: &Settings, mechanism: &Mechanism) -> Result<Self, Failure> {
        let Mode::Scene(kind) = self.point.mode else { return Ok(self) };
        let (mut scene, dimensions) = scene(settings, kind)?;
        let chosen = dimensions.contains_key("endpoints");
        if let (Scene::Idle { endpoints, .. }, false) = (&mut scene, chosen) {
            // As many as there is room for beside the first; who asks for a number gets it or a reason.
            let room = (mechanism.can)(&self.options).ok().and_then(|can| can.max_clients);
            *endpoints = (*endpoints).min(room.map_or(*endpoints, |most| most.saturating_sub(1).max(1)));
        }
        self.point.dimensions.extend(dimensions);
        let refusal = || cannot(&scene, mechanism, &self.options);
        self.impossible = self.impossible.or_else(refusal);
        self.scene = Some(scene);
        Ok(self)
    }
}

fn cannot(scene: &Scene, mechanism: &Mechanism, options: &BTreeMap<String, String>) -> Option<Impossible> {
    let name = mechanism.name;
    let most = (mechanism.can)(options).ok()?.max_clients?;
    let needed = match scene {
        Scene::Idle { endpoints, .. } => endpoints + 1,
        Scene::Leak { .. } => 2,
        Scene::Flow { .. } | Scene::Events { .. } | Scene::Codec { .. } => return None,
    };
    (needed > most).then(|| Impossible {
        what: format!("{name} cannot hold {needed} connections here"),
        why: format!("there is room for {most}"),
        fix: format!("use --endpoints {} or fewer, or leave it out: -t all,-{name}", most.saturating_sub(1)),
    })
}

/// Lets the journals of event cells be in `default` unless somebody chose a directory, and refuses one in memory.
pub(crate) fn place_journals(cells: &mut [PlannedCell], default: &Path) {
    for cell in cells {
        let Some(Scene::Events { directory, .. }) = &mut cell.scene else { continue };
        if directory.as_os_str().is_empty() {
            *directory = default.to_owned();
        }
        // It may not exist yet: what it will be made in decides.
        let exists = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
        let in_memory = rustix::fs::statfs(exists).is_ok_and(|fs| MEMORY.contains(&(fs.f_type as u64)));
        if in_memory && cell.impossible.is_none() {
            cell.impossible = Some(Impossible {
                what: format!("{} keeps files in memory", directory.display()),
                why: "nothing there is durable, and fdatasync does nothing".into(),
                fix: "name a directory on a disk: --event-log DIR".into(),
            });
        }
    }
}

/// `TMPFS_MAGIC` and `RAMFS_MAGIC`, `linux/magic.h`.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

fn no_codec(codec: Codec, value: Option<Value>) -> Option<Impossible> {
    let (what, why, fix) = match value {
        _ if !codec::BUILT => (
            "this program was built without codecs".to_owned(),
            "their libraries are behind a feature, so that the program needs no C compiler".to_owned(),
            "build it with: cargo build --profile bench -p ipc-bench-cli --features codecs".to_owned(),
        ),
        None => (
            "there is no value of that size to encode".to_owned(),
            "a record has 64 B, a nested document 1K, bytes 64K and an array 1M".to_owned(),
            "use -s 64,1K,64K,1M".to_owned(),
        ),
        Some(value) if !codec.can(value) => (
            format!("{} has no form of a nested document", codec.name()),
            "it copies bytes as they lie in memory".to_owned(),
            "compare the others".to_owned(),
        ),
        Some(_) => return None,
    };
    Some(Impossible { what, why, fix })
}
