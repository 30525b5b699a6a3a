//! Numbers as people read them: a unit for a whole column and one count of decimals in it.

use crate::estimate::Estimate;

/// Whether output may use characters outside ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// `µs`, `×`, `±`, `–`, block characters.
    Unicode,
    /// Stand-ins: `us`, `x`, `+-`, `-`, `#`.
    Ascii,
}

impl Charset {
    /// The text with every character outside ASCII that this crate writes replaced by its stand-in.
    pub fn apply(self, text: &str) -> String {
        if self == Self::Unicode {
            return text.to_owned();
        }
        let mut ascii = String::with_capacity(text.len());
        for character in text.chars() {
            match character {
                'µ' => ascii.push('u'),
                '×' => ascii.push('x'),
                '±' => ascii.push_str("+-"),
                '–' | '−' | '—' => ascii.push('-'),
                '→' => ascii.push_str("->"),
                '≥' => ascii.push_str(">="),
                '≤' => ascii.push_str("<="),
                '≈' => ascii.push('~'),
                '·' => ascii.push('|'),
                '◦' => ascii.push('o'),
                '…' => ascii.push_str("..."),
                '█'..='▏' => ascii.push('#'),
                other if other.is_ascii() => ascii.push(other),
                _ => ascii.push('?'),
            }
        }
        ascii
    }
}

/// Bytes in powers of 1024: `64 B`, `4 KiB`, `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((scale, unit)) = units.into_iter().find(|(scale, _)| bytes >= *scale) else {
        return format!("{bytes} B");
    };
    if bytes.is_multiple_of(scale) {
        format!("{} {unit}", bytes / scale)
    } else {
        format!("{:.1} {unit}", bytes as f64 / scale as f64)
    }
}

/// A count with separators: `10,000`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How the numbers of one column are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// Unit of the column.
    pub unit: &'static str,
    /// What a value is divided by.
    pub divisor: f64,
    /// Decimals of every value.
    pub decimals: usize,
}

