use scheduler::{OpenConnections, ServiceConfig};

use crate::desk::{Desk, NOTHING, config};

#[test]
fn an_instance_is_parked_with_a_quiet_connection_open_and_woken_by_its_bytes() {
    let mut desk = Desk::awake(config());
    desk.active(1, 5);
    assert_eq!(desk.deadline_ms(), None);
    desk.at(20).quiet(1, 5);
    assert_eq!(desk.at(30).tick(), ["park 1.2"]);
    desk.parked(1, 2);
    assert_eq!(desk.at(99).active(1, 5), ["start 1.3 restore"]);
    assert_eq!(desk.reasons(), ["connection 5 has bytes"]);
    assert_eq!(desk.ready(1, 3), NOTHING);
    assert_eq!(desk.deadline_ms(), None);
}

#[test]
fn bytes_that_come_while_parking_wake_the_instance_once_it_sleeps() {
    let mut desk = Desk::awake(config());
    desk.quiet(1, 5);
    desk.at(10).tick();
    assert_eq!(desk.active(1, 5), NOTHING);
    assert_eq!(desk.parked(1, 2), ["start 1.3 restore"]);
}

#[test]
fn bytes_wake_the_instance_where_the_connection_ends() {
    let mut desk = Desk::new(ServiceConfig {
        max_instances: 2,
        concurrency: 1,
        ..config()
    });
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    desk.ready(2, 1);
    desk.quiet(2, 5);
    desk.done(1);
    desk.done(2);
    assert_eq!(desk.at(10).tick(), ["park 1.2", "park 2.2"]);
    desk.parked(1, 2);
    desk.parked(2, 2);
    assert_eq!(desk.active(2, 5), ["start 2.3 restore"]);
    assert_eq!(desk.queued(3), NOTHING, "the instance on its way has room for it");
}

#[test]
fn where_open_connections_count_the_cooldown_starts_when_the_last_closes() {
    let mut desk = Desk::awake(ServiceConfig {
        connections: OpenConnections::KeepAwake,
        ..config()
    });
    desk.quiet(1, 5);
    assert_eq!(desk.deadline_ms(), None);
    desk.at(50).closed(1, 5);
    assert_eq!(desk.deadline_ms(), Some(60));
}

#[test]
fn closing_an_active_connection_is_its_last_activity() {
    let mut desk = Desk::awake(config());
    desk.active(1, 5);
    desk.at(7).closed(1, 5);
    assert_eq!(desk.deadline_ms(), Some(17));
    desk.at(8).closed(1, 5);
    assert_eq!(desk.deadline_ms(), Some(17), "closing it twice is not");
}
