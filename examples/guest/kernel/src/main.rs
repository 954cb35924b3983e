//! The demo unikernel's image: ring 0 in assembly, an HTTP server in ring 3.

#![no_std]
#![no_main]

extern crate alloc;

mod app;
mod intrinsics;
mod machine;
mod net;
mod server;
mod start;
