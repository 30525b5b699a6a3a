//! Under which conditions a cell is measured: what runs beside it, and whether its CPUs may halt.

mod common;

use common::{
    Place, allowed, assert_refused, document, kill, measuring, stderr, stdout, valid_run, wait_for,
};

#[test]
fn a_background_is_a_dimension_and_the_table_tells_what_it_did() {
    let place = Place::new();
    let line = "-t uds -s 64 --mode rtt --trials 2 -n 200 --background none,cpu:2,mem:1@CPU --keep-awake no";
    let line = line.replace("CPU", &allowed()[0].to_string());
    let output = place.measure(&format!("{line} --out here"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("With and without"), "{}", stdout(&output));
    let saved = std::fs::read(place.path().join("here/run.json")).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&saved).unwrap();
    let on_one = format!("uds/rtt/64/background=mem:1@{}", allowed()[0]);
    let ids: Vec<&str> =
        document["cells"].as_array().unwrap().iter().map(|cell| cell["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["uds/rtt/64", "uds/rtt/64/background=cpu:2", &on_one]);
    assert!(document["cells"][0].get("background").is_none());
    assert_eq!(document["cells"][1]["background"], "cpu:2");
    assert!(document["cells"][2]["summary"]["p50_ns"]["value"].is_number());
}

#[test]
fn an_impossible_background_is_refused() {
    let place = Place::new();
    let refused = |line: &str, words| assert_refused(&place.run(line), 2, words);
    refused("plan --background disk:1", ["--background disk:1", "cpu:N", "command line"]);
    refused("plan --background cpu:1@999", ["cpu 999 cannot be used", "may use cpu", "choose"]);
    refused("plan --keep-awake perhaps", ["--keep-awake perhaps", "yes, no or auto", "command line"]);
    refused("plan --keep-awake yes --pin none", ["needs pinned CPUs", "--pin", "--keep-awake no"]);
}

#[test]
fn cpus_are_kept_awake_where_a_side_sleeps_and_nowhere_else() {
    let place = Place::new();
    if allowed().len() < 2 {
        return;
    }
    let pin = format!("{}:{}", allowed()[0], allowed()[1]);
    let run = |flags: &str| {
        let line = format!("-t uds,shm -s 64 --mode rtt --trials 1 -n 50 --pin {pin} --json=- {flags}");
        let output = place.measure(&line);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        document(&output)
    };
    let kept = run("--keep-awake yes");
    assert_eq!(kept["cells"][0]["kept_awake"], serde_json::json!([allowed()[0], allowed()[1]]));
    assert!(kept["cells"][1].get("kept_awake").is_none(), "a spinning side never lets its CPU halt");
    assert!(run("--keep-awake no")["cells"][0].get("kept_awake").is_none());
}

#[test]
fn a_killed_runner_leaves_no_background_process() {
    let place = Place::new();
    let flags = "-t uds -s 64 --mode rtt --trials 1 -d 60s --background cpu:2 --no-progress";
    let mut runner = place.command(&measuring(flags)).spawn().unwrap();
    let hogs = || place.processes().iter().filter(|(_, line)| line.iter().any(|word| word == "hog")).count();
    place.worker("client", "uds/rtt/64/background=cpu:2");
    wait_for("both hogs", || (hogs() >= 2).then_some(()));
    kill(runner.id(), rustix::process::Signal::KILL);
    runner.wait().unwrap();
    place.assert_nothing_is_left();
}

#[test]
fn a_plan_tells_its_peak_memory_and_the_processes_have_about_that() {
    let place = Place::new();
    let told = |line: &str| {
        let plan = document(&place.run(&format!("plan --pin none {line} --json=-")));
        plan["peak_memory_bytes"].as_u64().unwrap()
    };
    let small = told("-t shm -s 64 --mode rtt");
    assert!(told("-t shm -s 16M --mode rtt") > small + (64 << 20), "a ring has room for four messages");
    assert!(told("-t shm -s 64 --mode fan-in --peers 40") > small + (39 << 21));
    assert!(told("-t shm -s 64 --mode rtt --background mem:1") > small + (100 << 20));
    assert!(stdout(&place.run("plan -t shm -s 64 --mode rtt --pin none")).contains(", peak memory ≈ "));

    // Both rings, 128 MiB in all, go around within a few messages; half of that is enough.
    let line = "-t shm -s 8M --mode rtt --pin none";
    let planned = told("-t shm -s 8M --mode rtt");
    let child = place.command(&measuring(&format!("{line} -d 1h --trials 1 --quiet"))).spawn().unwrap();
    let workers = ["server", "client"].map(|role| place.worker(role, "shm/rtt/8388608"));
    let has = |pid: u32| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    wait_for("the rings to be half full", || {
        let all = workers.iter().chain([&child.id()]).map(|pid| has(*pid)).sum::<u64>();
        (all > planned / 3 && all < planned * 3 && all > 64 << 20).then_some(())
    });
    kill(child.id(), rustix::process::Signal::INT);
    assert_eq!(place.finish(child).status.code(), Some(130));
}

#[test]
fn rings_in_huge_pages_are_read_back_and_a_refusal_is_told() {
    let place = Place::new();
    assert_refused(
        &place.run("plan -t uds --hugepages"),
        2,
        ["--hugepages changes nothing here", "neither is measured", "add shm to -t"],
    );
    let huge = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    let Some(page) = huge.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
        eprintln!("skipped: this kernel has no huge pages of shared memory");
        return;
    };
    let plan =
        document(&place.run("plan -t shm -s 64 --mode rtt -L shm.capacity=64K,4M --hugepages --json=-"));
    assert!(plan["cells"][0]["skipped"].as_str().unwrap().contains("smaller than a huge page"), "{plan}");
    assert!(plan["cells"][1]["skipped"].is_null(), "{plan}");

    let line = "-t shm,uds,inproc -s 64 --mode rtt --trials 2 -n 200 --json=-";
    let output = place.measure(&format!("{line} --hugepages"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = valid_run(&output);
    for cell in run["cells"].as_array().unwrap() {
        let effective = &cell["effective"];
        if cell["transport"] == "uds" {
            assert!(effective.get("huge_bytes").is_none(), "{effective}");
            continue;
        }
        assert_eq!(effective["capacity"], page.max(1 << 20), "a ring is as large as a huge page at least");
        let warned = run["warnings"].as_array().unwrap().iter().any(|warning| {
            warning["code"] == "W11" && warning["cells"].as_array().unwrap().contains(&cell["id"])
        });
        let is_whole = effective["huge_bytes"] == page.max(1 << 20);
        assert!(is_whole && effective["peer_huge_bytes"] == effective["huge_bytes"] || warned, "{effective}");
    }
    let without = document(&place.measure(line));
    assert!(without["cells"][0]["effective"].get("huge_bytes").is_none());

    // A kernel that refuses: the processes of the run inherit this.
    rustix::thread::disable_transparent_huge_pages(true).unwrap();
    let output = place.measure(&format!("{line} --hugepages"));
    rustix::thread::disable_transparent_huge_pages(false).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let run = valid_run(&output);
    let effective = &run["cells"][0]["effective"];
    assert_eq!(
        (&effective["huge_bytes"], &effective["peer_huge_bytes"]),
        (&0.into(), &0.into()),
        "{effective}"
    );
    assert!(effective["huge_errno"].as_u64() > Some(0), "{effective}");
    let told = run["warnings"].as_array().unwrap().iter().find(|warning| warning["code"] == "W11").unwrap();
    assert_eq!(told["cells"], serde_json::json!(["shm/rtt/64", "inproc/rtt/64"]));
    assert!(
        told["message"].as_str().unwrap().starts_with("--hugepages was refused by the system ("),
        "{told}"
    );
}

#[test]
fn stolen_time_and_moves_are_told_by_interval_where_a_cpu_is_left_to_look_from() {
    let place = Place::new();
    let run = |pin: &str| {
        let line =
            "-t uds,inproc -s 64 --mode rtt,oneway --wait park --trials 1 -d 100ms --interval 20ms --json=-";
        let output = place.measure(&format!("{line} --pin {pin}"));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        valid_run(&output)
    };
    let told = |run: &serde_json::Value, transport: &str| {
        let cells = run["cells"].as_array().unwrap().iter().filter(|cell| cell["transport"] == transport);
        let intervals = cells.flat_map(|cell| cell["trials"][0]["timeline"].as_array().unwrap());
        let told = intervals.map(|own| (own["steal_ns"].as_u64(), own["migrations"].as_u64()));
        told.collect::<Vec<_>>()
    };
    let one = run("same-core");
    let cores = one["environment"]["cpu"]["siblings"].as_array().unwrap().len();
    let (pair, threads) = (told(&one, "uds"), told(&one, "inproc"));
    // Two cells of five intervals each, of which a machine with other things to do may make fewer and longer ones.
    assert!(pair.len() >= 4 && threads.len() >= 4, "{pair:?} {threads:?}");
    if cores > 1 && allowed().len() > 1 {
        // An interval into which no look fell, on such a machine, has neither.
        let seen = |all: &[(Option<u64>, Option<u64>)]| all.iter().any(|(stolen, _)| stolen.is_some());
        assert!(seen(&pair) && seen(&threads), "{pair:?} {threads:?}");
        // A kernel without CONFIG_SCHED_DEBUG counts no moves.
        let counts =
            std::fs::read_to_string("/proc/self/sched").is_ok_and(|text| text.contains("nr_migrations"));
        let unmoved =
            |(stolen, moves): &(Option<u64>, Option<u64>)| *moves == stolen.filter(|_| counts).map(|_| 0);
        assert!(pair.iter().all(unmoved), "{pair:?}");
        // Their threads are not the main ones of a process.
        assert!(threads.iter().all(|(_, moves)| moves.is_none()), "{threads:?}");
    }
    // Every CPU is in use: whoever looked would take what is looked for.
    let all_in_use = told(&run("none"), "uds");
    assert!(all_in_use.len() >= 4, "{all_in_use:?}");
    assert!(all_in_use.iter().all(|told| *told == (None, None)), "{all_in_use:?}");
}
