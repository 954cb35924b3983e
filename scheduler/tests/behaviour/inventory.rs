use scheduler::{
    ActionId, Activity, ConnectionId, Event, InstanceId, InstanceReport, Inventory, NodeConfig, NodeId,
    Phase, RequestId, ScaleConfig, Scheduler, ServiceConfig, ServiceId, Settings, Timestamp,
};

use crate::desk::{Desk, NOTHING, SERVICE, config, inventory, report};

#[test]
fn an_instance_that_is_listed_twice_is_taken_over_once() {
    for first_instance in [1, 1_000] {
        let settings = Settings {
            first_instance: InstanceId(first_instance),
            ..Settings::default()
        };
        let mut desk = Desk::new(config());
        desk.scheduler = Scheduler::new(&settings);
        desk.configure(config());
        let twice = vec![report(5, 3, Phase::Running, &[1]); 2];
        assert_eq!(desk.event(inventory(0, &[], twice)), NOTHING);
        let why = desk.scheduler.why(SERVICE).expect("it is configured");
        assert_eq!((why.instances.len(), why.instances[0].in_flight), (1, 1));
        desk.exited(5, 3);
    }
}

#[test]
fn an_instance_may_sleep_on_a_node_that_nobody_announced() {
    let mut desk = Desk::new(config());
    let mut there = report(5, 3, Phase::Parked, &[]);
    there.node = NodeId(7);
    assert_eq!(desk.event(inventory(0, &[], vec![there])), NOTHING);
    assert_eq!(desk.queued(1), NOTHING, "its state is on a node that is down");
    let config = NodeConfig::default();
    let node = NodeId(7);
    assert_eq!(desk.event(Event::NodeUp { node, config }), ["start 5.4 restore"]);
}

#[test]
fn an_instance_whose_id_leaves_none_for_others_is_stopped() {
    let mut desk = Desk::new(config());
    let last = inventory(0, &[], vec![report(u64::MAX, 0, Phase::Running, &[])]);
    assert_eq!(desk.event(last), [format!("stop {}.1", u64::MAX)]);
    assert_eq!(desk.queued(1), ["start 1.1 boot"]);
}

#[test]
fn an_epoch_that_leaves_none_for_commands_is_not_taken_over() {
    let mut desk = Desk::awake(config());
    let last = |instance| inventory(9, &[], vec![report(instance, u64::MAX, Phase::Running, &[])]);
    desk.event(last(1));
    assert_eq!(desk.at(10).tick(), ["park 1.2"], "a command the owner takes");

    let mut desk = Desk::new(config());
    assert_eq!(desk.event(last(5)), NOTHING, "it could not be told anything");
    assert_eq!(
        desk.scheduler
            .why(SERVICE)
            .expect("it is configured")
            .instances
            .len(),
        0
    );
    assert_eq!(desk.scheduler.ignored_events(), 1);
}

#[test]
fn of_instances_that_are_gone_together_none_is_given_what_another_one_had() {
    let config = ServiceConfig {
        max_instances: 2,
        concurrency: 1,
        ..config()
    };
    let mut desk = Desk::new(config);
    desk.queued(1);
    desk.queued(2);
    desk.ready(1, 1);
    desk.ready(2, 1);
    desk.queued(3);
    assert_eq!(desk.event(inventory(4, &[3], vec![])), NOTHING);
    assert_eq!(desk.at(20).tick(), ["start 3.1 boot"]);
    assert_eq!(desk.ready(3, 1), ["admit 3 to 3"]);
}

#[test]
fn a_lost_ready_is_repaired() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    assert_eq!(
        desk.event(inventory(1, &[1], vec![report(1, 1, Phase::Running, &[])])),
        ["admit 1 to 1"]
    );
}

#[test]
fn a_lost_park_answer_is_repaired_either_way() {
    for (phase, expected) in [
        (Phase::Parked, "start 1.3 restore"),
        (Phase::Running, "admit 1 to 1"),
    ] {
        let mut desk = Desk::awake(config());
        desk.at(10).tick();
        desk.queued(1);
        assert_eq!(
            desk.event(inventory(3, &[1], vec![report(1, 2, phase, &[])])),
            [expected]
        );
    }
}

#[test]
fn a_lost_end_of_a_request_is_repaired_and_the_instance_may_sleep() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    assert_eq!(
        desk.event(inventory(3, &[], vec![report(1, 1, Phase::Running, &[])])),
        NOTHING
    );
    assert_eq!(desk.deadline_ms(), Some(10));
}

