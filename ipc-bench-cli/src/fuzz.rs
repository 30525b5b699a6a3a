//! Harness for hostile settings files: text in, nothing out, a panic when a promise is broken. Not part of the program:
//! built with the feature `__fuzz` and `--cfg fuzzing` only, for `cargo xtask chaos fuzz` and `fuzz/`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Config;
use crate::settings::Settings;

/// F6, `ipc-bench.toml`: what is read is completed to settings or refused without a panic, and a refusal to read it says
/// which file it means. Whether it was read.
///
/// # Panics
/// A refusal does not name the file.
pub fn config(text: &str) -> bool {
    const FILE: &str = "spoiled.toml";
    let config = match Config::parse(Path::new(FILE), text) {
        Ok(config) => config,
        Err(refusal) => {
            let told = refusal.to_string();
            assert!(told.contains(FILE), "a refusal of {text:?} does not say where: {told}");
            return false;
        }
    };
    let _ = Settings::complete(BTreeMap::new(), &config);
    for preset in config.presets.keys() {
        let given = BTreeMap::from([("preset", preset.clone())]);
        let _ = Settings::complete(given, &config);
    }
    true
}
