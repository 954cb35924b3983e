//! Instances as micro-VMs in this process.

mod ended;
mod host;
mod kept;
mod link;
mod parked;
mod sleep;
mod template;

pub use host::{MicroVmHost, MicroVmOptions};
pub(crate) use template::wait_until_serving;
pub use template::{Template, TemplateError};
