//! What cargo knows about the workspace: its root, its packages, and where it builds.

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use std::path::Path;

/// The workspace that xtask was built from. Cargo sets `CARGO_MANIFEST_DIR` for `cargo run`, and the value it had
/// while compiling serves a binary that was started by hand.
pub(crate) fn root() -> Result<std::path::PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).parent().context("xtask has no parent directory")?;
    Ok(root.to_path_buf())
}

/// `cargo metadata --no-deps`: manifests only. It resolves nothing, so it needs neither the network nor a lock file.
pub(crate) fn metadata(root: &Path) -> Result<Metadata> {
    MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec().context("cargo metadata")
}

pub(crate) fn has_package(metadata: &Metadata, name: &str) -> bool {
    metadata.packages.iter().any(|package| package.name == name)
}
