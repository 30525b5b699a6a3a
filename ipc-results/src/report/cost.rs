//! What a message costs the machine.

use crate::cell::{Cell, CpuUse, Trial, throughput_is_primary};
use crate::estimate::Estimate;
use crate::statistics::median;

use super::Report;
use super::ranking::burns_cpu;

/// Resources of all workers together, per message, of one cell: medians over trials.
#[derive(Debug, Clone)]
pub struct Cost<'a> {
    /// Index into [`Report::series`].
    pub series: usize,
    /// The cell.
    pub cell: &'a Cell,
    /// Processor time, in nanoseconds.
    pub cpu_ns: Estimate,
    /// Share of it inside the kernel, in `0.0..=1.0`.
    pub kernel: Estimate,
    /// Voluntary context switches: sleeps.
    pub voluntary: Estimate,
    /// Involuntary context switches: interruptions.
    pub involuntary: Estimate,
    /// Processors kept busy by all workers together.
    pub cores: Estimate,
    /// Whether a workload that could sleep did not.
    pub burns_cpu: bool,
}

pub(super) fn costs<'a>(report: &Report<'a>) -> Vec<Cost<'a>> {
    report.run.cells.iter().filter_map(|cell| cost(report, cell)).collect()
}

fn cost<'a>(report: &Report<'a>, cell: &'a Cell) -> Option<Cost<'a>> {
    let summary = cell.summary.as_ref()?;
    let over = |figure: &dyn Fn(&CpuUse, &Trial) -> f64| {
        let values: Option<Vec<f64>> =
            cell.completed().map(|trial| Some(figure(trial.cpu.as_ref()?, trial))).collect();
        median(&values?)
    };
    Some(Cost {
        series: report.series_of(cell),
        cell,
        cpu_ns: summary.cpu_ns_per_msg?,
        kernel: over(&|cpu, _| cpu.sys_ns as f64 / ((cpu.user_ns + cpu.sys_ns) as f64).max(1.0))?,
        voluntary: over(&|cpu, trial| cpu.vcsw as f64 / trial.messages as f64)?,
        involuntary: over(&|cpu, trial| cpu.ivcsw as f64 / trial.messages as f64)?,
        cores: over(&|cpu, trial| (cpu.user_ns + cpu.sys_ns) as f64 / trial.elapsed_ns as f64)?,
        burns_cpu: burns_cpu(report.figures(&cell.id)) && !throughput_is_primary(&cell.mode),
    })
}
