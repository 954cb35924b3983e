//! The raw TCP shell: any protocol in which the client speaks first, byte for byte.

mod accept;
mod buffer;
mod head;
mod hold;
mod http1;
mod options;
mod relay;
mod seated;
mod session;
mod stall;
mod talk;

pub(crate) use accept::{LOBBY, serve, serve_connection};
#[cfg(any(test, feature = "fuzz"))]
pub use http1::fuzz_http1;
pub use http1::http1_refusal;
pub use options::{OpenConnections, Protocol, Refusal, TcpOptions, WakeOn, no_refusal};
