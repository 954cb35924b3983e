//! What a VM is made of.

use crate::kernel::Entry;
use crate::memory::layout::MACHINE_VERSION;
use crate::virtio::{NetConfig, UserNetConfig};

/// A VM's shape and devices. Two VMs of equal configuration can take each other's saved state.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VmConfig {
    /// RAM in bytes: a multiple of 4 KiB, from 2 MiB to 512 GiB. Default: 64 MiB. Pages are allocated as they are touched.
    pub memory_bytes: u64,
    /// Kernel command line; the devices' part is appended. Default: empty.
    pub cmdline: String,
    /// Which entry point of the kernel to use. Default: [`Entry::Auto`].
    pub entry: Entry,
    /// The network link, if any. Default: a private link to the host, as [`UserNetConfig`] has it by default.
    pub net: Option<UserNetConfig>,
}

impl Default for VmConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            cmdline: String::new(),
            entry: Entry::default(),
            net: Some(UserNetConfig::default()),
        }
    }
}

impl VmConfig {
    /// Sets the size of RAM.
    #[must_use]
    pub const fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Sets the caller's part of the kernel command line.
    #[must_use]
    pub fn cmdline(mut self, text: impl Into<String>) -> Self {
        self.cmdline = text.into();
        self
    }

    /// Chooses the kernel's entry point.
    #[must_use]
    pub const fn entry(mut self, entry: Entry) -> Self {
        self.entry = entry;
        self
    }

    /// What VMs must have in common to take each other's saved state, as `key = value` pairs to keep beside it: version of the
    /// machine's layout, vCPUs, memory, devices, and the network device's address, MTU and ring size.
    #[must_use]
    pub fn shape(&self) -> [(&'static str, String); 5] {
        let net = self.net.as_ref().map(|net| &net.net);
        let (device, net) = match net {
            Some(net) => {
                let NetConfig { mac, mtu, queue_size } = net;
                (" virtio-net", format!("mac {mac} mtu {mtu} queue {queue_size}"))
            }
            None => ("", "none".to_owned()),
        };
        [
            ("vm.layout", MACHINE_VERSION.to_string()),
            ("vm.vcpus", "1".to_owned()),
            ("vm.memory_bytes", self.memory_bytes.to_string()),
            (
                "vm.devices",
                format!("io-apic serial generation boot-timer{device}"),
            ),
            ("vm.net", net),
        ]
    }

    /// Sets the network link; `None` for a VM without network.
    #[must_use]
    pub fn net(mut self, net: Option<UserNetConfig>) -> Self {
        self.net = net;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(config: &VmConfig) -> Vec<String> {
        config
            .shape()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }

    #[test]
    fn shape_names_all_that_saved_state_depends_on() {
        let mut config = VmConfig::default();
        assert_eq!(
            shape(&config),
            [
                "vm.layout=1",
                "vm.vcpus=1",
                "vm.memory_bytes=67108864",
                "vm.devices=io-apic serial generation boot-timer virtio-net",
                "vm.net=mac 52:54:00:12:34:56 mtu 1500 queue 256",
            ]
        );
        config.net = None;
        let without = shape(&config);
        assert!(without.contains(&"vm.net=none".to_owned()));
        assert!(without.contains(&"vm.devices=io-apic serial generation boot-timer".to_owned()));
    }

    #[test]
    fn what_only_a_boot_looks_at_is_not_part_of_the_shape() {
        let config = VmConfig::default().cmdline("quiet").entry(Entry::Pvh);
        assert_eq!(config.shape(), VmConfig::default().shape());
    }
}
