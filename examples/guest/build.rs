//! Builds `kernel/`, a package of its own, and tells the library where the image is.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> ExitCode {
    for source in ["src", "build.rs", "link.ld", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed=kernel/{source}");
    }
    match build() {
        Ok(image) => {
            println!("cargo:rustc-env=GUEST_ELF={}", image.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("build the guest kernel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("cargo does not set {name}"));
    let kernel = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("kernel");
    let target_dir = PathBuf::from(variable("OUT_DIR")?).join("kernel");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--bin",
        "guest-kernel",
        "--target",
        TARGET,
        "--target-dir",
    ]);
    cargo.arg(&target_dir).current_dir(&kernel);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    // Set, not removed: flags from a configuration file would break the link.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");
    let output = cargo
        .output()
        .map_err(|error| format!("run {cargo:?}: {error}"))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{cargo:?} in {}: {}\n{messages}",
            kernel.display(),
            output.status
        ));
    }
    let image = target_dir.join(TARGET).join("release/guest-kernel");
    if image.is_file() {
        Ok(image)
    } else {
        Err(format!("no image at {}", image.display()))
    }
}

/// Whether an environment variable is about how the outer build is done: flags, wrappers (clippy, coverage), profiles,
/// targets. What says where cargo finds its crates and its job server is left.
fn is_of_the_outer_build(name: &str) -> bool {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    const DROPPED: [&str; 6] = [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "MAKEFLAGS",
        "MFLAGS",
        "CLIPPY_ARGS",
    ];
    let cargo = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
    cargo || DROPPED.contains(&name)
}
