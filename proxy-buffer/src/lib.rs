#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod activate;
mod activation;
mod backend;
mod budget;
mod drain;
mod exchange;
mod gate;
mod hold_error;
mod limits;
mod observe;
mod park;
mod proxy;
mod seating;
mod seats;
mod signal;
mod target;
mod target_handle;
mod tcp;
mod time;

pub use activate::{ActivateError, Activator};
pub use backend::{Backend, Stream, TcpBackend};
pub use drain::DrainReport;
pub use gate::{Epoch, TargetState};
pub use hold_error::{Asked, HoldError, LimitScope, Party, RequestPart};
pub use limits::{InvalidLimits, Limits};
pub use observe::Observer;
pub use park::{Busy, ParkPermit};
pub use proxy::Proxy;
pub use target_handle::{Counters, TargetHandle};
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use tcp::fuzz_http1;
pub use tcp::{OpenConnections, Protocol, Refusal, TcpOptions, WakeOn, http1_refusal, no_refusal};
