//! Every option exists, is described, and changes something.

mod common;

use std::collections::BTreeSet;

use common::{Place, assert_refused, document, stderr, stdout};

#[test]
fn help_is_what_it_was() {
    let place = Place::new();
    insta::assert_snapshot!("help", stdout(&place.run("--help")));
    insta::assert_snapshot!("help_run", stdout(&place.run("run --help")));
    insta::assert_snapshot!("help_limits", stdout(&place.run("limits --help")));
    for command in [
        "server",
        "report",
        "compare",
        "merge",
        "gate",
        "verify",
        "doctor",
        "list",
        "explain",
        "ls",
        "schema",
        "completions",
        "man",
        "baseline",
        "baseline save",
        "baseline list",
        "baseline show",
        "baseline rm",
    ] {
        let name = format!("help_{}", command.replace(' ', "_"));
        insta::assert_snapshot!(name, stdout(&place.run(&format!("{command} --help"))));
    }
    // The rest of them are the flags of run.
    let run = stdout(&place.run("run --help")).to_owned();
    for command in ["ab", "client", "plan"] {
        let help = stdout(&place.run(&format!("{command} --help"))).to_owned();
        let own: Vec<&str> = help.lines().filter(|line| !run.lines().any(|known| known == *line)).collect();
        insta::assert_snapshot!(format!("help_{command}"), own.join("\n"));
    }
}

#[test]
fn a_plan_tells_where_every_setting_came_from() {
    let place = Place::new();
    std::fs::write(place.path().join("ipc-bench.toml"), "schema = 1\n[defaults]\ntrials = 9\n").unwrap();
    let mut command = place.command("plan -t uds,tcp -s 64,17M --pin none -L uds.sndbuf=64K,1M");
    let output = place.finish(command.env("IPC_BENCH_ORDER", "grouped").spawn().unwrap());
    insta::assert_snapshot!("plan", stdout(&output).replace(&place.path().display().to_string(), "HERE"));
}

#[test]
fn presets_are_what_they_were() {
    let place = Place::new();
    let presets = document(&place.run("list presets --json=-"));
    for preset in presets.as_array().unwrap() {
        let name = preset["name"].as_str().unwrap();
        let output = place.run(&format!("plan -p {name} -t uds --pin none"));
        insta::assert_snapshot!(format!("preset_{name}"), stdout(&output));
    }
    // What it promises, with every transport that there is.
    let quick = document(&place.run("plan -p quick --json=-"));
    assert!(quick["estimate_ns"].as_u64().unwrap() <= 90_000_000_000, "{}", quick["estimate_ns"]);
}

/// Options of `run` that the plan shows, each with a value that is not its default.
const PLANNED: &[(&str, &str)] = &[
    ("preset", "--preset latency"),
    ("transport", "--transport tcp"),
    ("size", "--size 1K"),
    ("mode", "--mode stream"),
    ("io", "--io async"),
    ("pairs", "--pairs 2"),
    ("clients", "--clients 2"),
    ("peers", "--mode fan-in --peers 2"),
    ("hot", "--mode fan-in --peers 3 --hot 1"),
    ("endpoints", "--mode idle --endpoints 3"),
    ("codec", "--mode codec,rtt --codec json"),
    ("event-rate", "--mode events --event-rate 10"),
    ("observe", "--mode idle --observe 1s"),
    ("cycles", "--mode leak --cycles 10"),
    ("burst", "--mode burst --burst 10"),
    ("gap", "--mode burst --gap 1ms"),
    ("sizes", "--mode mixed --sizes 64:1"),
    ("profile", "--mode ramp --profile low:1s"),
    ("oversize", "--mode burst --oversize 10%"),
    ("sched", "--sched fifo:3"),
    ("mlock", "--mlock"),
    ("perf", "--perf"),
    ("percentiles", "--percentiles 75"),
    ("clock", "--clock auto"),
    ("interval", "--interval 50ms"),
    ("reference", "--reference uds/rtt/64"),
    ("require", "--require uds"),
    ("fail-fast", "--fail-fast"),
    ("retry-flagged", "--retry-flagged 2"),
    ("setup", "--setup true"),
    ("prepare", "--prepare true"),
    ("cleanup", "--cleanup true"),
    ("duration", "--duration 10ms"),
    ("messages", "--messages 10"),
    ("trials", "--trials 3"),
    ("warmup", "--warmup 1ms"),
    ("pin", "--pin none"),
    ("wait", "--wait spin"),
    ("order", "--order shuffle"),
    ("buffer", "--buffer uds.sndbuf=64K"),
    ("background", "--background cpu:1"),
    ("keep-awake", "--keep-awake no"),
];

