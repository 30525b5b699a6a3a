//! One line per cell: what was done, how often, and what came of it. Lines add up, in `docs/faults.jsonl`; the page
//! `docs/faults.md` is made from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::cell::{Cell, Kills, MECHANISMS};
use super::dose::FAULTS;

/// Upper bounds of a distribution's classes, in milliseconds; one more class has what is above.
const BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 20, 50, 60, 100, 250, 1000];

/// The quantiles of a ledger's line, in microseconds, and how many lie in each class of [`BOUNDS_MS`].
fn distribution(nanos: &mut [u64]) -> String {
    nanos.sort_unstable();
    let at = |q: f64| nanos[((nanos.len() - 1) as f64 * q).round() as usize] / 1000;
    let within = BOUNDS_MS.map(|bound| nanos.partition_point(|nanos| *nanos <= bound * 1_000_000));
    let ends = within.into_iter().chain([nanos.len()]);
    let classes: Vec<String> = ends
        .scan(0, |before, end| Some(end - std::mem::replace(before, end)))
        .map(|n| n.to_string())
        .collect();
    format!(
        "{{\"count\":{},\"p50_us\":{},\"p90_us\":{},\"p99_us\":{},\"max_us\":{},\"classes\":[{}]}}",
        nanos.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        classes.join(",")
    )
}

/// `cell` as one line of JSON.
pub fn line(fault: &str, cell: &mut Cell) -> String {
    let mut line = format!(
        "{{\"fault\":\"{fault}\",\"mechanism\":\"{}\",\"role\":\"{}\",\"rounds\":{},\"violations\":{},\"missed\":{},\"seed\":{}",
        cell.mechanism,
        cell.role.name(),
        cell.passed + cell.violations.len() as u64,
        cell.violations.len(),
        cell.missed,
        cell.seed,
    );
    if !cell.notices.is_empty() {
        let _ = write!(line, ",\"notice\":{}", distribution(&mut cell.notices));
    }
    if !cell.reconnects.is_empty() {
        let _ = write!(line, ",\"reconnect\":{}", distribution(&mut cell.reconnects));
    }
    if !cell.points.is_empty() {
        let point = |(name, kills): (_, &Kills)| format!("\"{name}\":[{},{}]", kills.all, kills.second);
        let points: Vec<_> = cell.points.iter().map(point).collect();
        let _ = write!(line, ",\"points\":{{{}}}", points.join(","));
    }
    if !cell.notes.is_empty() {
        let _ = write!(line, ",\"note\":{:?}", cell.notes.join("; "));
    }
    line.push('}');
    line
}

/// Where lines were made: written into each of them.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The commit, with `+` if the tree had changes.
    pub commit: String,
    /// Seconds since 1970.
    pub time: u64,
}

/// `line` with its origin and this machine in it; `idle`: which had nothing else to do.
pub fn signed(line: &str, origin: &Origin, idle: bool) -> String {
    let system = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "checked" } else { "release" };
    let head = format!(
        "{{\"time\":{},\"commit\":{:?},\"kernel\":{:?},\"cpus\":{cpus},\"build\":\"{build}\",{}",
        origin.time,
        origin.commit,
        system.release().to_string_lossy(),
        if idle { "\"idle\":true," } else { "" }
    );
    line.replacen('{', &head, 1)
}

/// Adds lines to the ledger at `path`.
///
/// # Errors
/// The file cannot be written.
pub fn append(path: &Path, lines: &[String]) -> io::Result<()> {
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    io::Write::write_all(&mut file, text.as_bytes())
}

/// What a ledger says of one cell of the matrix.
#[derive(Clone, Debug, Default)]
struct Sum {
    rounds: u64,
    violations: u64,
    missed: u64,
    /// The worst of the distributions, by its 99th percentile; of those on an idle machine, if there are any.
    notice: Option<Notice>,
    /// The same of the next connections.
    reconnect: Option<Notice>,
    note: Option<String>,
    /// Of faults that are counted in them: a run is one round, and its note begins with how many.
    messages: u64,
    /// Rounds and violations of runs that say why they do not count.
    superseded: Superseded,
    /// How many notices lie in each class of [`BOUNDS_MS`], of the lines that say so.
    classes: [u64; BOUNDS_MS.len() + 1],
    /// The longest of them in microseconds.
    longest: u64,
}

