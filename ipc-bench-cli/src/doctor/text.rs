//! The diagnosis on a terminal.

use std::fmt::Write;

use ipc_results::doctor::{Diagnosis, Probe};
use ipc_results::run::Level;
use ipc_results::units;

use crate::args::Global;

use super::Group;

/// Every group, the probe, and what this machine is good for.
pub(super) fn text(groups: &[Group], diagnosis: &Diagnosis, preset: Option<&str>, global: &Global) -> String {
    let style = global.style();
    let mut text = String::new();
    for group in groups {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{}", group.title);
        let shown = group.checks.iter().filter(|check| {
            preset.is_none_or(|name| check.matters_to.is_empty() || check.matters_to.contains(&name))
        });
        for check in shown {
            let (word, color) = match check.level {
                Level::Ok => ("ok", "32"),
                Level::Note => ("note", "36"),
                Level::Warn => ("warn", "33"),
                Level::Fail => ("fail", "31"),
            };
            let word = format!("{word:<4}");
            let word = if style.color { format!("\x1b[{color}m{word}\x1b[0m") } else { word };
            let _ = writeln!(text, "  {word}  {:<3} {:<16} {}", check.id, check.name, check.message);
            if let Some(fix) = &check.fix {
                let _ = writeln!(text, "{:29}fix: {}", "", fix.shown);
            }
        }
    }
    text.push('\n');
    if let Some(probe) = &diagnosis.probe {
        text += &watched(probe);
    }
    let count =
        |level: Level| groups.iter().flat_map(|group| &group.checks).filter(|c| c.level == level).count();
    let many = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let _ = writeln!(
        text,
        "{}, {}, {}",
        many(count(Level::Fail), "failure"),
        many(count(Level::Warn), "warning"),
        many(count(Level::Note), "note")
    );
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let _ = writeln!(text, "Suitable for: {}", list(&diagnosis.suitable));
    if !diagnosis.unsuitable.is_empty() {
        let _ = writeln!(text, "Disturbed:    {}", list(&diagnosis.unsuitable));
    }
    let _ = writeln!(
        text,
        "Write fixes:  ipc-bench doctor --fix-script > fix.sh   (with its undo; needs root; doctor itself changes nothing)"
    );
    style.charset.apply(&text)
}

fn watched(probe: &Probe) -> String {
    let verdict = match probe.usable_percentile {
        Some(percent) => format!("usable up to p{percent}"),
        None => "usable for no percentile".to_owned(),
    };
    let line = match probe.cache_line {
        Some(line) => {
            format!("cache-line jitter {:.0} % of {}", line.jitter_share * 100.0, units::time(line.rtt_ns))
        }
        // Nothing else keeps it away: each slice takes the time it needs.
        None => "cache-line jitter – (needs two cpus)".to_owned(),
    };
    format!(
        "Probe ({:.1} s on cpus {})  gaps > 10 µs: {:.0}/s, worst {} · {:.3} % of the time lost · {line} · {verdict}\n",
        probe.elapsed_ns as f64 / 1e9,
        probe.cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        probe.gaps_per_s,
        units::time(probe.worst_gap_ns as f64),
        probe.lost_share * 100.0,
    )
}
