//! What a user-mode link is made with.

use std::net::Ipv4Addr;

use crate::virtio::net::config::{MacAddress, NetConfig, NetConfigError};

/// Our own address on the link: gateway and only neighbour of the guest.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The guest's address.
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Our Ethernet address.
pub(crate) const HOST_MAC: MacAddress = MacAddress([0x52, 0x55, 0x0a, 0x00, 0x02, 0x02]);

/// The most connections that can be asked for; half of the ports that connections are named by.
const CONNECTIONS: usize = 16_384;

/// Connections to a port of the guest that are kept open ahead of their use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    /// The guest's TCP port.
    pub port: u16,
    /// How many.
    pub count: usize,
}

/// What becomes of connections and datagrams that the guest starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EgressPolicy {
    /// TCP is answered with a reset, everything else with silence; both are counted.
    #[default]
    Deny,
}

/// A user-mode link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserNetConfig {
    /// The guest's device: its address and MTU. Use the same value for the device itself.
    pub net: NetConfig,
    /// Connections to keep open ahead; none unless told otherwise.
    pub spares: Vec<Spare>,
    /// The most connections at a time, spares not counted: up to 16,384; 1,024 unless told otherwise.
    pub max_connections: usize,
    /// The most connections that wait for the guest's answer at a time; the others take turns. At least 1; 8 unless
    /// told otherwise.
    pub max_handshakes: usize,
    /// What the guest may start itself.
    pub egress: EgressPolicy,
}

impl Default for UserNetConfig {
    fn default() -> Self {
        UserNetConfig {
            net: NetConfig::default(),
            spares: Vec::new(),
            max_connections: 1024,
            max_handshakes: 8,
            egress: EgressPolicy::Deny,
        }
    }
}

impl UserNetConfig {
    /// Sets the guest's device.
    #[must_use]
    pub const fn device(mut self, net: NetConfig) -> Self {
        self.net = net;
        self
    }

    /// Keeps `count` connections to TCP port `port` of the guest open ahead.
    #[must_use]
    pub fn spare(mut self, port: u16, count: usize) -> Self {
        self.spares.push(Spare { port, count });
        self
    }

    /// Sets the most connections at a time.
    #[must_use]
    pub const fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Sets the most connections that wait for the guest's answer at a time.
    #[must_use]
    pub const fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count;
        self
    }

    pub(crate) fn check(&self) -> Result<(), UserNetError> {
        self.net.check()?;
        let spares = self
            .spares
            .iter()
            .fold(0usize, |sum, spare| sum.saturating_add(spare.count));
        if self.max_connections > CONNECTIONS || spares > CONNECTIONS {
            return Err(UserNetError::Connections {
                connections: self.max_connections,
                spares,
            });
        }
        if self.max_handshakes == 0 {
            return Err(UserNetError::Handshakes);
        }
        let mut ports: Vec<u16> = self.spares.iter().map(|spare| spare.port).collect();
        ports.sort_unstable();
        let repeated = ports
            .iter()
            .zip(ports.iter().skip(1))
            .find(|(port, next)| port == next);
        match repeated {
            Some((&port, _)) => Err(UserNetError::SparePort { port }),
            None => Ok(()),
        }
    }
}

/// A user-mode link could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserNetError {
    /// The guest's device is not described well.
    #[error(transparent)]
    Net(#[from] NetConfigError),
    /// Too many connections.
    #[error(
        "user-mode link: {connections} connections and {spares} spares, up to {CONNECTIONS} each are possible"
    )]
    Connections {
        /// Connections asked for.
        connections: usize,
        /// Spares asked for.
        spares: usize,
    },
    /// No handshake may ever be under way.
    #[error("user-mode link: at least one handshake must be allowed at a time")]
    Handshakes,
    /// A port has spares twice.
    #[error("user-mode link: port {port} is listed twice for spares")]
    SparePort {
        /// The guest's port.
        port: u16,
    },
    /// The system refused a descriptor.
    #[error("user-mode link: create {what}")]
    Create {
        /// What was to be created.
        what: &'static str,
        /// Why it was refused.
        #[source]
        source: std::io::Error,
    },
}
