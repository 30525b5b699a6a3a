//! Every option of the commands beside `run`: each has a test that shows what it changes.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod common;

use std::path::Path;

use common::{Place, assert_refused, document, stderr, stdout};

/// Command, option, and the test that shows what it changes. Those that `run` has too are in `options.rs`.
const SHOWN: &[(&str, &str, &str)] = &[
    ("server", "pin", "a_server_can_end_after_one_client_or_when_nobody_comes"),
    ("server", "once", "a_server_can_end_after_one_client_or_when_nobody_comes"),
    ("server", "idle-timeout", "a_server_can_end_after_one_client_or_when_nobody_comes"),
    ("client", "retry", "nobody_listening_is_told_with_a_hint"),
    ("client", "peer", "any_server_that_echoes_bytes_can_be_measured"),
    ("ab", "a", "two_programs_are_measured_against_each_other_and_a_base_without_one_is_only_noted"),
    ("ab", "b", "two_programs_are_measured_against_each_other_and_a_base_without_one_is_only_noted"),
    ("ab", "vary", "one_setting_is_varied_and_the_cells_are_twins"),
    ("ab", "inject", "a_share_of_what_a_message_takes_is_put_into_one_side"),
    ("ab", "limit", "a_red_cell_is_measured_again_with_twice_the_trials_and_the_others_are_not"),
    ("ab", "policy", "a_policy_of_ab_forgives_what_is_red_without_it"),
    ("ab", "fail-on", "two_programs_are_measured_against_each_other_and_a_base_without_one_is_only_noted"),
    ("ab", "github", "a_delay_in_one_arm_is_a_regression_and_exit_code_3"),
    ("ab", "gate", "a_delay_in_one_arm_is_a_regression_and_exit_code_3"),
    ("ab", "confirm", "a_red_cell_is_measured_again_with_twice_the_trials_and_the_others_are_not"),
    ("ab", "all", "a_policy_of_ab_forgives_what_is_red_without_it"),
    ("report", "format", "saved_runs_are_rendered_compared_and_gated_without_measuring"),
    ("report", "summary", "a_summary_has_a_row_per_cell"),
    ("report", "output", "saved_runs_are_rendered_compared_and_gated_without_measuring"),
    ("compare", "all", "runs_of_other_machines_and_unchanged_rows_are_compared_when_asked_for"),
    ("compare", "html", "saved_runs_are_rendered_compared_and_gated_without_measuring"),
    ("compare", "md", "saved_runs_are_rendered_compared_and_gated_without_measuring"),
    (
        "compare",
        "allow-different-host",
        "runs_of_other_machines_and_unchanged_rows_are_compared_when_asked_for",
    ),
    ("merge", "output", "runs_are_joined_and_words_explained"),
    ("gate", "limit", "a_slowed_cell_of_a_stored_run_fails_the_gate"),
    ("gate", "policy", "a_slowed_cell_of_a_stored_run_fails_the_gate"),
    ("gate", "fail-on", "saved_runs_are_rendered_compared_and_gated_without_measuring"),
    ("gate", "github", "a_slowed_cell_of_a_stored_run_fails_the_gate"),
    ("gate", "confirm", "a_slowed_cell_of_a_stored_run_fails_the_gate"),
    ("baseline save", "commit-dir", "saved_runs_are_rendered_compared_and_gated_without_measuring"),
    ("baseline save", "validate", "a_slowed_cell_of_a_stored_run_fails_the_gate"),
    ("verify", "with", "targets_are_measured_and_a_missed_one_is_exit_code_3"),
    ("limits", "rounds", "limits_go_as_many_rounds_as_are_asked_for"),
    ("limits", "only", "limits_holds_ours_against_the_bare_loops"),
    ("limits", "idle", "limits_holds_ours_against_the_bare_loops"),
    ("doctor", "for", "the_doctor_names_its_checks_and_changes_nothing"),
    ("doctor", "strict", "the_doctor_names_its_checks_and_changes_nothing"),
    ("doctor", "probe", "the_doctor_names_its_checks_and_changes_nothing"),
    ("doctor", "fix-script", "the_doctor_names_its_checks_and_changes_nothing"),
    ("doctor", "clean", "live_endpoints_are_listed_and_dead_ones_cleaned"),
    ("doctor", "peer", "the_doctor_names_its_checks_and_changes_nothing"),
];

/// Names of the options in a help text, without dashes.
fn options(help: &str) -> Vec<String> {
    let words = help.lines().filter_map(|line| line.split_once("--"));
    let named = words.filter(|(before, _)| before.trim().len() <= 3);
    let name = |(_, rest): (&str, &str)| rest.split([' ', '[', ',', '.']).next().unwrap().to_owned();
    named.map(name).filter(|name| !name.is_empty()).collect()
}