/// Options of `run` that need others beside them: two lines that differ in nothing else, and plan other cells.
const VARIED: &[(&str, &str, &str)] = &[
    ("rate", "--mode load --rate 1k/s", "--mode load --rate 2k/s"),
    ("arrivals", "--mode load --rate 1k/s", "--mode load --rate 1k/s --arrivals poisson"),
    ("pace", "--mode rtt", "--mode rtt --pace 1ms"),
    ("batch", "--mode stream", "--mode stream --batch 8"),
    ("access", "--mode stream", "--mode stream --access loan"),
];

/// The others, each with the test that shows what it changes.
const SHOWN: &[(&str, &str)] = &[
    ("hugepages", "rings_in_huge_pages_are_read_back_and_a_refusal_is_told"),
    ("event-log", "a_directory_in_memory_is_no_place_for_events"),
    ("ci", "a_range_of_trials_ends_when_the_interval_is_narrow"),
    ("time-budget", "a_time_budget_cuts_trials_and_says_so"),
    ("include-first", "the_first_message_is_apart_unless_it_is_asked_to_count"),
    ("stream-csv", "a_row_per_message_is_written_as_csv_and_json"),
    ("stream-json", "a_row_per_message_is_written_as_csv_and_json"),
    ("seed", "round_trips_and_streams_are_measured_between_processes_and_saved"),
    ("html", "a_run_is_written_compared_and_kept_under_a_name_in_one_go"),
    ("md", "a_run_is_written_compared_and_kept_under_a_name_in_one_go"),
    ("csv", "a_run_is_written_compared_and_kept_under_a_name_in_one_go"),
    ("baseline", "a_run_is_written_compared_and_kept_under_a_name_in_one_go"),
    ("save-baseline", "a_run_is_written_compared_and_kept_under_a_name_in_one_go"),
    ("no-html", "files_go_where_they_are_told_to"),
    ("out", "files_go_where_they_are_told_to"),
    ("label", "a_run_keeps_what_it_is_called"),
    ("tag", "a_run_keeps_what_it_is_called"),
    ("dry-run", "a_dry_run_is_a_plan"),
    ("list", "a_dry_run_is_a_plan"),
    ("events", "events_are_json_lines_between_trials"),
    ("manifest", "a_run_is_replayed_from_its_file"),
    ("repro", "a_cell_has_the_command_that_measures_it_alone"),
    ("allow-debug", "a_debug_build_refuses_to_measure"),
    ("log-file", "a_log_tells_what_happened_with_a_file_for_each_kind_of_worker"),
    ("log-level", "a_log_tells_what_happened_with_a_file_for_each_kind_of_worker"),
    ("keep-going", "whatever_a_variable_says_a_run_can_be_made_to_keep_going"),
    ("verbose", "the_log_goes_to_stderr_unless_told_otherwise_and_tells_no_more_than_warnings"),
    ("quiet", "files_go_where_they_are_told_to"),
    ("no-progress", "a_terminal_shows_progress_between_trials_unless_it_is_left_out"),
    ("color", "colours_and_characters_are_as_asked_for"),
    ("ascii", "colours_and_characters_are_as_asked_for"),
    ("config", "a_settings_file_can_be_named"),
    ("json", "files_go_where_they_are_told_to"),
    ("dir", "what_there_is_can_be_listed"),
    ("help", "help_is_what_it_was"),
    ("version", "the_version_is_told"),
];

