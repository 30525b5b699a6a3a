//! The reports in a real browser with scripts off: every table visible, nothing wider than the window, nothing from
//! elsewhere, small. Pictures are kept beside the logs for whoever wants to look.

use super::browser::{Browser, View, browser};
use super::process::Ended;
use super::{Run, Verdict};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const FIXTURE: &str = "ipc-results/tests/fixtures/invented-run.v1.json";
const VIEWS: [View; 4] = [
    View { width: 1280, dark: false },
    View { width: 1280, dark: true },
    View { width: 400, dark: false },
    View { width: 400, dark: true },
];
/// Of a report of up to 60 cells.
const MOST_BYTES: u64 = 1_000_000;

pub(super) fn run(run: &Run, log: &Path) -> Result<Verdict> {
    let Some(program) = browser() else {
        return Ok(Verdict::Skipped("no chromium (apt-get install chromium)".into()));
    };
    let bench = run.target().join("release/ipc-bench");
    if !bench.is_file() {
        return Ok(Verdict::Skipped(
            "the bench-build step has not run (cargo xtask bench -- --version)".into(),
        ));
    }
    let place = run.logs.join("html");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place)?;
    for (name, words) in PAGES {
        let mut command = Command::new(&bench);
        command.args(words.split(' ').map(|word| match word {
            "FIXTURE" => run.root.join(FIXTURE).into_os_string(),
            "PAGE" => place.join(format!("{name}.html")).into_os_string(),
            "OUT" => place.join("run").into_os_string(),
            "HERE" => place.clone().into_os_string(),
            word => word.into(),
        }));
        match run.supervisor.run(command.current_dir(&run.root), log)? {
            Ended::Exited(status) if status.success() => {}
            Ended::Exited(status) => {
                return Ok(Verdict::Failed(format!("{name}: ipc-bench ended with {status}")));
            }
            Ended::Killed(why) => return Ok(Verdict::Failed(why)),
        }
    }
    // The real run's page is where every run's page is.
    std::fs::copy(place.join("run/report.html"), place.join("measured.html")).context("no report.html")?;
    let mut tables = 0;
    let pages = ["invented", "compared", "measured"];
    for name in pages {
        match look(&program, &place, name) {
            Ok(Ok(count)) => tables += count,
            Ok(Err(why)) => return Ok(Verdict::Failed(format!("{name}.html: {why}"))),
            Err(error) => return Ok(Verdict::Failed(format!("{name}.html: {error:#}"))),
        }
    }
    Ok(Verdict::Passed(format!(
        ", {tables} tables of {} pages seen at 1280 and 400 pixels, light and dark",
        pages.len()
    )))
}

/// How each page is made.
const PAGES: &[(&str, &str)] = &[
    ("invented", "report FIXTURE --format html --output PAGE"),
    ("compared", "compare FIXTURE FIXTURE --all --html PAGE"),
    ("measured", "run -d 10ms --warmup 1ms --trials 2 --out OUT --quiet --dir HERE -s 64,4K"),
];

/// The number of tables seen, or what is wrong.
fn look(program: &Path, place: &Path, name: &str) -> Result<Result<usize, String>> {
    let page = place.join(format!("{name}.html"));
    let text = std::fs::read_to_string(&page)?;
    let foreign = text.replace("http://www.w3.org/2000/svg", "");
    if foreign.contains("http://") || foreign.contains("https://") {
        return Ok(Err("it refers to the network".into()));
    }
    if text.len() as u64 > MOST_BYTES {
        return Ok(Err(format!("{} bytes are more than {MOST_BYTES}", text.len())));
    }
    let mut browser = Browser::start(program, &place.join("profile"))?;
    let mut tables = 0;
    for view in VIEWS {
        browser.load(&page, view)?;
        let found = browser.select("table")?;
        if found.is_empty() {
            return Ok(Err("it has no table".into()));
        }
        for (number, node) in found.iter().enumerate() {
            if browser.size(node).is_none_or(|(width, height)| width == 0 || height == 0) {
                return Ok(Err(format!("table {number} is not visible at {} pixels", view.width)));
            }
        }
        tables = found.len();
        let width = browser.content_width()?;
        if width > f64::from(view.width) {
            return Ok(Err(format!("it is {width} pixels wide in a window of {}", view.width)));
        }
        save(&browser.picture()?, &picture(place, name, view))?;
    }
    Ok(Ok(tables))
}

fn picture(place: &Path, name: &str, view: View) -> PathBuf {
    let scheme = if view.dark { "dark" } else { "light" };
    place.join(format!("{name}-{}-{scheme}.png", view.width))
}

/// Writes what is in base64 (RFC 4648); anything else in it is left out.
fn save(text: &str, path: &Path) -> Result<()> {
    let value = |byte: u8| -> Option<u32> {
        Some(
            match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            }
            .into(),
        )
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = bits << 6 | six;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
