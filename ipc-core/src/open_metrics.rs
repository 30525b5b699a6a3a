use std::fmt::{self, Write};

use crate::Stats;

/// One counter of [`Stats`] as a metric.
type Metric = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTERS: [Metric; 6] = [
    ("ipc_messages", "Messages sent or received.", |stats| stats.messages),
    ("ipc_payload_bytes", "Payload bytes of those messages.", |stats| stats.bytes),
    ("ipc_would_block", "Calls answered Full or Empty.", |stats| stats.would_block),
    ("ipc_full_waits", "Sends that had to wait for space.", |stats| stats.full_waits),
    ("ipc_parks", "Times this half slept in the kernel on a futex or ppoll.", |stats| stats.parks),
    ("ipc_wakes", "Times this half woke a sleeping peer by a system call.", |stats| stats.wakes),
];

const GAUGE: Metric = ("ipc_max_occupancy_bytes", "Most bytes this half has seen in flight.", |stats| {
    stats.max_occupancy_bytes
});

/// The statistics of any number of halves as OpenMetrics text (version 1.0.0, the format Prometheus scrapes), each half
/// with labels that tell it from the others. Labels are escaped; label names must be `[a-zA-Z_][a-zA-Z0-9_]*`.
///
/// ```
/// use ipc_core::{Stats, open_metrics};
/// let text = open_metrics(&[(&[("connection", "camera"), ("half", "sender")], Stats::default())]);
/// assert!(text.contains("ipc_messages_total{connection=\"camera\",half=\"sender\"} 0\n"));
/// assert!(text.ends_with("# EOF\n"));
/// ```
///
/// ```
/// use ipc_core::Stats;
/// let text = ipc_core::open_metrics(&[(&[("link", "orders"), ("half", "tx")], Stats::default())]);
/// assert!(text.contains("link=\"orders\"") && text.ends_with("# EOF\n"));
/// ```
pub fn open_metrics(halves: &[(&[(&str, &str)], Stats)]) -> String {
    let mut text = String::new();
    for (metric, kind, suffix) in
        COUNTERS.iter().map(|metric| (metric, "counter", "_total")).chain([(&GAUGE, "gauge", "")])
    {
        let (name, help, value) = metric;
        let written = write!(text, "# TYPE {name} {kind}\n# HELP {name} {help}\n").and_then(|()| {
            halves.iter().try_for_each(|(labels, stats)| line(&mut text, name, suffix, labels, value(stats)))
        });
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    text.push_str("# EOF\n");
    text
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &[(&str, &str)], value: u64) -> fmt::Result {
    write!(text, "{name}{suffix}")?;
    for (at, (label, value)) in labels.iter().enumerate() {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(text, "{}{label}=\"{escaped}\"", if at == 0 { '{' } else { ',' })?;
    }
    let close = if labels.is_empty() { "" } else { "}" };
    writeln!(text, "{close} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_has_a_line_in_every_metric() {
        let stats = Stats { messages: 3, bytes: 70, max_occupancy_bytes: 9, ..Stats::default() };
        let text = open_metrics(&[(&[("half", "a\"b\\c\nd")], stats), (&[], Stats::default())]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# TYPE ipc_messages counter");
        assert_eq!(lines[1], "# HELP ipc_messages Messages sent or received.");
        assert_eq!(lines[2], r#"ipc_messages_total{half="a\"b\\c\nd"} 3"#);
        assert_eq!(lines[3], "ipc_messages_total 0");
        assert_eq!(lines.len(), 7 * 4 + 1);
        assert!(text.contains("# TYPE ipc_max_occupancy_bytes gauge\n"));
        assert!(text.contains(r#"ipc_max_occupancy_bytes{half="a\"b\\c\nd"} 9"#));
    }
}