#[test]
fn every_option_changes_something() {
    let place = Place::new();
    let base = stdout(&place.run("plan -t uds --json=-")).to_owned();
    for &(name, option) in PLANNED {
        let transport = if name == "transport" { "" } else { "-t uds" };
        let output = place.run(&format!("plan {transport} {option} --json=-"));
        assert_eq!(output.status.code(), Some(0), "{option}: {}", stderr(&output));
        assert_ne!(base, stdout(&output), "{option} changes nothing");
    }
    let cells = |line: &str| document(&place.run(&format!("plan -t shm {line} --json=-")))["cells"].clone();
    for (name, one, other) in VARIED {
        assert_ne!(cells(one), cells(other), "{name} changes nothing");
    }
}

#[test]
fn every_option_is_in_a_table_of_this_test() {
    let place = Place::new();
    let help = stdout(&place.run("run --help")).to_owned();
    let words =
        help.lines().filter_map(|line| line.split_once("--")).filter(|(before, _)| before.trim().len() <= 3);
    let told: BTreeSet<&str> = words
        .map(|(_, rest)| rest.split([' ', '[', ',', '.']).next().unwrap())
        .filter(|name| !name.is_empty())
        .collect();
    let known: BTreeSet<&str> = PLANNED
        .iter()
        .chain(SHOWN)
        .map(|(name, _)| *name)
        .chain(VARIED.iter().map(|(name, ..)| *name))
        .collect();
    let untested: Vec<_> = told.difference(&known).collect();
    assert!(untested.is_empty(), "no test shows what these change: {untested:?}");
    let sources = [
        "options.rs",
        "run.rs",
        "errors.rs",
        "modes.rs",
        "replay.rs",
        "scenes.rs",
        "events.rs",
        "logs.rs",
        "conditions.rs",
    ]
    .map(|file| {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file))
            .unwrap()
    });
    for (name, test) in SHOWN {
        assert!(sources.iter().any(|text| text.contains(&format!("fn {test}()"))), "{name}: no test {test}");
    }
}

#[test]
fn a_range_of_trials_ends_when_the_interval_is_narrow() {
    let place = Place::new();
    let trials = |ci: &str| {
        let line = format!("-t uds -s 64 --mode rtt -n 200 --trials 2..4 --ci {ci} --json=-");
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        document(&output)["cells"][0]["trials"].as_array().unwrap().len()
    };
    assert_eq!(trials("99.99%"), 2, "any two trials are this near");
    assert_eq!(trials("0.0000001%"), 4, "no two trials are this near");
    assert_refused(
        &place.measure("-t uds --trials 5 --ci 5%"),
        2,
        ["--ci needs a range", "exactly 5", "MIN..MAX"],
    );
    assert_refused(&place.measure("-t uds --trials 5..3"), 2, ["--trials 5..3", "MIN..MAX", "command line"]);
}

#[test]
fn a_time_budget_cuts_trials_and_says_so() {
    let place = Place::new();
    let output = place.run("plan -t uds -s 64 --trials 50 -d 1s --time-budget 20s --pin none");
    let text = stdout(&output);
    assert!(text.contains("cut to fit 20s instead of") && text.contains(" of 50 trials"), "{text}");
    let output = place.run("plan --time-budget 1s -t uds");
    assert_refused(&output, 2, ["cells do not fit into 1s", "3 trials of 50ms", "fewer transports"]);
    assert_refused(
        &place.run("plan -t uds -n 5 --time-budget 1m"),
        2,
        ["cannot be kept", "to be measured", "-d"],
    );
}

