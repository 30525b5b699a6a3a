//! Who is fastest, and who cannot be told apart.

use crate::estimate::Estimate;
use crate::report::{Ranking, Report, Separation};
use crate::units::{self, size};

use super::Page;
use super::grid::{self, Column, Group};

pub(super) fn ranking(page: &mut Page, report: &Report<'_>, ranking: &Ranking<'_>) {
    let first = &ranking.ranked[0];
    let workload = if ranking.mode == "rtt" { "round trip" } else { ranking.mode };
    page.heading(&format!("Summary, {} {workload}", size(ranking.size_bytes)));
    let against = match ranking.reference {
        0 => String::new(),
        reference => format!("; against {}:", ranking.ranked[reference].name),
    };
    page.line(&format!("  {} is fastest{against}", first.name));
    let known = || ranking.ranked.iter().filter_map(|other| Some((&other.name, other.times()?)));
    let text = |cell: &dyn Fn(&str, &Estimate, Separation) -> String| {
        known().map(|(name, (ratio, _, separation))| cell(name, &ratio, separation)).collect::<Vec<_>>()
    };
    let than = known().map(|(name, (_, word, _))| match ranking.reference {
        0 => format!("faster than {name}"),
        _ => format!("{word}: {name}"),
    });
    let columns = vec![
        Column::right("", text(&|_, ratio, _| format!("{}×", units::ratio(ratio.value)))),
        Column::left("", text(&|_, ratio, _| interval(ratio))),
        Column::left("", than.collect()),
        Column::left("", text(&|_, _, separation| verdict(separation).to_owned())),
    ];
    for line in grid::lines(&[Group { title: String::new(), columns }]).iter().skip(2) {
        page.line(&format!("    {line}"));
    }
    for (faster, slower, ratio) in &ranking.not_separable {
        let (faster, slower) = (&ranking.ranked[*faster].name, &ranking.ranked[*slower].name);
        page.line(&format!(
            "  {faster} and {slower} not separable: {}× {}",
            units::ratio(ratio.value),
            interval(ratio)
        ));
    }
    busy_note(page, report, ranking);
}

/// Names the entries that never sleep, and what a sleeping one can reach at best.
fn busy_note(page: &mut Page, report: &Report<'_>, ranking: &Ranking<'_>) {
    let busy: Vec<_> = ranking.ranked.iter().filter(|entry| entry.burns_cpu).collect();
    let names: Vec<&str> = busy.iter().map(|entry| entry.name.as_str()).collect();
    let keep = match names.as_slice() {
        [] => return,
        [one] => format!("{one} keeps"),
        [most @ .., last] => format!("{} and {last} keep", most.join(", ")),
    };
    let bound = report.run.yardsticks.get("futex_rtt_ns").map(|futex| {
        format!(
            "; with --wait park the futex round trip ({}) bounds their p50 from below",
            units::time(futex.value)
        )
    });
    page.wrapped(
        "  note:",
        8,
        &format!("{keep} both cpus busy while saturated{}", bound.unwrap_or_default()),
    );
}

pub(super) fn interval(ratio: &Estimate) -> String {
    format!("({}–{})", units::ratio(ratio.lo), units::ratio(ratio.hi))
}

pub(super) fn verdict(separation: Separation) -> &'static str {
    match separation {
        Separation::Separated => "separated",
        Separation::NotSeparable => "not separable",
        Separation::TooFewTrials => "too few trials to tell (4 needed)",
    }
}
