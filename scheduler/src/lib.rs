#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "sim")]
extern crate std;

mod action;
mod breaker;
mod config;
mod context;
mod deployment;
mod event;
mod explain;
mod few;
mod fleet;
mod ids;
mod instance;
mod invariants;
mod inventory;
mod ladder;
mod limits;
mod log;
mod policy;
mod problem;
mod random;
mod reason;
mod registry;
mod requests;
mod scale;
mod scheduler;
mod service;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
mod timers;
mod units;
mod why_not;

pub use action::{Action, Command, ParkLevel, StartKind};
pub use config::{
    OpenConnections, QueueConfig, ResourceConfig, Restart, ScaleToZero, ServiceConfig, ServiceConfigBuilder,
    StartConfig, StartSource, UnknownScaleToZero, ValidConfig,
};
pub use context::ClockFaults;
pub use deployment::Deployment;
pub use event::Event;
pub use explain::{Counters, Explanation, InstanceView};
pub use ids::{ActionId, ConnectionId, Epoch, InstanceId, NodeId, RequestId, ServiceId, TenantId};
pub use instance::{Activity, Phase};
pub use invariants::Violation;
pub use inventory::{InstanceReport, Inventory};
pub use ladder::{Costs, Dial, LadderConfig, Rung, RungCost};
pub use limits::{Blocked, BrownOut, LimitsConfig, NodeConfig, NodeView, RateLimit, Scope, TenantConfig};
pub use log::Decision;
pub use policy::{
    Basis, Bound, BreakEven, Cooldown, Idle, LearnedSki, Observation, Plan, Policy, Prewake, RestoreError,
    Rhythm, Seen, SkiRental,
};
pub use problem::Problem;
pub use reason::Reason;
pub use scale::{
    Adjustment, CountBasis, CountRole, Flapping, KpaConfig, KpaMetric, Metric, Milli, ScaleConfig, ScaleMode,
    Staffing, Step, StepError, StepPolicy, TargetBurst, TargetTracking,
};
pub use scheduler::{Scheduler, Settings};
pub use time::Timestamp;
pub use why_not::{NoStart, NoStop, Stays, WhyNot};
