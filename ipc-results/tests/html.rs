//! The pages of an invented run and of a comparison.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod common;

use common::{invented, shorten, slow_down};
use ipc_results::compare::{Comparison, Session};
use ipc_results::policy::Policy;
use ipc_results::report::Report;
use ipc_results::run::{RunStatus, Side, Warning};
use ipc_results::{Run, html, summarise};

fn page(run: &Run) -> String {
    let repro = |cell: &ipc_results::Cell| format!("measure <{}>", cell.id);
    let recipe = |cell: &ipc_results::Cell| {
        Some(html::Recipe { address: format!("{}:NAME", cell.transport), code: "open(<it>)".into() })
    };
    html::run(&Report::new(run).unwrap(), &html::Options { repro: &repro, recipe: &recipe })
}

fn compared() -> String {
    let (a, mut b) = (invented(), invented());
    slow_down(&mut b, "shm/rtt/64", 1.3);
    let named = (("main", &a), ("last", &b));
    let comparison = Comparison::new(named.0, named.1, &Policy::default(), Session::Apart, false).unwrap();
    html::comparison(&comparison, &Report::new(&a).unwrap(), &Report::new(&b).unwrap())
}

/// The invented run with every cell repeated under other sizes until there are `cells`.
fn large(cells: usize) -> Run {
    let mut run = invented();
    let originals: Vec<_> = run.cells.iter().filter(|cell| cell.rate.is_none()).cloned().collect();
    for round in 1.. {
        for cell in &originals {
            if run.cells.len() >= cells {
                return run;
            }
            let mut more = cell.clone();
            more.size_bytes += round;
            more.id = format!("{}/{}/{}", more.transport, more.mode, more.size_bytes);
            run.cells.push(more);
        }
    }
    run
}

/// What the browser shows: the page without its script, its data and the frame around them.
fn body(page: &str) -> &str {
    let (_, body) = page.split_once("<body>").unwrap();
    body.split_once("<script").unwrap().0
}

#[test]
fn the_forest_of_a_comparison_names_the_whole_figure() {
    let page = compared();
    let forest = page.split_once("id=\"changes\"").unwrap().1.split_once("</section>").unwrap().0;
    // The end of a name tells two figures of a cell apart.
    for name in ["shm-direct/stream/65536 msg/s", "shm/rtt/64 p50", "shm/rtt/64 p99"] {
        assert!(forest.contains(&format!(">{name}</text>")), "{name}");
    }
}

#[test]
fn a_change_off_the_scale_of_the_forest_stands_at_its_edge_with_its_value() {
    let (a, mut b) = (invented(), invented());
    let page = |b: &Run| {
        let comparison =
            Comparison::new(("main", &a), ("last", b), &Policy::default(), Session::Apart, false).unwrap();
        html::comparison(&comparison, &Report::new(&a).unwrap(), &Report::new(b).unwrap())
    };
    assert!(!page(&b).contains("class=\"beyond\""));
    slow_down(&mut b, "shm/rtt/64", 20.0);
    let page = page(&b);
    let (_, told) = page.split_once("class=\"beyond\"").unwrap();
    let (_, told) = told.split_once('>').unwrap();
    assert!(told.starts_with("20×</text>"), "{}", &told[..20]);
}

#[test]
fn a_transport_that_nothing_is_held_against_is_not_called_the_fastest() {
    let mut run = invented();
    assert!(page(&run).contains("<h1>shm is fastest: "));
    run.cells.retain(|cell| cell.transport == "uds" && cell.mode == "rtt");
    let page = page(&run);
    assert!(page.contains("<h1>uds: ") && !page.contains("fastest: "), "{}", &body(&page)[..600]);
}

#[test]
fn nothing_in_a_page_leaves_it() {
    for page in [page(&invented()), compared()] {
        let foreign = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://"));
        assert!(!page.contains(" src="), "an image or a script from elsewhere");
        assert!(!page.contains("@import") && !page.contains("url("));
        assert!(page.contains(
            "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\""
        ));
    }
}

#[test]
fn every_table_is_in_the_markup_and_none_is_made_by_the_script() {
    for page in [page(&invented()), compared()] {
        let (body, script) = (body(&page), page.rsplit_once("<script>").unwrap().1);
        assert!(body.matches("<table").count() >= 2);
        assert_eq!(body.matches("<table").count(), body.matches("</table>").count());
        assert!(!script.contains("createElement(\"table\")") && !script.contains("innerHTML"));
        assert!(script.len() < 15 << 10, "{} bytes of script", script.len());
    }
    let run = invented();
    let page = page(&run);
    for cell in &run.cells {
        assert!(body(&page).contains(&format!("<code>{}</code>", cell.id)), "{} is in no table", cell.id);
    }
}

