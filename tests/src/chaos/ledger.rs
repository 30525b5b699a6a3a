//! One line per cell: what was done, how often, and what came of it. Lines add up, in `docs/faults.jsonl`; the page
//! `docs/faults.md` is made from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::cell::{Cell, MECHANISMS};
use super::dose::FAULTS;

/// The quantiles of a ledger's line, in microseconds.
fn quantiles(nanos: &mut [u64]) -> String {
    nanos.sort_unstable();
    let at = |q: f64| nanos[((nanos.len() - 1) as f64 * q).round() as usize] / 1000;
    format!(
        "{{\"count\":{},\"p50_us\":{},\"p90_us\":{},\"p99_us\":{},\"max_us\":{}}}",
        nanos.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
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
        let _ = write!(line, ",\"notice\":{}", quantiles(&mut cell.notices));
    }
    if !cell.reconnects.is_empty() {
        let _ = write!(line, ",\"reconnect\":{}", quantiles(&mut cell.reconnects));
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

/// `line` with its origin and this machine in it.
pub fn signed(line: &str, origin: &Origin) -> String {
    let system = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "checked" } else { "release" };
    let head = format!(
        "{{\"time\":{},\"commit\":{:?},\"kernel\":{:?},\"cpus\":{cpus},\"build\":\"{build}\",",
        origin.time,
        origin.commit,
        system.release().to_string_lossy()
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
    lines: u64,
    /// The worst of the distributions, by its 99th percentile.
    notice: Option<(u64, u64, u64)>,
    note: Option<String>,
}

/// The page made from a ledger.
///
/// # Errors
/// A line is no JSON object.
pub fn page(ledger: &str) -> Result<String, serde_json::Error> {
    let mut sums: BTreeMap<(String, String, String), Sum> = BTreeMap::new();
    let mut runs: BTreeMap<(u64, String, String, u64, String), u64> = BTreeMap::new();
    for line in ledger.lines().filter(|line| !line.is_empty()) {
        let row: Value = serde_json::from_str(line)?;
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let sum = sums.entry((text("fault"), text("mechanism"), text("role"))).or_default();
        sum.rounds += number(&row["rounds"]);
        sum.violations += number(&row["violations"]);
        sum.missed += number(&row["missed"]);
        sum.lines += 1;
        let notice = &row["notice"];
        if notice.is_object() {
            let seen = (number(&notice["p50_us"]), number(&notice["p99_us"]), number(&notice["max_us"]));
            let worse = sum.notice.is_none_or(|known| seen.1 > known.1);
            sum.notice = if worse { Some(seen) } else { sum.notice };
        }
        if row["note"].is_string() {
            sum.note = Some(text("note"));
        }
        let origin =
            (number(&row["time"]), text("commit"), text("kernel"), number(&row["cpus"]), text("build"));
        *runs.entry(origin).or_default() += 1;
    }
    let mut page = String::from(HEAD);
    for fault in FAULTS {
        let _ = writeln!(page, "\n## {}\n\n{}.\n", fault.name, fault.what);
        page.push_str("| Mechanism | Struck | Rounds | Violations | Told after p50 / p99 / max | |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        let mechanisms = if fault.mechanisms.is_empty() { MECHANISMS } else { fault.mechanisms };
        for mechanism in mechanisms {
            for role in fault.roles {
                let key = (fault.name.to_owned(), (*mechanism).to_owned(), role.name().to_owned());
                let cells = match sums.get(&key) {
                    None => "not tested | – | – |".to_owned(),
                    Some(sum) => {
                        let notice = sum.notice.map_or("–".to_owned(), |(p50, p99, max)| {
                            format!("{} / {} / {}", millis(p50), millis(p99), millis(max))
                        });
                        let missed = match sum.missed {
                            0 => String::new(),
                            missed => format!("{missed} more without their fault. "),
                        };
                        let note = sum.note.clone().unwrap_or_default();
                        format!("{} | {} | {notice} | {missed}{note}", sum.rounds, sum.violations)
                    }
                };
                let _ = writeln!(page, "| {mechanism} | {} | {cells} |", role.name());
            }
        }
    }
    page.push_str(
        "\n## Runs\n\n| When | Commit | Kernel | CPUs | Build | Cells |\n|---|---|---|---|---|---|\n",
    );
    for ((time, commit, kernel, cpus, build), cells) in runs {
        let _ = writeln!(page, "| {time} | `{commit}` | {kernel} | {cpus} | {build} | {cells} |");
    }
    Ok(page)
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
prefix, typed error, nothing left behind, next connection works, no signal, no busy waiting). No failure in N rounds bounds\n\
the rate of failures at 3 / N with 95 % confidence. `not tested` means what it says. The time to the error is the worst\n\
recorded run's; the machine was shared with other builds. One violation is one round.\n";
