//! What `serve` is told: a TOML file, flags over it, and defaults without either.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// What a second of a request's waiting is worth in seconds of an idle instance's memory, when the quiet time is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dial {
    /// 20: little memory.
    Economy,
    /// 200.
    Balanced,
    /// 2,000: little waiting.
    Latency,
}

/// Configuration of the platform. Every field has a default; unknown fields in a file are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where the service listens; a file may name the host. Default `127.0.0.1:8080`.
    #[serde(deserialize_with = "listen_field")]
    pub listen: SocketAddr,
    /// Guest memory in MiB, 2 to 524,288. Default 64.
    pub memory_mib: u64,
    /// An ELF kernel to run instead of the built-in guest.
    pub kernel: Option<PathBuf>,
    /// Extra kernel command line.
    pub cmdline: String,
    /// TCP port that the guest serves on. Default 80.
    pub guest_port: u16,
    /// Quiet time after which the instance sleeps, in milliseconds, at least 1. Default 100.
    pub cooldown_ms: u64,
    /// In the place of `cooldown_ms`: the quiet time is learned, from when requests come and what parking and waking take, and the
    /// instance wakes before a request that comes by the clock. Default: it is not.
    pub dial: Option<Dial>,
    /// An instance that is in the midst of something sleeps all the same, there, when no client has waited for it for so long; the
    /// next request lets it go on. In milliseconds, 0 (never) to 86,400,000. Default 60,000.
    pub unattended_ms: u64,
    /// VMs made ahead, 1 to 1,024. Default 2.
    pub shells: usize,
    /// Connections to the guest that are kept open ahead, 0 to 64; each saves a wake one TCP handshake. Default 2.
    pub spare_connections: usize,
    /// Where snapshots are kept between runs; without it the instance's state is lost when the platform ends.
    pub state_dir: Option<PathBuf>,
    /// Longest wait of a held connection, in milliseconds. Default 10,000.
    pub hold_ms: u64,
    /// Most connections held while the instance wakes. Default 1,024.
    pub max_held: usize,
    /// New connections whose first request the guest has not begun to answer, 1 to 16,384; more wait, as many as `max_held` and as
    /// long as `hold_ms`. Default 256: the built-in guest takes 512 connections, and ends idle ones for new ones.
    pub guest_connections: usize,
    /// Longest time in which a request makes no progress: its head from first byte to last, or between two bytes of its body. In
    /// milliseconds, 1 to 3,600,000. Default 30,000.
    pub request_ms: u64,
    /// Longest time in which an answer makes no progress, in milliseconds, 1 to 86,400,000. Default 60,000.
    pub answer_ms: u64,
    /// How long draining may take, in milliseconds. Default 10,000.
    pub drain_ms: u64,
    /// Longest time a guest may take from its first instruction to serving, in milliseconds. Default 30,000.
    pub boot_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            memory_mib: 64,
            kernel: None,
            cmdline: String::new(),
            guest_port: 80,
            cooldown_ms: 100,
            dial: None,
            unattended_ms: 60_000,
            shells: 2,
            spare_connections: 2,
            state_dir: None,
            hold_ms: 10_000,
            max_held: 1024,
            guest_connections: 256,
            request_ms: 30_000,
            answer_ms: 60_000,
            drain_ms: 10_000,
            boot_ms: 30_000,
        }
    }
}

/// The address that `text` says, as `HOST:PORT`. A host with several addresses is listened on at its first IPv4 address.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    const EXAMPLES: &str =
        "write HOST:PORT, for example 127.0.0.1:8080, localhost:8080, or 0.0.0.0:8080 for every network";
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {}
        _ => return Err(format!("{text:?} does not say where to listen: {EXAMPLES}")),
    }
    let found: Vec<_> = text
        .to_socket_addrs()
        .map_err(|error| format!("find the host of {text:?}: {error}; {EXAMPLES}"))?
        .collect();
    let first = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    first
        .copied()
        .ok_or_else(|| format!("{text:?} names a host without an address; {EXAMPLES}"))
}

