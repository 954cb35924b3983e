//! A platform in this process, for tests that watch what it does.

use std::net::SocketAddr;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use platform::{Activity, Config, Platform, ServiceStatus, Stopped};
use tokio::runtime::Runtime;

use crate::client::{Client, Reply, TIMEOUT, get};

/// Shared by all tests of this process, as an embedder would.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
});

/// A platform that serves the built-in guest.
#[derive(Debug)]
pub(crate) struct Service {
    platform: Platform,
}

/// The default, on a free port, changed by `change`.
pub(crate) fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.memory_mib = 32;
    change(&mut config);
    config
}

impl Service {
    pub(crate) fn start(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let platform = RUNTIME.block_on(Platform::start(config(change)))?;
        Ok(Self { platform })
    }

    /// The error that starting ends with.
    pub(crate) fn refused(change: impl FnOnce(&mut Config)) -> Result<String> {
        match RUNTIME.block_on(Platform::start(config(change))) {
            Ok(_) => anyhow::bail!("the platform has started"),
            Err(error) => Ok(format!("{:#}", anyhow::Error::from(error))),
        }
    }

    pub(crate) fn platform(&self) -> &Platform {
        &self.platform
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.platform.addr()
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.addr())
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Result<Reply> {
        get(self.addr(), path)
    }

    pub(crate) fn status(&self) -> ServiceStatus {
        *self.platform.status().borrow()
    }

    /// Waits until the status is as `is_it` wants it.
    pub(crate) fn wait(
        &self,
        what: &str,
        is_it: impl FnMut(&ServiceStatus) -> bool,
    ) -> Result<ServiceStatus> {
        let mut status = self.platform.status();
        let waited = RUNTIME.block_on(async {
            tokio::time::timeout(TIMEOUT, status.wait_for(is_it))
                .await
                .map(|status| status.map(|status| *status))
        });
        let last = self.status();
        let status = waited.with_context(|| format!("not {what}: {last:?}, {}", self.platform.why()))?;
        Ok(status?)
    }

    /// Waits until the instance sleeps.
    pub(crate) fn asleep(&self) -> Result<ServiceStatus> {
        self.wait("asleep", |status| status.activity == Activity::Asleep)
    }

    pub(crate) fn stop(self) -> Result<Stopped> {
        Ok(RUNTIME.block_on(self.platform.shut_down())?)
    }
}
