//! The matrix: every combination of the dimensions that were asked for, each with the reason why it cannot be measured
//! here, if there is one.

pub(crate) mod crowd;
mod patterns;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::arm::Arm;
use crate::background::{self, Background};
use crate::cell::Point;
use crate::error::Failure;
use crate::fit::{self, Impossible};
use crate::lists;
use crate::mechanism::Mechanism;
use crate::pin::Topology;
use crate::plan::yes_or_no;
use crate::rate::{self, Rate};
use crate::scene::{self, Scene};
use crate::settings::{Origin, Settings, unknown};
use crate::workload::{Access, Arrivals, Io, MAX_BATCH, Mode};
use crowd::Crowd;

/// One cell and how to measure it.
#[derive(Clone, Debug)]
pub(crate) struct PlannedCell {
    pub(crate) point: Point,
    /// In force, whether it is a dimension of the cell or not; empty when the transport has no such option or its calls
    /// do not wait.
    pub(crate) wait: String,
    pub(crate) io: Io,
    /// Its sides are threads of one process.
    pub(crate) one_process: bool,
    /// Options of its address.
    pub(crate) options: BTreeMap<String, String>,
    /// Of an open loop.
    pub(crate) load: Option<(Rate, Arrivals)>,
    /// Pause between two messages, where one was asked for.
    pub(crate) pace: Option<Duration>,
    /// Messages per call.
    pub(crate) batch: u32,
    pub(crate) access: Access,
    /// How many of the same are measured at once, where it is more than one.
    pub(crate) crowd: Option<Crowd>,
    /// Size of the pattern, where it is one.
    pub(crate) peers: Option<usize>,
    /// How many of the peers of a fan-in send, where not all do.
    pub(crate) hot: Option<usize>,
    /// A broadcast through one ring that all read, instead of a connection and a copy for each.
    pub(crate) shared_ring: bool,
    /// What happens, where that is no steady flow.
    pub(crate) scene: Option<Scene>,
    /// What else the machine does meanwhile.
    pub(crate) background: Option<Background>,
    /// Index of the measured maximum that its rate is a share of.
    pub(crate) ceiling: Option<usize>,
    /// Whose cell it is, in an `ab`.
    pub(crate) arm: Option<Arm>,
    /// Index of the limit it is held against.
    pub(crate) limit: Option<usize>,
    /// Why it cannot be measured here.
    pub(crate) impossible: Option<Impossible>,
}

/// Transports with which `all` begins; the caller's own ones follow.
const NOT_IN_ALL: [&str; 2] = ["uds-seqpacket", "inproc"];

/// Transports that wait in the kernel unless told otherwise.
const PARKED: [&str; 5] = ["uds", "uds-seqpacket", "tcp", "pipe", "mq"];

