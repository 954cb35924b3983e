//! The whole chain: a self-hosted millisecond cloud on micro-VMs, to be run or embedded.
//!
//! [`Platform::start`] boots a guest once, snapshots it, and serves: a request that arrives while the instance sleeps is held
//! by the proxy, the scheduler decides, the instance is restored into a VM made ahead, and answers. Quiet again for its
//! cooldown, it is parked. The pieces are replaceable through [`InstanceHost`], [`GuestLink`] and [`ParkGate`].

pub mod cli;
mod config;
mod controller;
mod demo;
mod front;
mod host;
mod micro_vm;
mod phases;
mod platform;
mod serve;
mod wake_clock;

pub use config::{Config, ConfigError};
pub use controller::{
    Activity, Admitted, ClosedGate, Controller, ControllerError, ParkGate, ServiceSetup, ServiceStatus,
};
pub use host::{GuestLink, HostError, InstanceHost, Parked, Started};
pub use micro_vm::{MicroVmHost, MicroVmOptions, Template, TemplateError};
pub use phases::{Durations, Phase, WakePhases};
pub use platform::{Platform, StartError, Stopped};
