//! The whole device without KVM: sockets, `UserNet`, virtqueues, and smoltcp as the guest behind them.

mod nic;
mod saving;
mod spares;
mod stalled;
mod streams;
