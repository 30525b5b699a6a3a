//! The answer first: three sentences, then a ranking for each use.

use std::fmt::Write;

use crate::estimate::Estimate;
use crate::export::escape;
use crate::report::{Answer, Entry, Figure, Report, Separation};
use crate::run::RunStatus;
use crate::units::{self, ratio, size, yardstick};

use super::Options;
use super::page::{Page, named};

pub(super) fn answer(page: &mut Page, report: &Report<'_>, options: &Options<'_>) {
    let run = report.run;
    let day = run.started.replace('T', " ").replace('Z', " UTC");
    let machine = crate::text::machine(&run.environment, crate::units::Charset::Unicode);
    page.push(&format!(
        "<header><p class=\"over\">ipc-bench · {} · {}</p><h1>{}</h1><p class=\"sentences\">{}</p>{}\
         <p class=\"meta\">{}{}</p></header>\n",
        escape(&run.run_id),
        escape(&day),
        headline(report),
        sentences(report),
        cautions(report),
        if run.label.is_empty() { String::new() } else { format!("<b>{}</b> · ", escape(&run.label)) },
        escape(&machine),
    ));
    if report.answers.is_empty() {
        return;
    }
    let lead = "Every answer is computed from the cells of this run that it names: medians over trials, with the interval \
                each median is known within. The position on the scale is logarithmic.";
    page.section("answer", "Answer", "Which one for you", lead);
    page.push("<div class=\"cards\">");
    for answer in &report.answers {
        page.push(&card(report, answer, options));
    }
    page.push("</div>");
    page.end_section();
}

/// What takes back the heading, beside it and not further down: who pastes one pastes the other.
fn cautions(report: &Report<'_>) -> String {
    let run = report.run;
    let mut cautions = Vec::new();
    if run.warnings.iter().any(|warning| warning.code == "W05") {
        cautions.push("This was a debug build: its numbers mean nothing.");
    }
    if run.status == RunStatus::Partial {
        cautions.push("The run was interrupted: some cells have fewer trials than were planned.");
    }
    let entries = report.answers.iter().flat_map(|answer| &answer.entries);
    if entries.into_iter().any(|entry| matches!(entry.behind, Some((_, Separation::TooFewTrials)))) {
        cautions.push("So few trials do not establish an order: four of each are the least.");
    }
    if cautions.is_empty() {
        String::new()
    } else {
        format!("<p class=\"caution\">{}</p>", cautions.join(" "))
    }
}

/// The finding as a heading.
fn headline(report: &Report<'_>) -> String {
    match report.run.status {
        RunStatus::Failed => return "This run failed".to_owned(),
        RunStatus::Partial if report.answers.is_empty() => return "This run was interrupted".to_owned(),
        _ => {}
    }
    let mut speeds = report.answers.iter().filter(|answer| matches!(answer.figure, Figure::Of(_)));
    let Some((answer, first)) = speeds.next().and_then(|answer| Some((answer, answer.entries.first()?)))
    else {
        return "What this run measured".to_owned();
    };
    let value = answer.figure.format(first.estimate.value);
    let size = size(first.cell.size_bytes);
    let what = match (first.cell.mode.as_str(), answer.figure.higher_is_better()) {
        ("rtt", _) => format!("{value} for {size} there and back"),
        (_, false) => format!("{value} for {size}"),
        (_, true) => format!("{value} with messages of {size}"),
    };
    let names = tied(report, answer);
    if answer.entries.len() == 1 {
        // Nothing else has that figure: alone, it is not faster than anything.
        return format!("{}: {}", escape(&join(&names)), escape(&what).replacen(' ', "\u{a0}", 1));
    }
    let verb = if names.len() > 1 { "are" } else { "is" };
    // A number and its unit stay on one line.
    format!("{} {verb} fastest: {}", escape(&join(&names)), escape(&what).replacen(' ', "\u{a0}", 1))
}

/// The first entry and those that cannot be told from it.
fn tied<'r>(report: &'r Report<'_>, answer: &Answer<'_>) -> Vec<&'r str> {
    let tied = answer.entries.iter().enumerate().filter(|(place, entry)| is_tied(*place, entry));
    tied.map(|(_, entry)| report.series[entry.series].as_str()).collect()
}

/// Whether an entry is the first, or cannot be told from it.
fn is_tied(place: usize, entry: &Entry<'_>) -> bool {
    place == 0 || matches!(entry.behind, Some((_, Separation::NotSeparable)))
}