#[test]
fn an_inventory_from_before_an_admission_does_not_end_its_request() {
    let mut desk = Desk::awake(ServiceConfig {
        concurrency: 1,
        ..config()
    });
    assert_eq!(desk.queued(1), ["admit 1 to 1"]);
    let before = inventory(2, &[], vec![report(1, 1, Phase::Running, &[])]);
    assert_eq!(desk.event(before), NOTHING);
    assert_eq!(desk.queued(2), NOTHING, "the only slot is taken");
}

#[test]
fn a_lost_admission_is_repeated_and_is_no_end() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    let held = inventory(3, &[1], vec![report(1, 1, Phase::Running, &[])]);
    assert_eq!(desk.event(held), ["admit 1 to 1"]);
    let counters = desk.scheduler.why(SERVICE).expect("it is configured").counters;
    assert_eq!((counters.queued, counters.done), (2, 1), "one request before it");
}

#[test]
fn a_lost_request_is_repaired() {
    let mut desk = Desk::asleep(config());
    assert_eq!(
        desk.event(inventory(3, &[5], vec![report(1, 2, Phase::Parked, &[])])),
        ["start 1.3 restore"]
    );
}

#[test]
fn a_lost_death_is_repaired() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    assert_eq!(desk.event(inventory(3, &[], vec![])), NOTHING);
    assert_eq!(desk.at(20).queued(2), ["start 2.1 boot"]);
}

#[test]
fn a_start_that_left_nothing_is_repeated_and_what_is_told_of_it_late_is_not_believed() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    assert_eq!(desk.event(inventory(1, &[1], vec![])), ["start 1.2 boot"]);
    assert_eq!(desk.reasons(), ["action 1 went unheard"]);
    assert_eq!(
        desk.failed(1, 1),
        NOTHING,
        "it was heard, and failed: the next one starts all the same"
    );
    assert_eq!(desk.ready(1, 2), ["admit 1 to 1"]);
}

#[test]
fn a_command_an_instance_never_got_is_repeated_with_its_epoch() {
    let mut desk = Desk::awake(config());
    desk.at(10).tick();
    assert_eq!(
        desk.event(inventory(3, &[], vec![report(1, 1, Phase::Running, &[])])),
        ["park 1.2"]
    );

    let mut desk = Desk::awake(config());
    desk.queued(1);
    assert_eq!(
        desk.event(inventory(3, &[1], vec![report(1, 1, Phase::Running, &[])])),
        ["admit 1 to 1"]
    );
}

#[test]
fn an_inventory_older_than_a_command_does_not_undo_it() {
    let mut desk = Desk::asleep(config());
    desk.queued(1);
    assert_eq!(
        desk.event(inventory(3, &[1], vec![report(1, 2, Phase::Parked, &[])])),
        NOTHING
    );
    assert_eq!(desk.event(inventory(3, &[], vec![])), NOTHING);
    desk.ready(1, 3);
    assert_eq!(
        desk.event(inventory(4, &[1], vec![report(1, 3, Phase::Running, &[])])),
        NOTHING
    );
    assert_eq!(desk.done(1), NOTHING, "it was in flight all the time");
    assert_eq!(desk.scheduler.ignored_events(), 0);
}

#[test]
fn an_inventory_that_agrees_changes_nothing() {
    let mut desk = Desk::awake(config());
    let before = format!("{:?}", desk.scheduler);
    desk.event(inventory(2, &[], vec![report(1, 1, Phase::Running, &[])]));
    assert_eq!(format!("{:?}", desk.scheduler), before);
}

#[test]
fn a_restarted_scheduler_takes_over_what_runs_and_what_sleeps() {
    let mut desk = Desk::new(ServiceConfig {
        max_instances: 3,
        concurrency: 1,
        ..config()
    });
    desk.at(100);
    let found = vec![
        report(41, 7, Phase::Parked, &[]),
        report(42, 3, Phase::Running, &[9]),
    ];
    assert_eq!(desk.event(inventory(0, &[], found)), NOTHING);
    assert_eq!(desk.queued(10), ["start 41.8 restore"]);
    assert_eq!(
        desk.queued(11),
        ["start 43.1 boot"],
        "ids of others are not used again"
    );
    assert_eq!(desk.done(9), ["admit 10 to 42"]);
}

