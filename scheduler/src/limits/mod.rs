mod aside;
mod ask;
mod audit;
mod blocked;
mod bucket;
mod cache;
mod charging;
mod config;
mod gate;
mod keeping;
mod leaving;
mod line;
mod node;
mod nodes;
mod pace;
mod pressure;
mod rate;
mod reserve;
mod rotation;
mod tenants;
mod view;

#[cfg(test)]
mod tests;

pub use blocked::{Blocked, Scope};
pub use config::{LimitsConfig, NodeConfig, TenantConfig};
pub use pressure::BrownOut;
pub use rate::RateLimit;
pub use view::NodeView;

pub(crate) use ask::{Ask, Next};
pub(crate) use audit::Tally;
pub(crate) use cache::{Sleeper, Worth};
pub(crate) use gate::Gate;
pub(crate) use leaving::Write;
pub(crate) use node::{Charge, Class, Purpose};
pub(crate) use nodes::Spot;
pub(crate) use pace::Pace;
pub(crate) use reserve::Lacking;
pub(crate) use rotation::{Head, Ticket};