fn join(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// What else a reader in a hurry must know.
fn sentences(report: &Report<'_>) -> String {
    let mut sentences = Vec::new();
    let first = report.answers.first().and_then(|answer| answer.entries.first());
    if let Some(limit) = first.and_then(|entry| entry.cell.summary.as_ref()?.limit.as_ref()) {
        let (name, _) = yardstick(&limit.name, 1.0);
        let [times, lo, hi] = [limit.ratio, limit.lo, limit.hi].map(ratio);
        sentences.push(if limit.ratio < 1.0 {
            // Nothing is below its limit: the two met different luck, or a limit that is not one.
            format!("The {name} measured in the same run, its limit, was no faster ({times}×, {lo}–{hi}).")
        } else {
            format!("That is {times}× the physical limit of this machine ({lo}–{hi}), the {name} measured in the same run.")
        });
    }
    for answer in report.answers.iter().skip(1).take(2) {
        let Some(best) = answer.entries.first() else { continue };
        let names = join(&tied(report, answer));
        let value = answer.figure.format(best.estimate.value);
        let several = tied(report, answer).len() > 1;
        sentences.push(match answer.question {
            "Lowest latency without burning a core" => format!(
                "Without burning a core {names} {} at {value}{}.",
                if several { "lead" } else { "leads" },
                if several { " and cannot be told apart" } else { "" }
            ),
            "Highest throughput" => format!(
                "{names} {} the most data{}: {value} in messages of {}.",
                if several { "move" } else { "moves" },
                if several { " and cannot be told apart" } else { "" },
                size(best.cell.size_bytes)
            ),
            _ => continue,
        });
    }
    escape(&sentences.join(" "))
}

fn card(report: &Report<'_>, answer: &Answer<'_>, options: &Options<'_>) -> String {
    let mut card = format!(
        "<article><h3>{}</h3><p class=\"measure\">{}</p>",
        escape(answer.question),
        escape(&answer.measure)
    );
    let Some(first) = answer.entries.first() else {
        return card + "<p>No cell of this run answers that.</p></article>";
    };
    let mut winners: Vec<String> = answer
        .entries
        .iter()
        .enumerate()
        .filter(|(place, entry)| is_tied(*place, entry))
        .map(|(_, entry)| named(report, entry.series))
        .collect();
    if let more @ 3.. = winners.len() {
        winners.truncate(1);
        winners.push(format!("<small>and {} not separable from it</small>", more - 1));
    }
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        card,
        "<p class=\"winner\">{} <b>{}</b></p>",
        winners.join(" "),
        escape(&answer.figure.format(first.estimate.value))
    );
    let (lo, hi) = answer.entries.iter().fold((f64::INFINITY, 0.0f64), |(lo, hi), entry| {
        (lo.min(entry.estimate.lo), hi.max(entry.estimate.hi))
    });
    card += "<ol class=\"ranking\">";
    for entry in &answer.entries {
        let Estimate { value, .. } = entry.estimate;
        let error = entry.estimate.relative_error().map(units::error).unwrap_or_default();
        let _ = write!(
            card,
            "<li class=\"n{}\" title=\"{}\">{}{}<span class=\"value\">{} <small>{error}</small></span>\
             <span class=\"behind\">{}</span></li>",
            entry.series,
            escape(&entry.cell.id),
            named(report, entry.series),
            dot(entry, lo, hi),
            escape(&answer.figure.format(value)),
            behind(entry),
        );
    }
    card += "</ol>";
    if let Some(aside) = &answer.aside {
        let flags = aside.flags.as_deref().map(escape);
        let flags = flags.map(|flags| format!(" Asleep they are measured by <code>{flags}</code>."));
        let _ = write!(card, "<p class=\"aside\">{}{}</p>", escape(&aside.text), flags.unwrap_or_default());
    }
    if let Some(recipe) = (options.recipe)(first.cell) {
        let _ = write!(
            card,
            "<details class=\"recipe\" open><summary>from <code>{}</code>: open <code>{}</code></summary><pre>{}</pre></details>",
            escape(&first.cell.id),
            escape(&recipe.address),
            escape(&recipe.code)
        );
    }
    card + "</article>"
}

/// The median and its interval on a logarithmic scale from `lo` to `hi`.
fn dot(entry: &Entry<'_>, lo: f64, hi: f64) -> String {
    // What is nothing at all lies where one of the unit does.
    let (lo, hi) = (lo.max(1.0), hi.max(1.0));
    let at =
        |value: f64| if hi > lo { 4.0 + 92.0 * (value.max(1.0) / lo).ln() / (hi / lo).ln() } else { 50.0 };
    let Estimate { value, lo: from, hi: to, .. } = entry.estimate;
    format!(
        "<span class=\"scale s{}\" aria-hidden=\"true\"><i style=\"left:{:.1}%;width:{:.1}%\"></i>\
         <b style=\"left:{:.1}%\"></b></span>",
        entry.series % super::plot::SERIES,
        at(from),
        at(to) - at(from),
        at(value)
    )
}

/// How far behind the first, and whether that is certain.
fn behind(entry: &Entry<'_>) -> String {
    match &entry.behind {
        None => String::new(),
        Some((times, separation)) => {
            let range = format!("{}–{}", ratio(times.lo), ratio(times.hi));
            match separation {
                Separation::Separated => format!("<span title=\"{range}\">{}×</span>", ratio(times.value)),
                Separation::NotSeparable => format!("<span title=\"{range}\">not separable</span>"),
                Separation::TooFewTrials => {
                    format!("<span title=\"{range}; four trials can tell\">{}× ?</span>", ratio(times.value))
                }
            }
        }
    }
}
