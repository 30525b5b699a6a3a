//! What else the machine is made to do during a cell's trials: a dimension of the cell.

use std::fmt;
use std::str::FromStr;

use crate::hog::Hog;

/// Most processes of one background: more are a slip of the finger.
const MOST: u16 = 256;

/// Some processes of one sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Background {
    hog: Hog,
    count: u16,
    /// The one CPU they share; anywhere otherwise.
    pub(crate) cpu: Option<u32>,
}

impl Background {
    /// Each process with the CPU it is pinned to.
    pub(crate) fn hogs(self) -> impl Iterator<Item = (Hog, Option<u32>)> {
        (0..self.count).map(move |_| (self.hog, self.cpu))
    }
}

/// `cpu:2`, `mem:1@3`.
impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", if self.hog == Hog::Memory { "mem" } else { "cpu" }, self.count)?;
        self.cpu.map_or(Ok(()), |cpu| write!(f, "@{cpu}"))
    }
}

impl FromStr for Background {
    type Err = String;

    fn from_str(text: &str) -> Result<Background, String> {
        let parse = || {
            let (name, rest) = text.split_once(':')?;
            let (count, cpu) = match rest.split_once('@') {
                Some((count, cpu)) => (count, Some(cpu.parse().ok()?)),
                None => (rest, None),
            };
            let hog = match name {
                "cpu" => Hog::Cpu,
                "mem" => Hog::Memory,
                _ => return None,
            };
            let count = count.parse().ok().filter(|count| (1..=MOST).contains(count))?;
            Some(Background { hog, count, cpu })
        };
        parse().ok_or_else(|| {
            format!("{text:?} is no background; use none, cpu:N or mem:N with up to {MOST} processes, as in cpu:2 or cpu:1@0")
        })
    }
}

/// `none,cpu:2`: each is measured, `None` is the machine as it is.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn list(text: &str) -> Result<Vec<Option<Background>>, String> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let background = if part == "none" { None } else { Some(part.parse()?) };
        if !all.contains(&background) {
            all.push(background);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_reads_as_it_is_written() {
        for text in ["cpu:2", "mem:1", "cpu:1@3"] {
            assert_eq!(text.parse::<Background>().unwrap().to_string(), text);
        }
        assert_eq!(
            "cpu:3@1".parse::<Background>().unwrap().hogs().collect::<Vec<_>>(),
            [(Hog::Cpu, Some(1)); 3]
        );
        assert_eq!(list("none,mem:2,none").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_background_is_refused_with_what_would_be() {
        for bad in ["", "cpu", "cpu:0", "cpu:999", "disk:1", "cpu:1@", "cpu:1@x", "none,"] {
            assert!(list(bad).unwrap_err().contains("cpu:N"), "{bad:?}");
        }
    }
}
