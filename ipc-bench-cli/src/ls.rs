//! `ls`: live endpoints of this user.

use std::fmt::Write;
use std::time::Duration;

use crate::args::Global;
use crate::command::{print, write};
use crate::error::Failure;
use crate::names::{self, Name};

/// Lists them as text or as JSON; names that nobody holds are `doctor`'s.
pub(crate) fn ls(global: &Global) -> Result<(), Failure> {
    let directory = names::directory();
    let names = names::all(&directory)
        .map_err(|error| Failure::failed(format!("{} cannot be read", directory.display())).why(error))?;
    let (live, dead): (Vec<Name>, Vec<Name>) = names.into_iter().partition(|name| name.live);
    if let Some(path) = &global.json {
        let rows = live.iter().map(|name| {
            serde_json::json!({
                "address": name.address,
                "path": name.path,
                "pids": name.pids,
                "connections": name.connections,
                "age_s": name.age.map(|age| age.as_secs()),
            })
        });
        let document = format!("{:#}\n", serde_json::Value::Array(rows.collect()));
        return if global.json_to_stdout() { print(&document) } else { write(path, &document) };
    }
    let mut text = String::new();
    if !live.is_empty() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{:<32} {:>11} {:>10}  pids", "address", "connections", "age");
    }
    for name in &live {
        let pids: Vec<String> = name.pids.iter().map(u32::to_string).collect();
        let age = name.age.map_or_else(
            || "-".into(),
            |age| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string(),
        );
        let _ = writeln!(text, "{:<32} {:>11} {age:>10}  {}", name.address, name.connections, pids.join(" "));
    }
    print(&text)?;
    if !global.quiet {
        match (live.len(), dead.len()) {
            (0, 0) => eprintln!("no endpoints in {}", directory.display()),
            (_, 0) => {}
            (_, dead) => {
                eprintln!("{dead} names that nobody listens at: ipc-bench doctor --clean removes them")
            }
        }
    }
    Ok(())
}
