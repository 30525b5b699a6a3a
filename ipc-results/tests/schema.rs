//! The committed schemas are the ones of the types.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

use std::path::Path;

use ipc_results::schema;

#[track_caller]
fn is_committed(name: &str, schema: &schemars::Schema) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas").join(name);
    let generated = schema::to_json(schema);
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "schemas/{name} is out of date; version 1 may only gain optional fields; then run: \
         UPDATE_SCHEMA=1 cargo test -p ipc-results --test schema"
    );
}

#[test]
fn the_committed_schema_of_a_run_is_the_one_of_the_types() {
    is_committed("run.v1.schema.json", &schema::run());
}

#[test]
fn the_committed_schema_of_a_comparison_is_the_one_of_the_types() {
    is_committed("compare.v1.schema.json", &schema::compare());
}

#[test]
fn the_committed_schema_of_a_diagnosis_is_the_one_of_the_types() {
    is_committed("doctor.v1.schema.json", &schema::doctor());
}

#[test]
fn the_committed_schema_of_events_is_the_one_of_the_types() {
    is_committed("events.v1.schema.json", &schema::events());
}

#[test]
fn a_written_run_is_valid_under_the_committed_schema() {
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("run.json", schema::run().to_value()).unwrap();
    let schema = compiler.compile("run.json", &mut schemas).unwrap();
    let run = ipc_results::file::from_json(include_str!("fixtures/invented-run.v1.json")).unwrap();
    let written = serde_json::to_value(&run).unwrap();
    schemas.validate(&written, schema).map_err(|error| error.to_string()).unwrap();

    let mut broken = written;
    broken["cells"][0]["trials"][0]["messages"] = "many".into();
    assert!(schemas.validate(&broken, schema).is_err());
}