/// Every cell that was asked for, in the order in which they are measured.
///
/// # Errors
/// A setting does not parse, or asks for what no cell has.
pub(crate) fn cells(
    settings: &Settings,
    mechanisms: &[Mechanism],
    topology: &Topology,
    alone: bool,
) -> Result<Vec<PlannedCell>, Failure> {
    let transports = transports(settings, mechanisms)?;
    let sizes = settings.parse("size", lists::sizes)?.unwrap_or_default();
    let modes = settings.parse("mode", modes)?.unwrap_or_default();
    let ios = settings.parse("io", ios)?.unwrap_or_default();
    let waits = settings.parse("wait", waits)?.unwrap_or_default();
    scene::plan::refuse_what_changes_nothing(settings, &modes)?;
    if let (Some((text, Origin::CommandLine)), [Io::Async]) = (settings.text("wait"), &ios[..]) {
        return Err(Failure::usage(format!("--wait {text} changes nothing here"))
            .why("with --io async the reactor waits, not the transport")
            .fix("drop it, or add --io sync,async"));
    }
    let params = settings.parse("buffer", |text| parameters(text, mechanisms))?.unwrap_or_default();
    if let Some(param) =
        params.iter().find(|param| !transports.iter().any(|known| known.name == param.transport))
    {
        return Err(Failure::usage(format!("-L {}.{}: {0} is not measured", param.transport, param.key))
            .why("a parameter of a transport that is left out changes nothing")
            .fix(format!("drop it, or add {} to -t", param.transport)));
    }
    let huge = huge_pages(settings, &transports)?;
    let loads = loads(settings, &modes)?;
    let pace = settings.parse("pace", lists::duration)?;
    let batches = settings.parse("batch", batches)?.unwrap_or_else(|| vec![1]);
    let accesses = settings.parse("access", accesses)?.unwrap_or_else(|| vec![Access::Copy]);
    let peers = settings.parse("peers", patterns::peers)?.unwrap_or_else(|| vec![1]);
    let hot = patterns::hot(settings, &modes, &peers)?;
    let crowds = crowd::asked(settings)?;
    let backgrounds = settings.parse("background", background::list)?.unwrap_or_else(|| vec![None]);
    for cpu in backgrounds.iter().filter_map(|background| (*background)?.cpu) {
        topology.require(cpu)?;
    }
    let mut cells = Vec::new();
    for mode in &modes {
        for size in &scene::plan::sizes(settings, *mode, &sizes)? {
            for transport in &transports {
                for (io, wait) in ways_of(transport, &ios, &waits) {
                    for params in combinations(&params, transport.name) {
                        let huge = huge.contains(&transport.name);
                        let cell = plan_cell(transport, *mode, *size, (io, &wait), (&params, huge), alone);
                        let scenes = cell.with_scenes(settings, transport)?;
                        let paced: Vec<_> =
                            scenes.into_iter().flat_map(|cell| cell.paced(pace).under(&loads)).collect();
                        let ways = paced.iter().flat_map(|cell| cell.through(&batches, &accesses, transport));
                        let crowded = ways.flat_map(|cell| cell.crowded(&crowds, transport));
                        for cell in crowded.flat_map(|cell| cell.among(&peers, hot, transport)) {
                            cells.extend(
                                backgrounds.iter().map(|background| cell.clone().beside(*background)),
                            );
                        }
                    }
                }
            }
        }
    }
    Ok(cells)
}

/// Names of the transports that are to ask for huge pages: those that can, where they are wanted.
fn huge_pages(settings: &Settings, transports: &[&Mechanism]) -> Result<Vec<&'static str>, Failure> {
    if !settings.parse("hugepages", yes_or_no)?.unwrap_or(false) {
        return Ok(Vec::new());
    }
    let can = transports.iter().filter(|transport| (transport.accepts)(HUGE_PAGES, "true").is_ok());
    let can: Vec<&str> = can.map(|transport| transport.name).collect();
    let said = settings.text("hugepages").is_some_and(|(_, origin)| *origin == Origin::CommandLine);
    if can.is_empty() && said {
        return Err(Failure::usage("--hugepages changes nothing here")
            .why("the rings of shm and inproc can be in huge pages, and neither is measured")
            .fix("drop it, or add shm to -t"));
    }
    Ok(can)
}

/// The option of a transport that `--hugepages` sets.
const HUGE_PAGES: &str = "hugepages";

/// Most bytes of a batch: what is copied then costs far more than the call.
const MAX_BATCH_BYTES: usize = 64 << 20;

fn batches(text: &str) -> Result<Vec<u32>, String> {
    unique(text, |number| match lists::count(number.trim())? {
        batch if batch <= MAX_BATCH => Ok(batch as u32),
        batch => Err(format!("batches of {batch} are more than {MAX_BATCH}")),
    })
}

fn accesses(text: &str) -> Result<Vec<Access>, String> {
    unique(text, |name| {
        let found = Access::ALL.into_iter().find(|access| access.name() == name.trim());
        found.ok_or_else(|| format!("{name:?} is not an access; there are copy, loan"))
    })
}

