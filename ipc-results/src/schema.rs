//! The JSON schemas of the documents this crate writes, generated from their types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::compare::Comparison;
use crate::doctor::Diagnosis;
use crate::event::Event;
use crate::run::Run;

/// Schema of `run.json`, version 1 (JSON Schema 2020-12): what a reader must accept.
pub fn run() -> Schema {
    of::<Run>()
}

/// Schema of a comparison, version 1.
pub fn compare() -> Schema {
    of::<Comparison>()
}

/// Schema of a diagnosis, version 1.
pub fn doctor() -> Schema {
    of::<Diagnosis>()
}

/// Schema of one line of `--events`, version 1.
pub fn events() -> Schema {
    of::<Event>()
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>()
}

/// A schema as it is committed: indented JSON that ends in a newline.
pub fn to_json(schema: &Schema) -> String {
    // The alternate form of a JSON value is indented, and a value always has one.
    format!("{:#}\n", schema.as_value())
}
