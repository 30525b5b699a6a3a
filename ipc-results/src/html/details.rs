//! The tables behind the charts: cost, settings, environment, method, every cell.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::cell::{Cell, CellStatus};
use crate::export::{csv_of_trials, escape};
use crate::report::{Report, Separation};
use crate::run::Run;
use crate::units::{self, change_interval, count, rate, ratio, size, time};

use super::page::{Page, named, table};
use super::{Options, awaiting};

pub(super) fn gains(page: &mut Page, report: &Report<'_>) {
    // Awaited calls have a section of their own.
    let gains: Vec<_> = report.gains.iter().filter(|gain| gain.setting != awaiting::SETTING).collect();
    if gains.is_empty() {
        return;
    }
    let lead = "Each row compares two cells of this run that differ in this setting alone.";
    page.section("settings-gain", "Gains", "What each setting changes", lead);
    let rows = gains.into_iter().map(|gain| {
        let certain = match gain.separation {
            Separation::Separated => "separated",
            Separation::NotSeparable => "not separable",
            Separation::TooFewTrials => "too few trials to tell",
        };
        vec![
            format!("<code>{}</code>", escape(gain.setting)),
            format!("<code>{}</code>", escape(&gain.base.id)),
            gain.metric.to_string(),
            escape(&gain.metric.format(gain.without.value)),
            escape(&gain.metric.format(gain.with.value)),
            change_interval(&gain.ratio),
            certain.to_owned(),
        ]
    });
    let heads = ["setting", "cell", "metric", "without", "with", "change", ""];
    page.push(&table("numbers sortable", &heads, rows));
    page.end_section();
}

pub(super) fn settings(page: &mut Page, report: &Report<'_>) {
    // Cells with the same settings share a row; what differs with the size splits it.
    let mut groups: Vec<(Vec<String>, Vec<&Cell>)> = Vec::new();
    for cell in report.run.cells.iter().filter(|cell| cell.summary.is_some()) {
        let settings = in_force(report, cell);
        match groups.iter_mut().find(|(known, _)| *known == settings) {
            Some((_, cells)) => cells.push(cell),
            None => groups.push((settings, vec![cell])),
        }
    }
    if groups.is_empty() {
        return;
    }
    let lead = "As the system granted them, read back from the workers.";
    page.section("settings", "Settings", "Settings in force", lead);
    let rows = groups.into_iter().map(|(mut row, cells)| {
        let mut sizes: Vec<u64> = cells.iter().map(|cell| cell.size_bytes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        row.insert(2, sizes.into_iter().map(size).collect::<Vec<_>>().join(", "));
        let warmups = || cells.iter().flat_map(|cell| cell.completed()).map(|trial| trial.warmup.messages);
        row.push(match (warmups().min(), warmups().max()) {
            (Some(fewest), Some(most)) if fewest != most => format!("{} to {}", count(fewest), count(most)),
            (Some(all), _) => count(all),
            (None, _) => "–".to_owned(),
        });
        row
    });
    let heads = ["", "workload", "sizes", "wait", "calls", "cpus", "granted", "clock", "warm-up messages"];
    page.push(&table("numbers left wide", &heads, rows));
    page.end_section();
}

/// The settings of a cell as the columns of the table.
fn in_force(report: &Report<'_>, cell: &Cell) -> Vec<String> {
    let pins: Vec<String> = cell.pin.iter().map(|(role, cpu)| format!("{role} {cpu}")).collect();
    let pins = if pins.is_empty() { "not pinned".to_owned() } else { pins.join(", ") };
    let granted: Vec<String> =
        cell.effective.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
    let clock = format!("{}, {} to {}", cell.method.clock, cell.method.t0, cell.method.t1).replace('_', " ");
    vec![
        named(report, report.series_of(cell)),
        escape(&cell.mode),
        escape(&cell.wait),
        escape(&cell.io),
        escape(&pins),
        escape(&granted.join(", ")),
        escape(&clock),
    ]
}

/// A value without the quotes of JSON, sizes with separators.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), count),
        other => other.to_string(),
    }
}

pub(super) fn environment(page: &mut Page, run: &Run) {
    page.section(
        "environment",
        "Environment",
        "Environment",
        "Read from the system when the run began; a dash could not be read.",
    );
    page.push("<div class=\"grid\">");
    let servers = run.servers.iter().map(|server| ("Server", serde_json::to_value(server)));
    for (index, (caption, value)) in [
        ("Machine and process", serde_json::to_value(&run.environment)),
        ("Program", serde_json::to_value(&run.tool)),
        ("Plan", serde_json::to_value(&run.manifest)),
    ]
    .into_iter()
    .chain(servers)
    .enumerate()
    {
        // All but the first are short and share a column.
        if index == 1 {
            page.push("<div class=\"stack\">");
        }
        let mut rows: Vec<(String, String)> = Vec::new();
        if let Ok(Value::Object(fields)) = value {
            fields.iter().for_each(|(name, value)| flatten(name, value, &mut rows));
        }
        let rows = rows.into_iter().map(|(name, value)| {
            vec![format!("<code>{}</code>", escape(&name)), escape(&value).replace('\n', "<br>")]
        });
        page.figure(caption, "", &table("numbers left facts-table", &["field", "value"], rows));
    }
    page.push("</div></div>");
    page.end_section();
}