/// Every rate with every way to arrive.
fn loads(settings: &Settings, modes: &[Mode]) -> Result<Vec<(Rate, Arrivals)>, Failure> {
    let rates = settings.parse("rate", rate::rates)?.unwrap_or_default();
    let arrivals = settings.parse("arrivals", |text| unique(text, |name| rate::arrivals(name.trim())))?;
    let open = modes.contains(&Mode::Load);
    if open && rates.is_empty() {
        return Err(Failure::usage("an open loop needs a rate")
            .why("its messages are sent at times that are fixed in advance")
            .fix("add --rate 10k/s, or --rate 10%..95%+10% of what is measured to be possible"));
    }
    let given = |key| settings.text(key).is_some_and(|(_, origin)| *origin == Origin::CommandLine);
    if let Some(key) = ["rate", "arrivals"].into_iter().find(|key| !open && given(key)) {
        return Err(Failure::usage(format!("--{key} is for open loops, and none is measured"))
            .why("the other workloads send when the last message is through")
            .fix("add --mode load"));
    }
    let arrivals = arrivals.unwrap_or_else(|| vec![Arrivals::Constant]);
    Ok(rates.iter().flat_map(|rate| arrivals.iter().map(|arrivals| (*rate, *arrivals))).collect())
}

impl PlannedCell {
    /// The same cell with a pause between its messages.
    fn paced(mut self, pace: Option<Duration>) -> PlannedCell {
        let Some(pace) = pace else { return self };
        if !self.point.mode.has_pace() {
            let name = self.point.mode.name();
            self.impossible = self.impossible.or_else(|| {
                Some(Impossible {
                    what: format!("{name} has no pace"),
                    why: "only rtt and oneway pause between two messages".into(),
                    fix: "use --mode rtt,oneway, or --mode load with --rate".into(),
                })
            });
        }
        let text = humantime::format_duration(pace).to_string().replace(' ', "");
        self.point.dimensions.insert("pace".into(), text);
        PlannedCell { pace: Some(pace), ..self }
    }

    /// The same cell with each number of messages per call and each way in and out.
    fn through(&self, batches: &[u32], accesses: &[Access], mechanism: &Mechanism) -> Vec<PlannedCell> {
        let with = |(batch, access): (u32, Access)| {
            let mut cell = PlannedCell { batch, access, ..self.clone() };
            if batch != 1 {
                cell.point.dimensions.insert("batch".into(), batch.to_string());
            }
            if access != Access::Copy {
                cell.point.dimensions.insert("access".into(), access.name().to_owned());
            }
            let no_batch = || cell.no_batch();
            cell.impossible = cell.impossible.clone().or_else(no_batch).or_else(|| cell.no_loan(mechanism));
            cell
        };
        // Only a stream has something to put together; the others take no part in that dimension.
        let batches = if self.point.mode == Mode::Stream { batches } else { &batches[..1] };
        batches.iter().flat_map(|batch| accesses.iter().map(|access| (*batch, *access))).map(with).collect()
    }

    fn no_batch(&self) -> Option<Impossible> {
        if self.batch > 1 && self.point.mode != Mode::Stream {
            return Some(Impossible {
                what: format!("{} has no batches", self.point.mode),
                why: "only a stream has several messages to send at once".into(),
                fix: "use --mode stream, or --batch 1".into(),
            });
        }
        let bytes = self.point.size.saturating_mul(self.batch as usize);
        (self.batch > 1 && bytes > MAX_BATCH_BYTES).then(|| Impossible {
            what: format!("a batch of {} is too large", self.batch),
            why: format!("{bytes} bytes are more than {MAX_BATCH_BYTES}, beyond which a call costs nothing"),
            fix: "use smaller messages or batches".into(),
        })
    }

