//! HTTP/1.1, server side: bytes in, bytes out.

mod reply;
mod request;
mod route;
mod session;

pub use reply::Status;
pub use request::MAX_HEAD_LEN;
pub use route::Action;
pub use session::{App, MAX_REPLY_LEN, REQUEST_PATIENCE_NS, Scratch, Session};
