//! One line per cell: what was done, how often, and what came of it. Lines add up.

use std::fmt::Write as _;

use super::cell::Cell;

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
