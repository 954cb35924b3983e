//! What the scheduler does, seen from outside: events in, actions out.

mod any_event;
mod chaos;
mod configs;
mod connections;
mod counting;
mod desk;
mod explaining;
mod extremes;
mod failures;
mod inventory;
mod ladder;
mod learned;
mod lost;
mod owner;
mod prewakes;
mod reload;
mod replay;
mod scale_out;
mod scale_to_zero;
mod services;
mod soft;
mod stalls;
mod why_not;
