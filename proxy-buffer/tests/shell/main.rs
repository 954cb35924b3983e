//! The TCP shell on real sockets, before backends that only pretend to sleep.

mod drain;
mod failure;
mod hold;
mod park;
mod relay;
mod time;
mod world;
