//! The ends of what can be told: times.

use std::time::Duration;

use scheduler::{KpaConfig, ScaleMode, Timestamp};

use crate::desk::{Desk, NOTHING, config};

const LAST: Timestamp = Timestamp::from_nanos(u64::MAX);

#[test]
fn at_the_end_of_time_a_tick_ends_too() {
    let mut knative = config();
    knative.scale.mode = ScaleMode::Kpa(KpaConfig::default());
    let mut desk = Desk::awake(knative);
    desk.now = LAST;
    desk.tick();
    let mut patient = config();
    patient.queue.max_wait = Duration::MAX;
    patient.start.timeout = Duration::MAX;
    let mut desk = Desk::new(patient);
    desk.queued(1);
    desk.now = LAST;
    assert_eq!(desk.tick(), NOTHING, "never is not over");
    assert_eq!(desk.ready(1, 1), ["admit 1 to 1"]);
}
