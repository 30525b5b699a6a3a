//! Named sets of settings.

/// One preset: the values it gives to settings that nobody else sets.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Setting and value, as on the command line.
    pub(crate) values: &'static [(&'static str, &'static str)],
}

/// Used when none is named.
pub(crate) const DEFAULT: &str = "quick";

pub(crate) const ALL: [Preset; 1] = [Preset {
    name: "quick",
    about: "every transport at three sizes, round trips and throughput, in about a minute",
    values: &[("size", "64,4K,64K"), ("mode", "rtt,stream"), ("trials", "5"), ("duration", "200ms")],
}];

pub(crate) fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}
