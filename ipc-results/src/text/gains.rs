//! What batches, loans, background load and the like did, each against the same cell without it.

use crate::report::{Gain, Report};
use crate::units;

use super::Page;
use super::grid::{self, Column, Group};
use super::ranking::{interval, verdict};

pub(super) fn gains(page: &mut Page, report: &Report<'_>) {
    if report.gains.is_empty() {
        return;
    }
    page.heading("With and without");
    let text = |cell: &dyn Fn(&Gain<'_>) -> String| report.gains.iter().map(cell).collect::<Vec<_>>();
    let columns = vec![
        Column::left("cell", text(&|gain| gain.base.id.clone())),
        Column::left("with", text(&|gain| gain.setting.to_owned())),
        Column::left("", text(&|gain| gain.metric.name().to_owned())),
        Column::right("", text(&|gain| format!("{}×", units::ratio(gain.ratio.value)))),
        Column::left("", text(&|gain| interval(&gain.ratio))),
        Column::left("", text(&|gain| direction(gain).to_owned())),
        Column::left("", text(&|gain| verdict(gain.separation).to_owned())),
    ];
    for line in grid::lines(&[Group { title: String::new(), columns }]) {
        page.line(&line);
    }
}

fn direction(gain: &Gain<'_>) -> &'static str {
    if (gain.ratio.value > 1.0) == gain.metric.higher_is_better() { "better" } else { "worse" }
}