    fn no_loan(&self, mechanism: &Mechanism) -> Option<Impossible> {
        if self.access != Access::Loan {
            return None;
        }
        let name = mechanism.name;
        let (why, fix) = if !mechanism.lends {
            (
                "it has no memory that both sides see",
                format!("leave it out: -t all,-{name}, or --access copy"),
            )
        } else if self.io == Io::Async {
            ("loans are measured with calls that wait", "use --io sync".to_owned())
        } else if matches!(self.point.mode, Mode::Pattern(_) | Mode::Scene(_)) {
            ("the processes of patterns and scenes copy", "use --mode rtt,oneway,stream,load".to_owned())
        } else if self.batch > 1 {
            ("a loan is of one message", "use --batch 1 with --access loan".to_owned())
        } else {
            return None;
        };
        Some(Impossible { what: format!("{name} cannot lend here"), why: why.into(), fix })
    }

    /// The same cell under each load, where it is an open loop.
    fn under(self, loads: &[(Rate, Arrivals)]) -> Vec<PlannedCell> {
        if self.point.mode != Mode::Load {
            return vec![self];
        }
        let with = |(rate, arrivals): &(Rate, Arrivals)| {
            let mut cell = PlannedCell { load: Some((*rate, *arrivals)), ..self.clone() };
            cell.point.rate = Some(rate.id());
            if *arrivals != Arrivals::Constant {
                cell.point.dimensions.insert("arrivals".into(), arrivals.name().to_owned());
            }
            cell
        };
        loads.iter().map(with).collect()
    }

    /// Whether the rates of two open loops are shares of the same maximum.
    pub(crate) fn has_ceiling_of(&self, other: &PlannedCell) -> bool {
        let bare = |cell: &PlannedCell| {
            let mut point = Point { rate: None, ..cell.point.clone() };
            point.dimensions.remove("arrivals");
            point
        };
        bare(self) == bare(other)
    }

    /// The same cell beside some load.
    fn beside(mut self, background: Option<Background>) -> PlannedCell {
        if let Some(background) = background {
            self.point.dimensions.insert("background".into(), background.to_string());
        }
        PlannedCell { background, ..self }
    }

    /// Connections of its kind that are open at once.
    pub(crate) fn connections(&self) -> usize {
        match self.scene {
            Some(Scene::Idle { endpoints, .. }) => endpoints,
            _ => self.peers.or(self.crowd.map(Crowd::connections)).unwrap_or(1),
        }
    }

    /// Whether a side sleeps while it waits for the next message, or may: a transport of the user's own that has no option
    /// `wait` waits as it does.
    pub(crate) fn sleeps(&self) -> bool {
        matches!(&*self.wait, "" | "park") || self.io == Io::Async
    }
}

fn transports<'a>(settings: &Settings, mechanisms: &'a [Mechanism]) -> Result<Vec<&'a Mechanism>, Failure> {
    let (text, origin) = settings.text("transport").unwrap_or(("all", &Origin::Default));
    let find = |name: &str| {
        let name = if name == "pmq" { "mq" } else { name };
        mechanisms.iter().find(|mechanism| mechanism.name == name).ok_or_else(|| {
            unknown("transport", name, mechanisms.iter().map(|mechanism| mechanism.name), origin)
        })
    };
    let mut chosen: Vec<&Mechanism> = Vec::new();
    let mut add = |mechanism: &'a Mechanism| {
        if chosen.iter().all(|known| known.name != mechanism.name) {
            chosen.push(mechanism);
        }
    };
    let (left_out, named): (Vec<&str>, Vec<&str>) =
        text.split(',').map(str::trim).partition(|name| name.starts_with('-'));
    for name in &named {
        if *name == "all" {
            mechanisms.iter().filter(|mechanism| !NOT_IN_ALL.contains(&mechanism.name)).for_each(&mut add);
        } else {
            add(find(name)?);
        }
    }
    for name in left_out {
        let mechanism = find(name.trim_start_matches('-'))?;
        chosen.retain(|known| known.name != mechanism.name);
    }
    if chosen.is_empty() {
        return Err(Failure::usage(format!("-t {text} leaves no transport"))
            .why("a name after `-` is taken out of those before it")
            .fix("as in -t all,-tcp"));
    }
    Ok(chosen)
}