/// Quantiles in microseconds. An idle machine's go before all others, worse ones before better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Notice {
    idle: bool,
    p99: u64,
    p50: u64,
    max: u64,
}

/// Runs that do not count, by the reason.
type Superseded = BTreeMap<String, (u64, u64)>;

impl Sum {
    /// Adds a line of the ledger.
    fn add(&mut self, row: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let (rounds, violations) = (number(&row["rounds"]), number(&row["violations"]));
        if let Some(why) = row["superseded"].as_str() {
            let sum = self.superseded.entry(why.to_owned()).or_default();
            *sum = (sum.0 + rounds, sum.1 + violations);
            return;
        }
        self.rounds += rounds;
        self.violations += violations;
        self.missed += number(&row["missed"]);
        let seen = |times: &Value| {
            let quantile = |name: &str| number(&times[name]);
            times.is_object().then(|| Notice {
                idle: row["idle"] == true,
                p99: quantile("p99_us"),
                p50: quantile("p50_us"),
                max: quantile("max_us"),
            })
        };
        self.reconnect = self.reconnect.max(seen(&row["reconnect"]));
        let notice = &row["notice"];
        if let Some(seen) = seen(notice) {
            self.notice = self.notice.max(Some(seen));
            if let Some(classes) = notice["classes"].as_array() {
                self.classes.iter_mut().zip(classes).for_each(|(sum, count)| *sum += number(count));
                self.longest = self.longest.max(seen.max);
            }
        }
        if let Some(note) = row["note"].as_str() {
            let messages = note.split_once(" messages").and_then(|(count, _)| count.parse().ok());
            self.messages += messages.unwrap_or(0);
            self.note = Some(note.to_owned());
        }
    }

    /// What a table says of it after who was struck.
    fn cells(&self) -> String {
        let quantiles = |seen: Option<Notice>| {
            seen.map_or("–".to_owned(), |Notice { p50, p99, max, .. }| {
                format!("{} / {} / {}", millis(p50), millis(p99), millis(max))
            })
        };
        let notice = quantiles(self.notice);
        let mut notes = Vec::new();
        if self.missed > 0 {
            notes.push(format!("{} more without their fault", self.missed));
        }
        notes.extend(self.note.clone());
        for (why, (rounds, violations)) in &self.superseded {
            notes.push(format!("{rounds} more rounds with {violations} violations are superseded: {why}"));
        }
        let tested = self.rounds > 0;
        let rounds = match self.messages.max(self.rounds) {
            _ if !tested => "not tested".to_owned(),
            rounds => rounds.to_string(),
        };
        let reconnect = quantiles(self.reconnect);
        format!("{rounds} | {} | {notice} | {reconnect} | {}", self.violations, notes.join(". "))
    }
}

