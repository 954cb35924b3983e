//! The workspace as cargo describes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The part of `cargo metadata` that the verbs use.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

/// A workspace member.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as its `Cargo.toml` declares it, for whatever feature or target.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's own name, whatever the manifest renames it to.
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
}

/// A kind of dependency; a normal one has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Dev,
    Build,
}

impl Workspace {
    /// Asks cargo about the workspace that this tool was built from.
    pub(crate) fn open() -> Result<Self> {
        let asked = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .context("start `cargo metadata`")?;
        ensure!(
            asked.status.success(),
            "`cargo metadata` answers {}: {}",
            asked.status,
            String::from_utf8_lossy(&asked.stderr).trim_end()
        );
        Self::parse(&asked.stdout)
    }

    /// Reads the answer of `cargo metadata --no-deps`.
    pub(crate) fn parse(metadata: &[u8]) -> Result<Self> {
        serde_json::from_slice(metadata).context("read what `cargo metadata` says")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target_directory(&self) -> &Path {
        &self.target_directory
    }

    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// A cargo command that will run at the root.
    pub(crate) fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = cargo();
        command.args(args).current_dir(&self.root);
        command
    }
}

/// The cargo that runs us, so that `cargo +toolchain xtask` stays with its toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
