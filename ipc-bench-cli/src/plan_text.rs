//! A plan as a person and as a program read it.

use std::collections::BTreeMap;
use std::time::Duration;

use ipc_results::statistics::Session;
use ipc_results::verdict::ALPHA;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::presets;
use crate::settings::Origin;
use crate::workload::Length;

/// More metrics than this are not worth counting.
const MANY: usize = 2_000;

/// `1 trial`, `5 trials`.
fn many(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

impl Plan {
    /// The matrix, the time, where each setting came from, and what is skipped.
    pub(crate) fn to_text(&self) -> String {
        let possible = self.cells.iter().filter(|cell| cell.impossible.is_none()).count();
        let mut text = match self.length {
            Length::Time(time) => {
                let estimate = self.estimate().map(rough).unwrap_or_default();
                let most = if self.enough.is_some() { "at most " } else { "" };
                format!(
                    "{}, {most}{} each, {most}{} of {time:?}, {most}≈ {estimate} with warm-up, {}\n",
                    many(possible, "cell"),
                    many(self.trials as usize, "trial"),
                    many(self.trial_count(), "trial"),
                    self.peak_memory_text()
                )
            }
            Length::Messages(messages) => format!(
                "{}, {} each, {} of {messages} messages, {}\n",
                many(possible, "cell"),
                many(self.trials as usize, "trial"),
                many(self.trial_count(), "trial"),
                self.peak_memory_text()
            ),
        };
        if let Some(cut) = &self.cut {
            text += &format!("cut {cut}\n");
        }
        let rows: Vec<_> = self.settings.all().collect();
        let width = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0).min(40);
        for (name, value, origin) in rows {
            let note = self.note(name, value, origin);
            text += &format!("  {name:<13} {value:<width$}  ← {origin}{note}\n");
        }
        text += &format!("  {:<13} {:<width$}  ← {}\n", "cpus", self.cpus(), "resolved from pin");
        if !self.awake.is_empty() {
            let awake = format!("cpu {}", crate::pin::list(&self.awake));
            text += &format!("  {:<13} {awake:<width$}  ← resolved from keep-awake\n", "kept awake");
        }
        for (reason, ids) in self.skipped() {
            text += &format!("skipped  {}    {reason}\n", ids.join(", "));
        }
        if self.settings.text("preset").is_some_and(|(name, _)| name == "container") {
            text += "in two containers (only the directory with the sockets is shared; what lies behind them is handed over there)\n";
            text.extend(presets::CONTAINERS.lines().map(|line| format!("  {line}\n")));
        }
        text
    }

    /// What else is worth knowing of a setting: what a gate can do with so many trials, and what the preset had.
    fn note(&self, name: &str, value: &str, origin: &Origin) -> String {
        let preset = self.settings.text("preset").and_then(|(name, _)| presets::find(name));
        let theirs = preset.and_then(|preset| preset.values.iter().find(|(key, _)| *key == name));
        let had = theirs.filter(|(_, had)| !matches!(origin, Origin::Preset(_)) && *had != value);
        let mut notes: Vec<String> = had.map(|(_, had)| format!("preset had {had}")).into_iter().collect();
        if name == "trials" {
            let pairs = self.cells.iter().any(|cell| cell.arm.is_some());
            let session = if pairs { Session::Alternating } else { Session::Apart };
            let figures = session.gateable_metrics(self.trials as usize, ALPHA);
            notes.push(match figures {
                0 => "too few for a gate".to_owned(),
                figures if figures > MANY => format!("enough for thousands of gated metrics at α {ALPHA}"),
                figures => format!("enough for {figures} gated metrics at α {ALPHA}"),
            });
        }
        if notes.is_empty() { String::new() } else { format!("  ({})", notes.join("; ")) }
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let cells = self.cells.iter().map(|cell| {
            let reason =
                cell.impossible.as_ref().map(|impossible| format!("{}: {}", impossible.what, impossible.why));
            json!({ "id": cell.point.to_string(), "skipped": reason })
        });
        let setting = |(name, value, origin): (&'static str, &str, &Origin)| {
            (name.to_owned(), json!({ "value": value, "origin": origin.to_string() }))
        };
        json!({
            "cells": cells.collect::<Vec<_>>(),
            "trials_per_cell": self.trials,
            "trials": self.trial_count(),
            "estimate_ns": self.estimate().map(|time| time.as_nanos() as u64),
            "peak_memory_bytes": self.peak_memory(),
            "settings": self.settings.all().map(setting).collect::<serde_json::Map<_, _>>(),
            "kept_awake": self.awake,
            "pin": { "client": self.pins.client, "server": self.pins.server },
        })
    }

    fn cpus(&self) -> String {
        let text = |cpu: Option<u32>| cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
        format!("client {}, server {}", text(self.pins.client), text(self.pins.server))
    }

    /// Ids of the cells that cannot be measured, by reason.
    fn skipped(&self) -> BTreeMap<String, Vec<String>> {
        let mut skipped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for cell in &self.cells {
            if let Some(impossible) = &cell.impossible {
                skipped
                    .entry(format!("{} (fix: {})", impossible.why, impossible.fix))
                    .or_default()
                    .push(cell.point.to_string());
            }
        }
        skipped
    }
}

/// `3 min 05 s`, `42 s`.
fn rough(time: Duration) -> String {
    match time.as_secs().max(1) {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
