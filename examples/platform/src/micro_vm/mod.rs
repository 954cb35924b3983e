//! Instances as micro-VMs in this process.

mod host;
mod link;
mod parked;
mod template;

pub use host::{MicroVmHost, MicroVmOptions};
pub(crate) use template::wait_until_serving;
pub use template::{Template, TemplateError};
