//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::{demo, serve};

/// A millisecond cloud on micro-VMs: an instance sleeps as a snapshot and wakes when a request comes.
#[derive(Debug, Parser)]
#[command(name = "platform", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole chain once: boots a guest, snapshots it, lets it sleep, wakes it with real requests, and says where the
    /// time went.
    Demo(DemoArgs),
    /// Runs the chain as a service until it is stopped; SIGTERM or Ctrl-C drains.
    Serve(ServeArgs),
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How often the instance is woken (at least 1).
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub wakes: u32,
    /// Quiet time after which the instance sleeps, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub cooldown_ms: u64,
    /// Guest memory in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(16..=65_536))]
    pub memory_mib: u64,
    /// Print one JSON object on standard output, and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// Options of `serve`; each overrides the configuration file.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML). Without it, and without flags, defaults serve the built-in guest on 127.0.0.1:8080.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Quiet time after which the instance sleeps, in milliseconds.
    #[arg(long)]
    cooldown_ms: Option<u64>,
    /// Guest memory in MiB.
    #[arg(long)]
    memory_mib: Option<u64>,
    /// An ELF kernel to run instead of the built-in guest.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Where snapshots are kept, so that the instance's state outlives the platform.
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// VMs made ahead.
    #[arg(long)]
    shells: Option<usize>,
}

impl ServeArgs {
    /// File over defaults, flags over both.
    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        set(&mut config.listen, self.listen);
        set(&mut config.cooldown_ms, self.cooldown_ms);
        set(&mut config.memory_mib, self.memory_mib);
        set(&mut config.shells, self.shells);
        config.kernel = self.kernel.or(config.kernel);
        config.state_dir = self.state_dir.or(config.state_dir);
        config.validate()?;
        Ok(config)
    }
}

/// Uses all descriptors that the process may have: each connection takes up to four, each VM some twenty, and the usual soft
/// limit of 1,024 is there for programs that `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused, it stays what it was.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// What went wrong, for a person to read.
    pub fn run(self) -> anyhow::Result<()> {
        raise_descriptor_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = match self.command {
            Command::Demo(args) => runtime.block_on(demo::run(&args)),
            Command::Serve(args) => runtime.block_on(serve::run(args.config()?)),
        };
        // What still blocks a thread, a boot that was called off by a signal for instance, is not waited for.
        runtime.shutdown_background();
        done
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "cooldown_ms = 7\nmemory_mib = 32\n").unwrap();
        let path = path.to_str().unwrap();
        let cli = Cli::try_parse_from(["platform", "serve", "--config", path, "--cooldown-ms", "9"]).unwrap();
        let Command::Serve(args) = cli.command else {
            panic!("serve was asked for")
        };
        let config = args.config().unwrap();
        assert_eq!((config.cooldown_ms, config.memory_mib), (9, 32));
    }
}