fn modes(text: &str) -> Result<Vec<Mode>, String> {
    let mode = |name: &str| {
        let found = Mode::all().find(|mode| mode.name() == name.trim());
        found.ok_or_else(|| {
            let known: Vec<_> = Mode::all().map(Mode::name).collect();
            format!("{name:?} is not a mode; there are {}", known.join(", "))
        })
    };
    unique(text, mode)
}

fn ios(text: &str) -> Result<Vec<Io>, String> {
    let io = |name: &str| {
        let found = Io::ALL.into_iter().find(|io| io.name() == name.trim());
        found.ok_or_else(|| format!("{name:?} is not a way to wait; there are sync, async"))
    };
    unique(text, io)
}

/// Waiting policies; empty means each transport's own default.
fn waits(text: &str) -> Result<Vec<String>, String> {
    if text == "default" {
        return Ok(Vec::new());
    }
    unique(text, |name| {
        let policy: ipc_transports::WaitPolicy = name.trim().parse()?;
        Ok(policy.name().to_owned())
    })
}

/// One value of one option of one transport.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    transport: String,
    key: String,
    values: Vec<String>,
}

/// `uds.sndbuf=64K,1M shm.capacity=4M`: every value of every parameter is measured.
fn parameters(text: &str, mechanisms: &[Mechanism]) -> Result<Vec<Parameter>, String> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for part in text.split_whitespace() {
        let parsed = part.split_once('=').and_then(|(name, values)| Some((name.split_once('.')?, values)));
        let Some(((transport, key), values)) = parsed else {
            return Err(format!(
                "{part:?} is not a parameter; use TRANSPORT.OPTION=VALUE,… as in uds.sndbuf=64K,1M"
            ));
        };
        let Some(mechanism) = mechanisms.iter().find(|mechanism| mechanism.name == transport) else {
            return Err(format!("there is no transport {transport:?}"));
        };
        if key == "wait" {
            return Err("the waiting policy has a flag of its own: --wait".into());
        }
        let values: Vec<String> = values.split(',').map(str::to_owned).collect();
        for value in &values {
            (mechanism.accepts)(key, value).map_err(|error| format!("{transport}: {error}"))?;
        }
        parameters.push(Parameter { transport: transport.into(), key: key.into(), values });
    }
    Ok(parameters)
}

/// Every combination of the values of a transport's parameters; one empty combination when it has none.
fn combinations(parameters: &[Parameter], transport: &str) -> Vec<BTreeMap<String, String>> {
    let mut combinations = vec![BTreeMap::new()];
    for parameter in parameters.iter().filter(|parameter| parameter.transport == transport) {
        let with = |map: &BTreeMap<String, String>, value: &String| {
            let mut map = map.clone();
            map.insert(parameter.key.clone(), value.clone());
            map
        };
        combinations = combinations
            .iter()
            .flat_map(|map| parameter.values.iter().map(move |value| with(map, value)))
            .collect();
    }
    combinations
}

/// A comma-separated list of distinct values.
fn unique<T: PartialEq>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    for part in text.split(',') {
        let value = parse(part)?;
        if !values.contains(&value) {
            values.push(value);
        }
    }
    Ok(values)
}

/// How a transport waits when nobody says how; empty when it has no such option.
fn default_wait(mechanism: &Mechanism) -> &'static str {
    let candidates =
        if PARKED.contains(&mechanism.name) { ["park", "adaptive"] } else { ["adaptive", "park"] };
    candidates.into_iter().find(|policy| mechanism.waits(policy)).unwrap_or("")
}

/// The policies to measure a transport with: kernel transports take `adaptive` for `park`, and one that cannot choose is
/// measured once.
fn waits_of(mechanism: &Mechanism, asked: &[String]) -> Vec<String> {
    let default = default_wait(mechanism);
    if asked.is_empty() || default.is_empty() {
        return vec![default.to_owned()];
    }
    let mut waits: Vec<String> = Vec::new();
    for policy in asked {
        let kernel = PARKED.contains(&mechanism.name);
        let policy = if kernel && policy == "adaptive" { "park" } else { policy };
        if !waits.iter().any(|known| known == policy) {
            waits.push(policy.to_owned());
        }
    }
    waits
}