/// All commands, and those of `baseline`.
fn commands(place: &Place) -> Vec<String> {
    let names = |help: &str| -> Vec<String> {
        let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let mut all = names(stdout(&place.run("--help")));
    let own = names(stdout(&place.run("baseline --help")));
    all.extend(own.into_iter().filter(|name| name != "help").map(|name| format!("baseline {name}")));
    all
}

#[test]
fn every_option_of_every_command_is_in_a_table() {
    let place = Place::new();
    let of_run = options(stdout(&place.run("run --help")));
    let tests = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).unwrap();
    let sources = tests.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
    let sources: String = sources.collect();
    let commands = commands(&place);
    assert!(commands.len() > 20, "{commands:?}");
    let mut untested = Vec::new();
    for command in &commands {
        let own = options(stdout(&place.run(&format!("{command} --help"))));
        for option in own.iter().filter(|option| !of_run.contains(option)) {
            if !SHOWN.iter().any(|(of, name, _)| of == command && name == option) {
                untested.push(format!("{command} --{option}"));
            }
        }
        for (_, name, _) in SHOWN.iter().filter(|(of, ..)| of == command) {
            assert!(own.iter().any(|option| option == name), "{command} has no --{name}");
        }
    }
    assert!(untested.is_empty(), "no test shows what these change: {untested:?}");
    for (command, name, test) in SHOWN {
        assert!(commands.iter().any(|known| known == command), "no command {command}");
        let body = sources.split(&format!("fn {test}()")).nth(1).and_then(|rest| rest.split("\n}\n").next());
        let body = body.unwrap_or_else(|| panic!("{command} --{name}: no test {test}"));
        assert!(body.contains(&format!("--{name}")), "{test} does not use --{name} of {command}");
    }
}

const TRIALS: &str = "--allow-debug --warmup 1ms -t uds --mode rtt -s 64 -n 40 --quiet";

#[test]
fn a_policy_of_ab_forgives_what_is_red_without_it() {
    let place = Place::new();
    let lenient = "schema = 1\n[gate]\nlimits = { p50 = \"10000000%\" }\nalpha = 0.2\n";
    std::fs::write(place.path().join("lenient.toml"), lenient).unwrap();
    let line = format!("ab {TRIALS} --trials 7 --inject 5ms --gate");
    let red = place.run(&line);
    assert_eq!(red.status.code(), Some(3), "{}{}", stdout(&red), stderr(&red));
    let green = place.run(&format!("{line} --policy lenient.toml"));
    assert_eq!(green.status.code(), Some(0), "{}{}", stdout(&green), stderr(&green));
    // So far within the limit it is unchanged, and hidden.
    assert!(stdout(&green).contains("1 unchanged hidden (--all)"), "{}", stdout(&green));
    let all = place.run(&format!("{line} --policy lenient.toml --all"));
    assert!(!stdout(&all).contains("hidden") && stdout(&all).contains(" unchanged"), "{}", stdout(&all));
}

#[test]
fn runs_of_other_machines_and_unchanged_rows_are_compared_when_asked_for() {
    let place = Place::new();
    let output = place.run(&format!("run {TRIALS} --trials 6 --json=here.json"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = std::fs::read_to_string(place.path().join("here.json")).unwrap();
    let mut run: serde_json::Value = serde_json::from_str(&text).unwrap();
    run["environment"]["host_fingerprint"] = "sha256:elsewhere".into();
    run["environment"]["hostname"] = "elsewhere".into();
    std::fs::write(place.path().join("there.json"), run.to_string()).unwrap();
    assert_refused(
        &place.run("compare here.json there.json"),
        5,
        ["not comparable", "--allow-different-host", "one machine"],
    );
    let allowed = place.run("compare here.json there.json --allow-different-host");
    assert_eq!(allowed.status.code(), Some(0), "{}", stderr(&allowed));
    assert!(stdout(&allowed).contains("different machines, no verdicts"), "{}", stdout(&allowed));
    // Whatever was measured, all rows are shown: the one that is hidden otherwise, too.
    let cells = |line: &str| {
        let output = place.run(line);
        stdout(&output).lines().filter(|line| line.starts_with("uds/rtt/64 ")).count()
    };
    assert_eq!(cells("compare here.json here.json --all"), 1);
    let some = place.run("compare here.json here.json");
    let hidden = usize::from(stdout(&some).contains("1 unchanged hidden (--all)"));
    assert_eq!(cells("compare here.json here.json") + hidden, 1, "{}", stdout(&some));
}

#[test]
fn a_summary_has_a_row_per_cell() {
    let place = Place::new();
    let output = place.run(&format!("run {TRIALS} --trials 3 -o here"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows = |flags: &str| stdout(&place.run(&format!("report here --format csv {flags}"))).lines().count();
    assert_eq!((rows(""), rows("--summary")), (1 + 3, 1 + 1));
}

#[test]
fn limits_go_as_many_rounds_as_are_asked_for() {
    let place = Place::new();
    let limits = |flags: &str| {
        let output = place.run(&format!("limits --allow-debug -d 5ms --json=- --only mq {flags}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        document(&output)["rows"][0]["ratio"]["trials"].as_u64().unwrap()
    };
    assert_eq!((limits("--rounds 1"), limits("--rounds 3")), (1, 3));
}
