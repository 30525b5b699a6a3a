//! `[gate]`: what counts as a regression in this project, beside its sources.

use ipc_results::policy::{Policy, Rule};
use toml::Spanned;
use toml::de::DeValue;

use super::File;
use crate::error::Failure;

/// What the table says.
#[derive(Clone, Debug, Default)]
pub(crate) struct GateTable {
    /// What a run is compared with unless `--baseline` says.
    pub(crate) baseline: Option<String>,
    pub(crate) policy: Policy,
}

const KEYS: [&str; 5] = ["baseline", "alpha", "limits", "ignore", "fail_on"];

impl File<'_> {
    pub(super) fn gate(&self, section: &Spanned<DeValue<'_>>) -> Result<GateTable, Failure> {
        let mut gate = GateTable::default();
        for (key, value) in self.table(section)? {
            match key.get_ref().as_ref() {
                "baseline" => gate.baseline = self.text_of(value)?,
                "alpha" => {
                    let alpha = self.text_of(value)?.and_then(|text| text.parse::<f64>().ok());
                    let alpha = alpha.filter(|alpha| *alpha > 0.0 && *alpha < 1.0);
                    gate.policy.alpha =
                        alpha.ok_or_else(|| self.wrong(value, "a chance above 0 and below 1, as in 0.05"))?;
                }
                "limits" => {
                    for (pattern, limit) in self.table(value)? {
                        let text = self.text_of(limit)?.unwrap_or_default();
                        let rule = text.parse().and_then(|limit| Rule::new(pattern.get_ref(), limit));
                        gate.policy.rules.push(rule.map_err(|why| self.wrong(limit, &why))?);
                    }
                }
                "ignore" => gate.policy.ignore = self.list(value)?,
                "fail_on" => {
                    let kinds = self.list(value)?.iter().map(|kind| kind.parse()).collect::<Result<_, _>>();
                    gate.policy.fail_on = kinds.map_err(|why: String| self.wrong(value, &why))?;
                }
                other => return Err(self.unknown(key.span(), other, KEYS.into_iter())),
            }
        }
        Ok(gate)
    }

    fn list(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Failure> {
        let text = self.text_of(value)?.unwrap_or_default();
        Ok(text.split(',').filter(|part| !part.is_empty()).map(|part| part.trim().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ipc_results::metric::Metric;
    use ipc_results::policy::FailOn;

    use crate::config::Config;

    #[test]
    fn a_gate_is_read_and_what_is_wrong_in_it_is_told_with_its_line() {
        let text = r#"schema = 1
[gate]
baseline = "main"
alpha = 0.01
limits = { "@latency" = "5%|50ns", "*/rtt/*:p99" = "10%" }
ignore = ["tcp/*"]
fail_on = ["regressed", "missing"]
"#;
        let gate = Config::parse(Path::new("x.toml"), text).unwrap().gate.unwrap();
        assert_eq!((gate.baseline.as_deref(), gate.policy.alpha), (Some("main"), 0.01));
        assert_eq!(gate.policy.threshold("shm/rtt/64", Metric::P99).relative, 0.10);
        assert_eq!(gate.policy.threshold("shm/load/64", Metric::P99).absolute, 50.0);
        assert!(gate.policy.ignores("tcp/rtt/64") && !gate.policy.ignores("uds/rtt/64"));
        assert_eq!(gate.policy.fail_on, [FailOn::Regressed, FailOn::Missing].into());
        for (line, words) in [
            ("alpha = 2", "a chance above 0"),
            ("limits = { p42 = \"5%\" }", "unknown metric"),
            ("limits = { p50 = \"5\" }", "is no limit"),
            ("fail_on = [\"never\"]", "fails no gate"),
            ("basline = \"x\"", "unknown key"),
        ] {
            let text = format!("schema = 1\n[gate]\n{line}\n");
            let error = Config::parse(Path::new("x.toml"), &text).unwrap_err().to_string();
            assert!(error.contains("x.toml:3") && error.contains(words), "{error}");
        }
    }
}