#[test]
fn whatever_a_variable_says_a_run_can_be_made_to_keep_going() {
    let place = Place::new();
    let told = |flag: &str| {
        let mut command = place.command(&format!("plan -t uds --json=- {flag}"));
        let plan = document(&place.finish(command.env("IPC_BENCH_FAIL_FAST", "yes").spawn().unwrap()));
        let setting = &plan["settings"]["fail-fast"];
        (setting["value"].as_str().unwrap().to_owned(), setting["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(told(""), ("yes".into(), "IPC_BENCH_FAIL_FAST".into()));
    assert_eq!(told("--keep-going"), ("no".into(), "command line".into()));
    assert_eq!(place.run("plan -t uds --keep-going --fail-fast").status.code(), Some(2));
}

#[test]
fn a_run_keeps_what_it_is_called() {
    let place = Place::new();
    let output =
        place.measure("-t uds -s 64 --mode rtt --trials 1 -n 10 --json=- --label mine --tag a=1 --tag b=x=y");
    let document = document(&output);
    assert_eq!(document["label"], "mine");
    assert_eq!(document["tags"], serde_json::json!({ "a": "1", "b": "x=y" }));
}

#[test]
fn a_dry_run_is_a_plan() {
    let place = Place::new();
    assert_eq!(stdout(&place.run("run -t uds --dry-run")), stdout(&place.run("plan -t uds")));
    let ids = place.run("run -t uds,mq -s 64,1M --mode rtt --list");
    assert_eq!(stdout(&ids), "uds/rtt/64\nmq/rtt/64\nuds/rtt/1048576\n");
    assert!(!place.path().join("results").exists());
}

#[test]
fn progress_is_for_terminals() {
    let place = Place::new();
    let output = place.measure("-t uds -s 64 --mode rtt --trials 1 -n 10");
    assert!(!stderr(&output).contains("trial 1/1"), "{}", stderr(&output));
}

#[test]
fn colours_and_characters_are_as_asked_for() {
    let place = Place::new();
    let run = |flags: &str| {
        let output = place.measure(&format!("-t uds,tcp -s 64 --mode rtt,stream --trials 2 -n 100 {flags}"));
        format!("{}{}", stdout(&output), stderr(&output))
    };
    let plain = run("");
    assert!(!plain.contains('\u{1b}') && plain.contains('×'), "{plain}");
    assert!(run("--color always").contains('\u{1b}'));
    let ascii = run("--ascii");
    assert!(ascii.is_ascii(), "{ascii}");
    // A locale that cannot show anything else says the same, and one that can does not.
    let list = |locale: &str| {
        let mut command = place.command("plan -t uds");
        let output = place.finish(command.env("LC_ALL", locale).spawn().unwrap());
        stdout(&output).is_ascii()
    };
    assert!(list("de_DE.ISO-8859-1") && !list("de_DE.UTF-8"));
}

#[test]
fn a_settings_file_can_be_named() {
    let place = Place::new();
    std::fs::write(place.path().join("mine.toml"), "schema = 1\n[defaults]\nsize = 48\n").unwrap();
    let output = place.run("plan -t uds --config mine.toml --json=-");
    assert_eq!(document(&output)["settings"]["size"]["origin"], "mine.toml:3");
    let output = place.run("plan -t uds --config nowhere.toml");
    assert_refused(&output, 2, ["nowhere.toml cannot be read", "No such file", ""].map(|words| words));
}

#[test]
fn the_version_is_told() {
    let place = Place::new();
    assert_eq!(stdout(&place.run("--version")), concat!("ipc-bench ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn documents_for_other_programs_are_printed() {
    let place = Place::new();
    for (what, title) in
        [("", "Run"), ("compare", "Comparison"), ("doctor", "Diagnosis"), ("events", "Event")]
    {
        assert_eq!(document(&place.run(&format!("schema {what}")))["title"], title);
    }
    assert!(stdout(&place.run("list metrics")).starts_with("p50 "));
    assert!(stdout(&place.run("list settings")).contains("\ntrials "));
    assert!(stdout(&place.run("list codecs")).contains("bincode-unmaintained"));
    assert!(
        stdout(&place.run("list scenarios")).contains("\nfan-in         --peers processes send to one\n")
    );
    assert!(stdout(&place.run("completions bash")).contains("ipc-bench"));
    assert!(stdout(&place.run("man")).contains(".TH ipc-bench 1"));
    assert_eq!(place.run("man pages").status.code(), Some(0));
    assert!(place.path().join("pages/ipc-bench-run.1").is_file());
}

#[test]
fn an_option_that_no_mode_of_the_run_looks_at_is_refused() {
    let place = Place::new();
    for (line, option) in [
        ("-t uds --mode rtt --peers 4", "--peers 4"),
        ("-t uds --mode stream --include-first", "--include-first yes"),
        ("-t uds --mode rtt --io async --wait spin", "--wait spin"),
    ] {
        let output = place.run(&format!("plan {line}"));
        assert_refused(&output, 2, [&format!("{option} changes nothing here"), "", "drop it"]);
    }
    assert_eq!(place.run("plan -t uds --mode rtt,fan-out --peers 4").status.code(), Some(0));
}
