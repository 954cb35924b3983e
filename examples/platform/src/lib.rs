#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod aside;
mod causes;
pub mod cli;
mod config;
mod controller;
mod demo;
mod descriptors;
mod front;
mod guest_stream;
mod host;
mod kernel_file;
mod learned;
mod line_sink;
mod micro_vm;
mod pace;
mod parts;
mod phases;
mod platform;
mod scratch;
mod serve;
mod start_error;
mod state_dir;
mod vitals;
mod wake_clock;

pub use config::{Config, ConfigError, Dial};
pub use controller::{
    Activity, Admitted, ClosedGate, Controller, ControllerError, ParkGate, ServiceSetup, ServiceStatus,
};
pub use host::{Fate, GuestLink, HostError, InstanceHost, ParkMode, Parked, Started, Verdict};
pub use kernel_file::KernelFileError;
pub use micro_vm::{MicroVmHost, MicroVmOptions, Template, TemplateError};
pub use phases::{Durations, Phase, WakePhases};
pub use platform::{Platform, StartStep, Stopped};
pub use start_error::StartError;