/// Each way to wait with its policies. An awaited call never waits, so it has none.
fn ways_of(mechanism: &Mechanism, ios: &[Io], waits: &[String]) -> Vec<(Io, String)> {
    let ways = ios.iter().map(|io| match io {
        Io::Sync => waits_of(mechanism, waits).into_iter().map(|wait| (Io::Sync, wait)).collect(),
        Io::Async => vec![(Io::Async, String::new())],
    });
    ways.collect::<Vec<Vec<_>>>().concat()
}

fn plan_cell(
    mechanism: &Mechanism,
    mode: Mode,
    size: usize,
    (io, wait): (Io, &str),
    (params, huge): (&BTreeMap<String, String>, bool),
    alone: bool,
) -> PlannedCell {
    let mut dimensions = BTreeMap::new();
    let mut options = BTreeMap::new();
    if io == Io::Async {
        dimensions.insert("io".to_owned(), io.name().to_owned());
    } else if wait != default_wait(mechanism) {
        dimensions.insert("wait".to_owned(), wait.to_owned());
    }
    if !wait.is_empty() {
        options.insert("wait".to_owned(), wait.to_owned());
    }
    for (key, value) in params {
        dimensions.insert(format!("{}.{key}", mechanism.name), value.clone());
        options.insert(key.clone(), value.clone());
    }
    if huge {
        // What is varied with -L is said for each value.
        options.entry(HUGE_PAGES.to_owned()).or_insert_with(|| "true".to_owned());
    }
    // The kernel's mechanisms are measured as the kernel makes them.
    if !PARKED.contains(&mechanism.name)
        && !options.contains_key("capacity")
        && let Some(capacity) = fit::capacity(mechanism, size, &options)
    {
        options.insert("capacity".to_owned(), capacity);
    }
    let point = Point { transport: mechanism.name.to_owned(), mode, size, rate: None, dimensions };
    let impossible = cannot_part(mechanism, mode.name(), matches!(mode, Mode::Pattern(_) | Mode::Scene(_)))
        .or_else(|| cannot_await(mechanism, io))
        .or_else(|| fit::refusal(mechanism, size, &options))
        .or_else(|| cannot_spin(mechanism, wait, alone));
    PlannedCell {
        point,
        wait: wait.to_owned(),
        io,
        one_process: mechanism.inside.is_some(),
        options,
        load: None,
        pace: None,
        batch: 1,
        access: Access::Copy,
        crowd: None,
        peers: None,
        hot: None,
        shared_ring: false,
        scene: None,
        background: None,
        ceiling: None,
        arm: None,
        limit: None,
        impossible,
    }
}

/// Why a workload of several processes, where this is one, is none for a transport inside one process.
fn cannot_part(mechanism: &Mechanism, what: &str, several: bool) -> Option<Impossible> {
    let name = mechanism.name;
    (several && mechanism.inside.is_some()).then(|| Impossible {
        what: format!("{name} has no {what}"),
        why: format!("it joins two threads of one process, and {what} is about processes"),
        fix: "use --mode rtt,oneway,stream,load without --pairs and --clients, or a transport between processes".into(),
    })
}

fn cannot_await(mechanism: &Mechanism, io: Io) -> Option<Impossible> {
    (!mechanism.ways.contains(&io)).then(|| Impossible {
        what: format!("{} cannot be awaited", mechanism.name),
        why: "it was added without a descriptor that says when it is ready".into(),
        fix: "make its halves Pollable and add it using with_pollable, or use --io sync".into(),
    })
}

fn cannot_spin(mechanism: &Mechanism, wait: &str, alone: bool) -> Option<Impossible> {
    let name = mechanism.name;
    if wait == "spin" && alone {
        return Some(Impossible {
            what: format!("{name} cannot spin here"),
            why: "client and server share one CPU, and a spinning side would keep the other from running"
                .into(),
            fix: "allow two CPUs, or use --wait park".into(),
        });
    }
    None
}
