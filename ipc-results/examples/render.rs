//! Prints the HTML report of a run file, or of the comparison of two:
//! `cargo run -p ipc-results --example render -- run.json > report.html`
#![allow(clippy::unwrap_used, reason = "an example that fails should stop")]

use std::path::Path;

use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::Policy;
use ipc_results::report::Report;
use ipc_results::{file, html};

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let runs: Vec<_> = paths.iter().map(|path| file::read_run(Path::new(path)).unwrap()).collect();
    let reports: Vec<Report<'_>> = runs.iter().map(|run| Report::new(run).unwrap()).collect();
    let page = match reports.as_slice() {
        [one] => html::run(
            one,
            &html::Options { repro: &|cell| format!("the command for {}", cell.id), recipe: &|_| None },
        ),
        [a, b] => {
            let named = ((paths[0].as_str(), a.run), (paths[1].as_str(), b.run));
            let compared =
                Comparison::new(named.0, named.1, &Policy::default(), Session::Apart, true).unwrap();
            html::comparison(&compared, a, b)
        }
        _ => panic!("one run file, or two to compare"),
    };
    print!("{page}");
}