#[test]
fn a_page_of_sixty_cells_is_smaller_than_a_megabyte() {
    let run = large(60);
    assert_eq!(run.cells.len(), 60);
    let bytes = page(&run).len();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn a_page_carries_its_run_and_a_run_cannot_break_the_page() {
    let mut run = invented();
    run.label = "</script><b>\"'&".into();
    run.cells[0].reason = Some("<i>".into());
    let page = page(&run);
    assert_eq!(html::embedded_run(&page).unwrap().unwrap(), run);
    assert!(!body(&page).contains("</script><b>") && !body(&page).contains("measure <"));
    assert!(html::embedded_run("<html></html>").is_none());
}

#[test]
fn sections_without_data_are_absent() {
    let mut run = invented();
    let all = page(&run);
    run.cells.retain(|cell| cell.mode == "rtt");
    let few = page(&run);
    for id in ["load", "scaling"] {
        let section = format!("<section id=\"{id}\">");
        assert!(all.contains(&section), "{id} is missing");
    }
    assert!(!few.contains("<section id=\"load\">"));
    run.cells.clear();
    let none = page(&run);
    for id in ["answer", "heat", "percentiles", "trials", "scaling", "load", "timeline", "cost"] {
        assert!(!none.contains(&format!("<section id=\"{id}\">")), "{id} is blank");
    }
}

#[test]
fn a_server_that_was_met_stands_beside_the_machine() {
    let mut run = invented();
    let environment = |run: &Run| {
        let page = page(run);
        page.split_once("id=\"environment\"").unwrap().1.split_once("</section>").unwrap().0.to_owned()
    };
    assert!(!environment(&run).contains("Server"));
    let namespaces = [("net".to_owned(), "net:[4026532999]".to_owned())].into();
    run.servers =
        vec![Side { version: "9.9.9".into(), pid: 4711, cpus: vec![3], namespaces, ..Side::default() }];
    let section = environment(&run);
    for words in ["Server", "9.9.9", "4711", "namespaces.net", "net:[4026532999]", "boot_id"] {
        assert!(section.contains(words), "{words}: {section}");
    }
}

#[test]
fn awaited_calls_stand_beside_waiting_ones_with_ratio_and_processor_time() {
    let mut run = invented();
    assert!(!page(&run).contains("<section id=\"sync-async\">"));
    let mut twin = run.cells.iter().find(|cell| cell.id == "shm/rtt/64").unwrap().clone();
    (twin.id, twin.io) = ("shm/rtt/64/io=async".into(), "async".into());
    run.cells.push(twin);
    slow_down(&mut run, "shm/rtt/64/io=async", 1.5);
    let page = page(&run);
    let (_, section) = page.split_once("<section id=\"sync-async\">").unwrap();
    let section = section.split_once("</section>").unwrap().0;
    assert!(section.contains("<code>shm/rtt/64</code>") && section.contains("1.50× ("), "{section}");
    assert!(!section.contains("–</td>"), "processor time of both: {section}");
}

#[test]
fn what_takes_back_the_heading_stands_beside_it() {
    let mut run = invented();
    assert!(!page(&run).contains("class=\"caution\""));
    shorten(&mut run, 3);
    run.status = RunStatus::Partial;
    run.warnings.push(Warning { code: "W05".into(), message: "debug build".into(), cells: Vec::new() });
    let page = page(&run);
    let (header, _) = page.split_once("</header>").unwrap();
    for told in ["This was a debug build", "The run was interrupted", "four of each are the least"] {
        assert!(header.contains(told), "{told}: {header}");
    }
}

#[test]
fn a_trial_beyond_the_scale_tells_its_distance() {
    let (mut run, mut slow) = (invented(), invented());
    assert!(!page(&run).contains("class=\"beyond\""));
    slow_down(&mut slow, "shm/rtt/64", 4.0);
    let trial = slow.cell("shm/rtt/64").unwrap().trials[2].clone();
    let cell = run.cells.iter_mut().find(|cell| cell.id == "shm/rtt/64").unwrap();
    cell.trials[2] = trial;
    cell.summary = summarise(cell).unwrap();
    let page = page(&run);
    let (_, told) = page.split_once("class=\"beyond\"").unwrap();
    let (_, told) = told.split_once('>').unwrap();
    assert!(told.starts_with("+3") || told.starts_with("+29"), "{}", &told[..20]);
}