fn listen_field<'de, D: Deserializer<'de>>(field: D) -> Result<SocketAddr, D::Error> {
    listen_address(&String::deserialize(field)?).map_err(D::Error::custom)
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read configuration {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be; the cause names line and column.
    #[error("configuration {}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// Values are out of range.
    #[error("configuration: {}", .0.join("; "))]
    Values(
        /// Every problem, each with its field.
        Vec<String>,
    ),
}

impl Config {
    /// Reads `path`.
    ///
    /// # Errors
    /// The file cannot be read, or is no configuration. Values are checked by [`validate`](Self::validate).
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Checks every value.
    ///
    /// # Errors
    /// All problems at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut within = |field: &str, value: u64, range: std::ops::RangeInclusive<u64>| {
            if !range.contains(&value) {
                problems.push(format!(
                    "{field} is {value}, must be from {} to {}",
                    range.start(),
                    range.end()
                ));
            }
        };
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        within("memory_mib", self.memory_mib, 2..=512 * 1024);
        within("guest_port", u64::from(self.guest_port), 1..=65_535);
        within("cooldown_ms", self.cooldown_ms, 1..=86_400_000);
        within("unattended_ms", self.unattended_ms, 0..=86_400_000);
        within("shells", count(self.shells), 1..=1024);
        within("spare_connections", count(self.spare_connections), 0..=64);
        within("hold_ms", self.hold_ms, 1..=3_600_000);
        within("max_held", count(self.max_held), 1..=16_384);
        within("guest_connections", count(self.guest_connections), 1..=16_384);
        within("request_ms", self.request_ms, 1..=3_600_000);
        within("answer_ms", self.answer_ms, 1..=86_400_000);
        within("drain_ms", self.drain_ms, 0..=3_600_000);
        within("boot_ms", self.boot_ms, 1..=3_600_000);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Values(problems))
        }
    }

    /// `None` is to be learned.
    pub(crate) fn cooldown(&self) -> Option<Duration> {
        let pinned = Duration::from_millis(self.cooldown_ms);
        self.dial.is_none().then_some(pinned)
    }

    pub(crate) const fn dial(&self) -> scheduler::Dial {
        match self.dial {
            Some(Dial::Economy) => scheduler::Dial::Economy,
            Some(Dial::Balanced) | None => scheduler::Dial::Balanced,
            Some(Dial::Latency) => scheduler::Dial::Latency,
        }
    }

    pub(crate) const fn unattended(&self) -> Option<Duration> {
        match self.unattended_ms {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }

    pub(crate) const fn hold(&self) -> Duration {
        Duration::from_millis(self.hold_ms)
    }

    pub(crate) const fn request(&self) -> Duration {
        Duration::from_millis(self.request_ms)
    }

    pub(crate) const fn answer(&self) -> Duration {
        Duration::from_millis(self.answer_ms)
    }

    pub(crate) const fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    pub(crate) const fn boot(&self) -> Duration {
        Duration::from_millis(self.boot_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::causes;

    #[test]
    fn an_empty_file_is_the_default() {
        let config: Config = toml::from_str("").unwrap();
        config.validate().unwrap();
        assert_eq!(config.listen.port(), 8080);
    }

    #[test]
    fn both_readmes_show_every_field_with_its_default() {
        for readme in [include_str!("../README.md"), include_str!("../../../README.md")] {
            let (_, rest) = readme.split_once("```toml\n").unwrap();
            let (file, _) = rest.split_once("```").unwrap();
            let shown: Config = toml::from_str(file).unwrap();
            let default = Config::default();
            assert_eq!(format!("{shown:?}"), format!("{default:?}"));
            // Fields without a default value are shown as comments.
            let shown = file.replace("# ", "");
            for line in format!("{default:#?}").lines() {
                let Some((field, _)) = line.trim().split_once(": ") else {
                    continue;
                };
                let is_shown = shown.lines().any(|line| line.starts_with(&format!("{field} = ")));
                assert!(is_shown, "{field} is not in the README");
            }
        }
    }

    #[test]
    fn an_address_to_listen_on_may_be_a_name_and_what_is_none_is_told_with_examples() {
        let local = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(listen_address("localhost:8080"), Ok(local));
        assert_eq!(listen_address("127.0.0.1:8080"), Ok(local));
        assert!(listen_address("[::1]:0").unwrap().is_ipv6());
        for wrong in [
            "8080",
            ":8080",
            "localhost",
            "127.0.0.1",
            "localhost:",
            "localhost:99999",
            "",
        ] {
            let message = listen_address(wrong).unwrap_err();
            assert!(
                message.contains("for example 127.0.0.1:8080"),
                "{wrong}: {message}"
            );
        }
        let config: Config = toml::from_str("listen = \"localhost:8080\"").unwrap();
        assert_eq!(config.listen, local);
        let error = toml::from_str::<Config>("listen = \":8080\"").unwrap_err();
        assert!(
            error.to_string().contains("for example 127.0.0.1:8080"),
            "{error}"
        );
    }

    #[test]
    fn every_bad_value_is_named() {
        let config: Config = toml::from_str("memory_mib = 1\ncooldown_ms = 0\nshells = 0").unwrap();
        let message = config.validate().unwrap_err().to_string();
        for field in ["memory_mib is 1", "cooldown_ms is 0", "shells is 0"] {
            assert!(message.contains(field), "{message}");
        }
    }

    #[test]
    fn a_dial_takes_the_place_of_the_cooldown() {
        let config: Config = toml::from_str("dial = \"economy\"").unwrap();
        assert_eq!(
            (config.cooldown(), config.dial()),
            (None, scheduler::Dial::Economy)
        );
        let error = toml::from_str::<Config>("dial = \"fast\"").unwrap_err();
        assert!(
            error.to_string().contains("`economy`, `balanced`, `latency`"),
            "{error}"
        );
    }

    #[test]
    fn a_misspelt_field_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "memory_mib = 64\ncooldwon_ms = 5\n").unwrap();
        let message = causes(&Config::read(&path).unwrap_err());
        for part in ["line 2", "unknown field `cooldwon_ms`"] {
            assert_eq!(message.matches(part).count(), 1, "{message}");
        }
    }
}
