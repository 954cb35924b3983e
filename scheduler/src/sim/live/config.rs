use std::vec::Vec;

use super::faults::Faults;
use crate::event::Event;
use crate::scheduler::Settings;
use crate::sim::random::{Random, micros};

/// The world around a scheduler: how long things take there, and what goes wrong.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// How long a start takes on average, in microseconds. Default 5 ms.
    pub cold_start_us: u64,
    /// Which share of that, from 0 to 1, is not always the same but exponentially distributed. Default 0.
    pub cold_start_spread: f64,
    /// How long a park takes, in microseconds. Default 0.
    pub park_us: u64,
    /// Cores that starts and requests share; `None`: as many as are wanted. Default `None`.
    pub cores: Option<u32>,
    /// Nodes, each as [`limits.node`](crate::LimitsConfig::node) of the settings says; each can be lost. Default 1.
    pub nodes: u64,
    /// What goes wrong. Default: nothing.
    pub faults: Faults,
    /// How often the scheduler is told what there is, in microseconds, if anything can go wrong. Default 5 s.
    pub inventory_us: u64,
    /// How long a request may take until it is served or refused, in microseconds; later ones are counted. Default 30 s
    /// and the time between two inventories.
    pub deadline_us: u64,
    /// Every rule of the scheduler is checked after so many events; 0: never. Default 10,000.
    pub check_every: u64,
    /// What the scheduler is told besides, and when, in microseconds: changes of configuration. Nothing of it is lost.
    /// Default: nothing.
    pub script: Vec<(u64, Event)>,
    /// Where random numbers begin. Default 7.
    pub seed: u64,
    /// How the scheduler is made.
    pub settings: Settings,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            cold_start_us: 5_000,
            cold_start_spread: 0.0,
            park_us: 0,
            cores: None,
            nodes: 1,
            faults: Faults::default(),
            inventory_us: 5_000_000,
            deadline_us: 35_000_000,
            check_every: 10_000,
            script: Vec::new(),
            seed: 7,
            settings: Settings::default(),
        }
    }
}

impl LiveConfig {
    pub(super) fn draw_start_ns(&self, random: &mut Random) -> u64 {
        let spread = self.cold_start_us as f64 * self.cold_start_spread;
        if spread <= 0.0 {
            return self.cold_start_us.saturating_mul(1_000);
        }
        let drawn_us = self.cold_start_us as f64 - spread + random.exponential(spread);
        micros(drawn_us * 1_000.0)
    }
}