impl Scale {
    /// For times in nanoseconds: ns, µs, ms or s.
    pub fn time(values: impl IntoIterator<Item = f64>) -> Self {
        Self::new(values, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")], 0)
    }

    /// For messages per second: M, k or plain.
    pub fn messages(values: impl IntoIterator<Item = f64>) -> Self {
        Self::new(values, &[(1e6, "M msg/s"), (1e3, "k msg/s"), (1.0, "msg/s")], 0)
    }

    /// For bytes per second in powers of 1000.
    pub fn bytes(values: impl IntoIterator<Item = f64>) -> Self {
        Self::new(values, &[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s")], 0)
    }

    /// For plain numbers: ratios, counts per message.
    pub fn plain(values: impl IntoIterator<Item = f64>) -> Self {
        Self::new(values, &[(1.0, "")], 1)
    }

    /// The same unit for the values of one column: decimals by the smallest of them.
    pub fn for_column(self, values: impl IntoIterator<Item = f64>) -> Self {
        let smallest = values.into_iter().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let whole = self.divisor == 1.0 && !self.unit.is_empty();
        Self { decimals: if whole { 0 } else { decimals(smallest / self.divisor) }, ..self }
    }

    /// The unit in which the median of the values has one to three digits before the point, so that a few extreme values
    /// do not choose for all. Values in the smallest unit, of which nothing is divisible, have `least` decimals.
    fn new(values: impl IntoIterator<Item = f64>, units: &[(f64, &'static str)], least: usize) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.get(values.len() / 2).copied().unwrap_or(1.0);
        let last = units[units.len() - 1];
        let (divisor, unit) = units.iter().copied().find(|(divisor, _)| middle >= *divisor).unwrap_or(last);
        let scale = Self { unit, divisor, decimals: least };
        scale.for_column(values)
    }

    /// The value in this unit, without the unit.
    pub fn format(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, value / self.divisor)
    }

    /// The value with the unit.
    pub fn with_unit(&self, value: f64) -> String {
        format!("{} {}", self.format(value), self.unit).trim_end().to_owned()
    }
}

/// Decimals that leave the smallest value two significant digits, at most three.
fn decimals(smallest: f64) -> usize {
    match smallest {
        value if !value.is_finite() => 1,
        value if value < 0.1 => 3,
        value if value < 1.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    }
}

/// One time in nanoseconds with its unit, three significant digits: `380 ns`, `8.40 µs`.
pub fn time(ns: f64) -> String {
    let scale = Scale::time([ns]);
    // No clock has hundredths of a nanosecond.
    let decimals =
        if scale.divisor == 1.0 { usize::from(ns < 10.0) } else { three_digits(ns / scale.divisor) };
    Scale { decimals, ..scale }.with_unit(ns)
}

/// One number of messages per second without the unit, three significant digits: `1.21 M`, `870 k`.
pub fn rate(per_s: f64) -> String {
    let scale = Scale::messages([per_s]);
    let decimals = three_digits(per_s / scale.divisor);
    Scale { decimals, unit: scale.unit.trim_end_matches("msg/s").trim_end(), ..scale }.with_unit(per_s)
}

/// One number of bytes per second with its unit, three significant digits: `18.9 GB/s`.
pub fn bytes_rate(per_s: f64) -> String {
    let scale = Scale::bytes([per_s]);
    Scale { decimals: three_digits(per_s / scale.divisor), ..scale }.with_unit(per_s)
}

/// Decimals that give a value of at least 1 three significant digits.
fn three_digits(value: f64) -> usize {
    if value < 10.0 { 2 } else { usize::from(value < 100.0) }
}

/// One ratio: `1.28`, `12.5`, `140`.
pub fn ratio(ratio: f64) -> String {
    match ratio {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A yardstick in words and its value with its unit, which its name ends in: `pipe round trip 4 KiB`, `9.10 µs`.
pub fn yardstick(name: &str, value: f64) -> (String, String) {
    let (words, number) = if let Some(words) = name.strip_suffix("_bytes_per_s") {
        (words, Scale::bytes([value]).with_unit(value))
    } else if let Some(words) = name.strip_suffix("_msgs_per_s") {
        (words, format!("{} msg/s", rate(value)))
    } else {
        (name.strip_suffix("_ns").unwrap_or(name), time(value))
    };
    let word = |word: &str| match word {
        "cacheline" => "cache line".to_owned(),
        "rtt" => "round trip".to_owned(),
        word => word.parse().map_or_else(|_| word.to_owned(), size),
    };
    (words.split('_').map(word).collect::<Vec<_>>().join(" "), number)
}

/// A figure with the unit that its name ends in: `p50_ns`, `msgs_per_s`, `rss_bytes`, `cpu_percent`, `limit.ratio`.
pub fn figure(name: &str, value: f64) -> String {
    let ends = |unit: &str| {
        name == unit || name.ends_with(&format!("_{unit}")) || name.ends_with(&format!(".{unit}"))
    };
    if ends("bytes_per_s") {
        bytes_rate(value)
    } else if ends("per_s") {
        format!("{}/s", rate(value))
    } else if name.ends_with("_ns") || ends("ns_per_msg") {
        time(value)
    } else if ends("bytes") {
        // Half a byte and a growth below zero are figures too.
        if value >= 1.0 { size(value.round() as u64) } else { format!("{value:.0} B") }
    } else if ends("percent") {
        format!("{} %", ratio(value))
    } else if ends("ratio") {
        format!("{}×", ratio(value))
    } else {
        ratio(value)
    }
}

/// A fraction as a percentage with at most one decimal: `4 %`, `0.6 %`.
pub fn percent(fraction: f64) -> String {
    let percent = fraction * 100.0;
    if percent < 0.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// How far an interval reaches on its longer side: `±4 %`, and from ten times the value on as a factor, `±126×`.
pub fn error(fraction: f64) -> String {
    if fraction < 9.995 { format!("±{}", percent(fraction)) } else { format!("±{fraction:.0}×") }
}

/// A change as a signed percentage: `+1.8 %`, `−10.5 %`.
pub fn change(ratio: f64) -> String {
    signed(ratio, 1) + " %"
}

/// A change that is off the scale: `+74.0 %`, and from ten times the value on as a factor, `126×`.
pub fn distance(ratio: f64) -> String {
    if ratio < 9.95 { change(ratio) } else { format!("{ratio:.0}×") }
}

/// A change with its interval: `−10.5 % (−13 … −8)`.
pub fn change_interval(ratio: &Estimate) -> String {
    format!("{} ({} … {})", change(ratio.value), signed(ratio.lo, 0), signed(ratio.hi, 0))
}

fn signed(ratio: f64, decimals: usize) -> String {
    let text = format!("{:+.*}", decimals, (ratio - 1.0) * 100.0);
    // A rounded nothing has no sign, and a minus is as wide as a plus.
    let nothing = text.trim_start_matches(['+', '-', '0', '.']).is_empty();
    if nothing { text[1..].to_owned() } else { text.replace('-', "−") }
}

/// A probability: `0.002`, `<0.001`, `1.0`.
pub fn probability(p: f64) -> String {
    match p {
        p if p < 0.001 => "<0.001".to_owned(),
        p if p < 0.1 => format!("{p:.3}"),
        p => format!("{p:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(
            [64, 4096, 1 << 20, 1536, 48 << 10].map(size),
            ["64 B", "4 KiB", "1 MiB", "1.5 KiB", "48 KiB"]
        );
    }

    #[test]
    fn a_column_has_one_unit_and_one_count_of_decimals() {
        let column = [380.0, 8_400.0, 14_600.0];
        let scale = Scale::time(column);
        assert_eq!((scale.unit, scale.decimals), ("µs", 2));
        assert_eq!(column.map(|ns| scale.format(ns)), ["0.38", "8.40", "14.60"]);
        assert_eq!(scale.for_column([1_900.0, 17_500.0]).format(17_500.0), "17.5");
        assert_eq!(Scale::time([380.0, 710.0]).format(380.4), "380");
    }

    #[test]
    fn rates_take_the_unit_of_most_of_them() {
        assert_eq!(Scale::messages([31.2e6, 3.1e6]).with_unit(3.1e6), "3.1 M msg/s");
        assert_eq!(Scale::bytes([18.9e9, 7.9e9]).with_unit(18.9e9), "18.9 GB/s");
    }

    #[test]
    fn single_numbers_have_three_digits() {
        assert_eq!([24.0, 298.0, 9_100.0, 1_900_000.0].map(time), ["24 ns", "298 ns", "9.10 µs", "1.90 ms"]);
        assert_eq!([1_210_000.0, 870_000.0].map(rate), ["1.21 M", "870 k"]);
        assert_eq!([1.28, 22.04, 140.4].map(ratio), ["1.28", "22.0", "140"]);
        assert_eq!([0.04, 0.006, 0.0].map(percent), ["4 %", "0.6 %", "0.0 %"]);
        assert_eq!([0.04, 0.0004, 2.24, 125.55].map(error), ["±4 %", "±0.0 %", "±224 %", "±126×"]);
        assert_eq!([7, 1_000, 1_234_567].map(count), ["7", "1,000", "1,234,567"]);
    }

    #[test]
    fn changes_are_signed_and_nothing_has_no_sign() {
        assert_eq!([0.895, 1.018, 0.9999, 1.0].map(change), ["−10.5 %", "+1.8 %", "0.0 %", "0.0 %"]);
        let ratio = Estimate { value: 0.895, lo: 0.87, hi: 0.92, trials: 9, coverage: 0.96 };
        assert_eq!([0.05, 5.74, 125.55].map(distance), ["−95.0 %", "+474.0 %", "126×"]);
        assert_eq!(change_interval(&ratio), "−10.5 % (−13 … −8)");
        assert_eq!([0.0002, 0.0021, 1.0].map(probability), ["<0.001", "0.002", "1.0"]);
    }

    #[test]
    fn ascii_output_has_no_other_character() {
        let text = "0.38 µs ±4 % · 1.28× ≥ ▇▇▍ – … ◦ 日";
        assert!(Charset::Ascii.apply(text).is_ascii());
        assert_eq!(Charset::Ascii.apply("1.28× ±4 µs"), "1.28x +-4 us");
        assert_eq!(Charset::Unicode.apply(text), text);
    }
}
