//! The command line.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::causes::causes;
use crate::config::{Config, ConfigError, listen_address};
use crate::line_sink::LineSink;
use crate::start_error::StartError;
use crate::{demo, serve};

/// A last error waits so long for a reader.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A millisecond cloud on micro-VMs: an instance sleeps as a snapshot and wakes when a request comes.
#[derive(Debug, Parser)]
#[command(
    name = "platform",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Examples:\n  platform demo\n  platform serve --listen 127.0.0.1:8080 --state-dir ./state"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole chain once: boots a guest, snapshots it, lets it sleep, wakes it with real requests, and says where the
    /// time went.
    #[command(after_help = "Examples:\n  platform demo\n  platform demo --wakes 1000 --json")]
    Demo(DemoArgs),
    /// Runs the chain as a service until it is stopped; SIGTERM or Ctrl-C drains, SIGUSR1 explains.
    #[command(after_help = "Examples:\n  platform serve\n  \
        platform serve --listen 0.0.0.0:80 --kernel ./vmlinux --memory-mib 256 --state-dir ./state\n  \
        platform serve --config platform.toml --cooldown-ms 20\n\n\
        The file has more fields than there are flags; README.md lists them. Logs go to standard error, as much as \
        RUST_LOG says (default: warn). SIGUSR1 has it say there why the instance sleeps or is awake, and why nothing else happens.")]
    Serve(ServeArgs),
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How often the instance is woken, 1 to 1000000.
    #[arg(long, default_value_t = 300, value_parser = within::<u32>(1, 1_000_000), allow_negative_numbers = true)]
    pub wakes: u32,
    /// Quiet time after which the instance sleeps, in milliseconds, 1 to 60000.
    #[arg(long, default_value_t = 5, value_parser = within::<u64>(1, 60_000), allow_negative_numbers = true)]
    pub cooldown_ms: u64,
    /// Guest memory in MiB, 16 to 65536.
    #[arg(long, default_value_t = 64, value_parser = within::<u64>(16, 65_536), allow_negative_numbers = true)]
    pub memory_mib: u64,
    /// Print one JSON object on standard output, and nothing else [default: a table]
    #[arg(long)]
    pub json: bool,
}

/// Options of `serve`; each overrides the configuration file.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); flags override it [default: none, the built-in guest is served as it stands below]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Quiet time after which the instance sleeps, in milliseconds, 1 to 86400000 [default: 100]
    #[arg(long, value_name = "MS", value_parser = within::<u64>(1, 86_400_000), allow_negative_numbers = true)]
    cooldown_ms: Option<u64>,
    /// Guest memory in MiB, 2 to 524288 [default: 64]
    #[arg(long, value_name = "MIB", value_parser = within::<u64>(2, 524_288), allow_negative_numbers = true)]
    memory_mib: Option<u64>,
    /// An ELF kernel to run, as docs/guest-abi.md describes it [default: the built-in guest]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Where snapshots are kept, so that the instance's state outlives the platform [default: none, state ends with it]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// VMs made ahead, 1 to 1024; each takes 14 descriptors, 3 threads, 0.2 MB and some 10 ms to make [default: 2]
    #[arg(long, value_name = "COUNT", value_parser = within::<usize>(1, 1024), allow_negative_numbers = true)]
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

/// Reads a whole number, and says what it may be if it is none or too small or large.
fn within<N>(least: N, most: N) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("must be a whole number from {least} to {most}")),
    }
}

/// What kind of end an error is: 2 for what was asked for, 1 for what came in between.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let of_start = |error| {
        matches!(
            error,
            &StartError::Config(_) | &StartError::Scaling(_) | &StartError::Limits(_)
        )
    };
    let asked = error.is::<ConfigError>() || error.downcast_ref().is_some_and(of_start);
    if asked {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

impl Cli {
    /// Does what the command line says, tells on standard error what went wrong, and says how the process is to end: 0, 1 after
    /// an error, 2 after one in the configuration, or 128 and the number of the signal that broke `demo` off.
    #[must_use]
    pub fn run(self) -> ExitCode {
        // Nobody has to read this either.
        let errors = LineSink::new(std::io::stderr());
        let done = errors
            .as_ref()
            .map_err(|error| anyhow::anyhow!("prepare to write to standard error: {error}"))
            .and_then(|errors| self.execute(errors.clone()));
        let code = done.unwrap_or_else(|error| {
            if let Ok(errors) = &errors {
                errors.say(format!("error: {}\n", causes(error.as_ref())));
            }
            exit_code(&error)
        });
        if let Ok(errors) = &errors {
            errors.flush(LAST_WORDS);
        }
        code
    }

    fn execute(self, errors: LineSink) -> anyhow::Result<ExitCode> {
        raise_descriptor_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = match self.command {
            Command::Demo(args) => runtime.block_on(demo::run(&args)),
            Command::Serve(args) => runtime.block_on(serve::run(args.config()?, errors)),
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

    /// Every flag says its default and, if it is a number, its range; every command has an example.
    #[test]
    fn the_help_leaves_nothing_open() {
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            let after = command.get_after_help().unwrap().to_string();
            assert!(
                after.contains(&format!("platform {}", command.get_name())),
                "{after}"
            );
            for flag in command.get_arguments().filter(|flag| flag.get_id() != "help") {
                let help = flag.get_help().unwrap().to_string();
                let default = !flag.get_default_values().is_empty() || help.contains("[default: ");
                let number =
                    ["wakes", "cooldown_ms", "memory_mib", "shells"].contains(&flag.get_id().as_str());
                assert!(
                    default && (help.contains(" to ") || !number),
                    "{}: {help}",
                    flag.get_id()
                );
            }
        }
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        let defaults = Config::default();
        let cli = Cli::command();
        let serve = cli.find_subcommand("serve").unwrap();
        for (flag, default) in [
            ("listen", defaults.listen.to_string()),
            ("cooldown_ms", defaults.cooldown_ms.to_string()),
            ("memory_mib", defaults.memory_mib.to_string()),
            ("shells", defaults.shells.to_string()),
        ] {
            let flag = serve
                .get_arguments()
                .find(|found| found.get_id() == flag)
                .unwrap();
            let help = flag.get_help().unwrap().to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "{help}");
        }
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