/// Three at first and one always, found like this by a scheduler that knows nothing.
fn adopted(found: Vec<InstanceReport>) -> (Desk, Vec<String>) {
    let scale = ScaleConfig {
        initial_instances: 3,
        ..ScaleConfig::default()
    };
    let config = ServiceConfig {
        min_instances: 1,
        max_instances: 5,
        scale,
        ..config()
    };
    let mut desk = Desk {
        scheduler: Scheduler::new(&Settings::default()),
        now: Timestamp::ZERO,
        actions: Vec::new(),
    };
    let config = config.validate().expect("it is valid");
    let Event::Inventory(inventory) = inventory(0, &[], found) else {
        unreachable!("it is one")
    };
    let actions = desk.event(Event::ServiceAdopted { config, inventory });
    (desk, actions)
}

#[test]
fn initial_instances_are_not_started_again_for_a_service_that_had_them() {
    let starting_again = report(42, 3, Phase::Starting, &[]);
    for found in [report(41, 1, Phase::Running, &[]), starting_again] {
        let (mut desk, actions) = adopted(vec![found]);
        assert_eq!(actions, NOTHING, "not even the least, which is there");
        assert_eq!(desk.at(9_000).tick(), NOTHING);
    }
    let (_, actions) = adopted(vec![report(41, 6, Phase::Parked, &[])]);
    assert_eq!(actions, ["start 41.7 restore"], "the least");
}

#[test]
fn initial_instances_are_not_lost_by_a_restart_before_they_ran() {
    let (mut desk, actions) = adopted(Vec::new());
    assert_eq!(actions.len(), 3);
    let starting = |id| report(id, 1, Phase::Starting, &[]);
    let again = desk.event(inventory(3, &[], vec![starting(1), starting(2), starting(3)]));
    assert_eq!(again, NOTHING);
    let (mut desk, actions) = adopted(vec![starting(41)]);
    assert_eq!(actions, ["start 42.1 boot", "start 43.1 boot"]);
    for id in 41..44 {
        desk.ready(id, 1);
    }
    assert_eq!(desk.at(200).tick().len(), 2, "all but the least fall asleep");
}

#[test]
fn an_adopted_idle_instance_gets_a_whole_cooldown() {
    let mut desk = Desk::new(config());
    desk.at(100)
        .event(inventory(0, &[], vec![report(41, 7, Phase::Running, &[])]));
    assert_eq!(desk.deadline_ms(), Some(110));
}

#[test]
fn more_instances_than_there_may_be_are_ended_when_found() {
    let mut desk = Desk::new(config());
    let found = vec![
        report(41, 7, Phase::Running, &[]),
        report(42, 3, Phase::Parked, &[]),
    ];
    assert_eq!(desk.event(inventory(0, &[], found)), ["stop 42.4"]);
}

#[test]
fn an_instance_that_was_given_up_is_stopped_when_it_turns_up() {
    let mut desk = Desk::new(config());
    desk.queued(1);
    desk.failed(1, 1);
    assert_eq!(
        desk.event(inventory(1, &[1], vec![report(1, 1, Phase::Running, &[])])),
        ["stop 1.2"]
    );
    assert_eq!(desk.reasons(), ["not wanted any more"]);
}

#[test]
fn instances_and_requests_of_an_unknown_service_are_cleared_away() {
    let mut desk = Desk::new(config());
    let instances = vec![report(41, 7, Phase::Running, &[])];
    let inventory = Inventory {
        service: ServiceId(9),
        as_of: ActionId(0),
        waiting: vec![RequestId(1)],
        instances,
    };
    assert_eq!(desk.event(Event::Inventory(inventory)), ["stop 41.8", "shed 1"]);
}

#[test]
fn a_lost_close_of_a_connection_is_repaired() {
    let mut desk = Desk::awake(config());
    desk.active(1, 5);
    let mut quiet = report(1, 1, Phase::Running, &[]);
    quiet.connections = vec![(ConnectionId(5), Activity::Quiet)];
    desk.at(3).event(inventory(2, &[], vec![quiet]));
    assert_eq!(desk.deadline_ms(), Some(13));
}

#[test]
fn an_instance_that_slept_or_woke_unasked_is_taken_as_it_is() {
    let mut desk = Desk::awake(config());
    desk.queued(1);
    assert_eq!(
        desk.event(inventory(3, &[], vec![report(1, 1, Phase::Parked, &[])])),
        NOTHING
    );
    assert_eq!(desk.queued(2), ["start 1.2 restore"]);

    let mut desk = Desk::asleep(config());
    assert_eq!(
        desk.event(inventory(3, &[], vec![report(1, 2, Phase::Running, &[])])),
        NOTHING
    );
    assert_eq!(desk.queued(2), ["admit 2 to 1"]);
}
