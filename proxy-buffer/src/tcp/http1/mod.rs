//! HTTP/1 as far as the proxy must understand it: where messages end, whose turn it is, and how to turn a client away.

mod conversation;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod refusal;
mod scanner;
#[cfg(test)]
mod tests;

pub(super) use conversation::{Conversation, Upgraded};
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_http1;
pub use refusal::http1_refusal;