/// One row per leaf; lists on one line.
fn flatten(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Object(fields) => {
            return fields.iter().for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, rows));
        }
        Value::Null => "–".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().map(plain).collect::<Vec<_>>().join(" ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    rows.push((name.to_owned(), text));
}

pub(super) fn method(page: &mut Page, report: &Report<'_>) {
    page.section("method", "Method", "How this was measured", "");
    let run = report.run;
    page.push(METHOD);
    let program = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
    let words = run.manifest.argv.iter().enumerate();
    let words = words.map(|(index, word)| if index == 0 { program(word) } else { word.clone() });
    let reproduce = words.collect::<Vec<_>>().join(" ");
    page.push(&format!(
        "<h3>Measure it again</h3><p>The whole run: <code class=\"command\">{}</code> with <code>--seed {}</code>. This page carries its run file \
         and stands wherever a run can: <code>ipc-bench compare THIS.html last</code>. The command for a single cell stands beside it \
         below.</p>",
        escape(&reproduce),
        run.manifest.seed
    ));
    page.end_section();
}

/// What each number means, in plain words.
const METHOD: &str = "<dl class=\"glossary\">\
<dt>Trial</dt><dd>One measurement in a fresh set of processes. The trial is the unit of evidence: the millions of messages within one share \
one placement of pages and processes, so they count as one sample of it. Trials of different cells are interleaved, so that a slow minute \
of the machine does not fall on one transport.</dd>\
<dt>Median, ±</dt><dd>The median over trials of a figure of each trial, and the interval between two of the ordered trials that covers the true \
median with the probability printed beside it, whatever the distribution.</dd>\
<dt>p50, p99, …</dt><dd>Within one trial: the time that this share of the messages did not exceed. It is only given when at least ten messages \
lie beyond it. Messages of several trials are never pooled for it.</dd>\
<dt>Round trip</dt><dd>From before the send to after the reply has arrived in the sending process; the reply carries the whole payload. One \
round trip is never halved and called one way.</dd>\
<dt>Throughput</dt><dd>Messages delivered, divided by the time from the first send to the last receive.</dd>\
<dt>× limit</dt><dd>The median divided by a bare loop that does only what the hardware or the kernel must do, with the same clock reads and \
the same checks, measured in the same run. 1 is the limit.</dd>\
<dt>Faster, separated</dt><dd>The Hodges–Lehmann ratio of the trials with the interval of the exact two-sided Mann–Whitney test. Two transports are \
separated when it covers at least 95 % and excludes 1; otherwise these trials cannot tell them apart, whatever their medians.</dd>\
<dt>Response and service time</dt><dd>In open loop, messages are due at times fixed in advance. Response time counts from when a message was due, so \
that a stall also counts against those that had to wait for it; service time counts from when it was sent.</dd></dl>";

pub(super) fn cells(page: &mut Page, report: &Report<'_>, options: &Options<'_>) {
    let lead = "All cells with the command that measures each again.";
    page.section("cells", "Cells", "Every cell", lead);
    let csv = STANDARD.encode(csv_of_trials(report));
    page.push(&format!(
        "<p class=\"tools\"><a download=\"{}.csv\" href=\"data:text/csv;base64,{csv}\">all trials as CSV</a></p>",
        escape(&report.run.run_id)
    ));
    let rows = report.run.cells.iter().map(|cell| {
        let summary = cell.summary.clone().unwrap_or_default();
        let latency = &summary.latency;
        let ns = |own: Option<crate::Estimate>| own.map_or_else(|| "–".into(), |own| time(own.value));
        let error = latency.p50_ns.or(summary.msgs_per_s).and_then(|own| own.relative_error());
        let limit =
            summary.limit.as_ref().map_or_else(|| "–".into(), |limit| format!("{}×", ratio(limit.ratio)));
        let status = match (cell.status, summary.saturated) {
            (CellStatus::Skipped, _) => "skipped",
            (CellStatus::Failed, _) => "failed",
            (CellStatus::Ok, Some(true)) => "saturated",
            (CellStatus::Ok, _) => "",
        };
        vec![
            format!(
                "<th scope=\"row\" class=\"n{}\"><code>{}</code></th>",
                report.series_of(cell),
                escape(&cell.id)
            ),
            ns(latency.p50_ns),
            error.map_or_else(|| "–".into(), units::error),
            ns(latency.p99_ns),
            ns(latency.p999_ns),
            summary.msgs_per_s.map_or_else(|| "–".into(), |own| rate(own.value)),
            ns(summary.cpu_ns_per_msg),
            limit,
            cell.completed().count().to_string(),
            status.to_owned(),
            format!("<td class=\"repro\"><code>{}</code></td>", escape(&(options.repro)(cell))),
        ]
    });
    let heads = ["cell", "p50", "±", "p99", "p99.9", "msg/s", "cpu/msg", "×limit", "trials", "", "command"];
    page.push(&table("numbers sortable filterable wide", &heads, rows));
    page.end_section();
}