/// The page made from a ledger.
///
/// # Errors
/// A line is no JSON object.
pub fn page(ledger: &str) -> Result<String, serde_json::Error> {
    let mut sums: BTreeMap<(String, String, String), Sum> = BTreeMap::new();
    let mut idle: BTreeMap<(String, String, String), Sum> = BTreeMap::new();
    let mut runs: BTreeMap<(u64, String, String, u64, String), u64> = BTreeMap::new();
    let mut points: BTreeMap<String, Kills> = BTreeMap::new();
    for line in ledger.lines().filter(|line| !line.is_empty()) {
        let row: Value = serde_json::from_str(line)?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let cell = (text("fault"), text("mechanism"), text("role"));
        if row["idle"] == true {
            idle.entry(cell.clone()).or_default().add(&row);
        }
        sums.entry(cell).or_default().add(&row);
        let counts = row["superseded"].is_null();
        for (name, kills) in row["points"].as_object().into_iter().flatten().filter(|_| counts) {
            let sum = points.entry(name.clone()).or_default();
            sum.all += number(&kills[0]);
            sum.second += number(&kills[1]);
        }
        let origin =
            (number(&row["time"]), text("commit"), text("kernel"), number(&row["cpus"]), text("build"));
        *runs.entry(origin).or_default() += 1;
    }
    let mut page = String::from(HEAD);
    for fault in FAULTS {
        let _ = writeln!(page, "\n## {}\n\n{}.\n", fault.name, fault.what);
        page.push_str("| Mechanism | Struck | Rounds | Violations | Told after p50 / p99 / max | Next connection after | |\n");
        page.push_str("|---|---|---|---|---|---|---|\n");
        let mechanisms = if fault.mechanisms.is_empty() { MECHANISMS } else { fault.mechanisms };
        for mechanism in mechanisms {
            for role in fault.roles {
                let key = (fault.name.to_owned(), (*mechanism).to_owned(), role.name().to_owned());
                let cells = sums.get(&key).map_or("not tested | – | – | – |".to_owned(), Sum::cells);
                let _ = writeln!(page, "| {mechanism} | {} | {cells} |", role.name());
            }
        }
    }
    kills(&mut page, &points);
    page.push_str("\n## Death notices on an idle machine\n\n");
    page.push_str("Runs with `--idle`: one cell at a time, and nothing else that ran.\n");
    notices(&mut page, &idle);
    page.push_str("\n## Death notices\n\n");
    page.push_str("All runs; most shared the machine, and four cells ran at once.\n");
    notices(&mut page, &sums);
    page.push_str(
        "\n## Runs\n\n| When | Commit | Kernel | CPUs | Build | Cells |\n|---|---|---|---|---|---|\n",
    );
    for ((time, commit, kernel, cpus, build), cells) in runs {
        let _ = writeln!(page, "| {time} | `{commit}` | {kernel} | {cpus} | {build} | {cells} |");
    }
    Ok(page)
}

/// How often each crash point killed.
fn kills(page: &mut String, points: &BTreeMap<String, Kills>) {
    page.push_str(
        "\n## Crash points by name\n\nKills at each point, by all mechanisms and roles, in those runs of `crash-points` that \
         counted them by name.\nSecond ones struck who took over, or repaired, after another kill.\n\n\
         | Point | Kills | of them second ones |\n|---|---|---|\n",
    );
    for (name, kills) in points {
        let _ = writeln!(page, "| {name} | {} | {} |", kills.all, kills.second);
    }
}

/// How long after the blow the survivor was told, as a distribution per cell.
fn notices(page: &mut String, sums: &BTreeMap<(String, String, String), Sum>) {
    page.push_str("From the blow to the survivor's typed error, in % of all deaths up to each time. Runs that left no\n");
    page.push_str(
        "distribution in the ledger are not in this table.\n\n| Fault | Mechanism | Struck | Deaths |",
    );
    for bound in BOUNDS_MS {
        let _ = write!(page, " ≤ {bound} ms |");
    }
    let _ = writeln!(page, " longest |\n|---|---|---|---|{}---|", "---|".repeat(BOUNDS_MS.len()));
    let order = |name: &str| FAULTS.iter().position(|fault| fault.name == name);
    let mut rows: Vec<_> = sums.iter().filter(|(_, sum)| sum.classes.iter().sum::<u64>() > 0).collect();
    rows.sort_by_key(|((fault, mechanism, role), _)| {
        (order(fault), MECHANISMS.iter().position(|known| known == mechanism), role)
    });
    for ((fault, mechanism, role), sum) in rows {
        let all: u64 = sum.classes.iter().sum();
        let _ = write!(page, "| {fault} | {mechanism} | {role} | {all} |");
        let mut within = 0;
        for count in &sum.classes[..BOUNDS_MS.len()] {
            within += count;
            let _ = write!(page, " {} |", percent(within, all));
        }
        let _ = writeln!(page, " {} |", millis(sum.longest));
    }
}

