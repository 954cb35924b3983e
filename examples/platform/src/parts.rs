//! What the configuration means to each part of the platform.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proxy_buffer::Limits;
use scheduler::{LadderConfig, QueueConfig, ServiceConfig, StartConfig, StartSource};
use vmm_core::{UserNetConfig, VmConfig};

use crate::config::Config;
use crate::descriptors::connections_total;
use crate::kernel_file::{self, KernelFileError};
use crate::learned::LearnedFile;
use crate::micro_vm::MicroVmOptions;

/// As many as the proxy lets in by default, and the most that a link takes: nobody is let in and then refused.
const LINK_CONNECTIONS: usize = 16 * 1024;
/// What connecting may take beside the wait for others.
const CONNECT_MARGIN: Duration = Duration::from_secs(5);
/// What a start may take beside the time that the guest has for booting.
const BOOT_MARGIN: Duration = Duration::from_secs(5);

/// To the proxy.
pub(crate) fn limits(config: &Config) -> Limits {
    Limits {
        held_connections: config.max_held,
        hold_time: config.hold(),
        // The doors of the guest open earlier, or say why not.
        connect_time: config.hold() + CONNECT_MARGIN,
        request_time: config.request(),
        answer_time: config.answer(),
        connections_total: connections_total(config.shells),
        ..Limits::default()
    }
}

/// To the scheduler.
pub(crate) fn scaling(config: &Config) -> ServiceConfig {
    ServiceConfig {
        cooldown: config.cooldown(),
        ladder: LadderConfig {
            dial: config.dial(),
            ..LadderConfig::default()
        },
        start_from: StartSource::Snapshot,
        queue: QueueConfig {
            max_wait: config.hold(),
            ..QueueConfig::default()
        },
        start: StartConfig {
            timeout: config.boot() + BOOT_MARGIN,
            ..StartConfig::default()
        },
        ..ServiceConfig::default()
    }
}

/// The kernel to run.
pub(crate) fn kernel(config: &Config) -> Result<Arc<[u8]>, KernelFileError> {
    match &config.kernel {
        Some(path) => kernel_file::read(path),
        None => Ok(guest::ELF.into()),
    }
}

/// Where what is learned is kept between runs, if anything is learned and kept.
pub(crate) fn learned(config: &Config) -> Option<LearnedFile> {
    let dir = config.state_dir.as_deref().filter(|_| config.dial.is_some())?;
    Some(LearnedFile::new(dir))
}

/// To the host of the instances, which keeps their snapshots in `dir`.
pub(crate) fn host(config: &Config, kernel: Arc<[u8]>, dir: &Path) -> MicroVmOptions {
    let net = UserNetConfig::default()
        .spare(config.guest_port, config.spare_connections)
        .max_connections(LINK_CONNECTIONS);
    let vm = VmConfig::default()
        .memory_bytes(config.memory_mib << 20)
        .cmdline(config.cmdline.clone())
        .net(Some(net));
    MicroVmOptions {
        vm,
        kernel,
        port: config.guest_port,
        shells: config.shells,
        boot_timeout: config.boot(),
        dir: dir.to_owned(),
        keep: config.state_dir.is_some(),
    }
}
