//! HTTP/1 as far as the proxy must understand it: where messages end, whose turn it is, and how to turn a client away.

mod conversation;
mod refusal;
mod scanner;
#[cfg(test)]
mod tests;

pub(super) use conversation::{Conversation, Upgraded};
pub use refusal::http1_refusal;
