//! Policies and the scheduler over whole traces, in the simulator.

mod bar;
mod cron;
mod split;