/// `part` of `all` in percent; 100 only for all of them.
fn percent(part: u64, all: u64) -> String {
    if part == all {
        return "100".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(all);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn millis(micros: u64) -> String {
    if micros < 10_000 {
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    } else {
        format!("{} ms", micros / 1000)
    }
}

const HEAD: &str = "# Faults\n\n\
What was done to the survivor, how often, and what came of it. Made by `cargo xtask chaos --page` from\n\
`docs/faults.jsonl`, where every run recorded with `--record` leaves one line per cell with its seed; rounds of several\n\
runs add up. A round without a violation kept every promise of the oracle (`tests/src/chaos/mod.rs`: deadlines, gap-free\n\
prefix, typed error, nothing left behind, next connection works, no signal) as far as the fault touches it; waiting without\n\
busy looking is measured in `stop`. A call may overrun its second by two, and by what its thread waited for a processor:\n\
the machine was seldom ours alone. No failure in N rounds bounds the rate of failures at 3 / N with 95 % confidence, for\n\
the commits of those rounds, which are many; `+` after a commit is a tree with changes, and a commit that is not in the\n\
repository was rebased before it came here. `not tested` means what it says. The time to the error is that of\n\
the worst run on an idle machine, where there is one, else of the worst run of all: most shared the machine with builds,\n\
many at the lowest priority, where a killed process may wait for seconds for the processor it needs to die. The same of\n\
the next connection, which counts from the error. One violation is one round.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_counts_every_notice_once_in_its_class() {
        let mut nanos = [900_000, 1_000_000, 1_000_001, 55_000_000, 2_000_000_000];
        let line: Value = serde_json::from_str(&distribution(&mut nanos)).expect("JSON");
        assert_eq!(line["classes"], serde_json::json!([2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1]));
        assert_eq!((&line["count"], &line["max_us"]), (&5.into(), &2_000_000.into()));
    }

    #[test]
    fn a_page_adds_runs_up_and_tells_the_superseded_ones_apart() {
        let line = |rounds: u64, violations: u64, more: &str| {
            format!(
                "{{\"time\":1,\"fault\":\"kill9\",\"mechanism\":\"shm\",\"role\":\"sender\",\"rounds\":{rounds},\
                 \"violations\":{violations},\"missed\":0,\"seed\":1{more}}}\n"
            )
        };
        let notice = ",\"notice\":{\"count\":4,\"p50_us\":1,\"p99_us\":2,\"max_us\":3000,\"classes\":[3,0,1,0,0,0,0,0,0,0,0]}";
        let ledger =
            line(10, 0, "") + &line(100, 7, ",\"superseded\":\"the driver's\"") + &line(4, 0, notice);
        let page = page(&ledger).expect("JSON lines");
        assert!(
            page.contains("| shm | sender | 14 | 0 | 0.0 ms / 0.0 ms / 3.0 ms | – | 100 more rounds with 7 violations are superseded: the driver's |"),
            "{page}"
        );
        let idle = line(4, 0, &format!(",\"idle\":true{notice}"));
        let slower = notice.replace("\"p99_us\":2,\"max_us\":3000", "\"p99_us\":9000,\"max_us\":9000");
        let both = super::page(&(ledger + &line(4, 0, &slower) + &idle)).expect("JSON lines");
        let rows = |deaths: u64| both.matches(&format!("| kill9 | shm | sender | {deaths} | 75.00")).count();
        assert_eq!((rows(4), rows(12)), (1, 1), "alone in its own table, and among all: {both}");
        assert!(
            both.contains("| shm | sender | 22 | 0 | 0.0 ms / 0.0 ms / 3.0 ms | – |"),
            "the idle machine's: {both}"
        );
        assert!(page.contains("| kill9 | shm | sender | 4 | 75.00 | 75.00 | 100 |"), "{page}");
        let storm = line(1, 0, ",\"note\":\"5000 messages, 3 signals\"").replace("kill9", "eintr");
        let stormy = super::page(&(storm.clone() + &storm)).expect("JSON lines");
        assert!(
            stormy.contains("| shm | sender | 10000 | 0 | – | – | 5000 messages, 3 signals |"),
            "{stormy}"
        );
        assert!(page.contains("| shm | receiver | not tested | – | – | – | |"), "{page}");
        let killed = line(3, 0, ",\"points\":{\"slot.repair\":[3,2]}").replace("kill9", "crash-points");
        let mute = killed.replace("\"seed\"", "\"superseded\":\"why\",\"seed\"");
        let points = super::page(&(killed.clone() + &mute + &killed)).expect("JSON lines");
        assert!(points.contains("| slot.repair | 6 | 4 |"), "{points}");
    }
}
