//! Nobody is woken for somebody expected on a node that is short of memory.

use scheduler::{
    Basis, BrownOut, Command, Event, Idle, LadderConfig, NodeConfig, NodeId, ParkLevel, Plan, Policy,
    Prewake, ResourceConfig, Rhythm, Rung, RungCost, ServiceConfig,
};

use crate::desk::{Desk, config, ms};

const MIB: u64 = 1 << 20;

/// Asleep after 10 ms, perhaps stopped after 20, expected after 100.
struct Expecting {
    then: Rung,
}

impl Policy for Expecting {
    fn plan(&mut self, _: &ServiceConfig, idle: &Idle) -> Plan {
        let prewake = Prewake::new(idle.since + ms(100), ms(20), Rhythm::default());
        Plan::stay(Basis::Cooldown)
            .then(Rung::Park(ParkLevel::Ram), ms(10))
            .then(self.then, ms(if self.then == Rung::Stop { 20 } else { 10 }))
            .with_prewake((prewake.at > idle.now).then_some(prewake))
    }
}

/// Two nodes of 100 MiB, and instances of 60 MiB.
fn desk(then: Rung) -> Desk<Expecting> {
    let config = ServiceConfig {
        max_instances: 2,
        concurrency: 1,
        resources: ResourceConfig {
            memory_bytes: 60 * MIB,
            ..ResourceConfig::default()
        },
        ladder: LadderConfig {
            stop: Some(RungCost::STOP),
            ..LadderConfig::default()
        },
        ..config()
    };
    let mut desk = Desk::with(config, Expecting { then });
    for node in [NodeId(0), NodeId(1)] {
        let config = NodeConfig::with_memory(100 * MIB);
        desk.event(Event::NodeUp { node, config });
    }
    desk
}

fn short_of_memory(desk: &mut Desk<Expecting>, node: NodeId) {
    desk.event(Event::MemoryPressure {
        node,
        available_bytes: 8 * MIB,
    });
    let view = desk.scheduler.node(node).expect("it is up");
    assert_eq!(view.brown_out, BrownOut::NoPrewakes);
}

/// Where an instance is woken for who is expected.
fn woken(desk: &mut Desk<Expecting>) -> Option<NodeId> {
    desk.at(100).tick();
    desk.actions.iter().find_map(|action| match action.command {
        Command::Start { node, .. } => Some(node),
        _ => None,
    })
}

/// Where two instances that sleep on two nodes let one be woken.
fn woken_of_two(short: Option<NodeId>) -> Option<NodeId> {
    let mut desk = desk(Rung::Park(ParkLevel::Ram));
    for request in [1, 2] {
        desk.queued(request);
        desk.ready(request, 1);
    }
    desk.done(1);
    desk.done(2);
    desk.at(10).tick();
    desk.parked(1, 2);
    desk.parked(2, 2);
    if let Some(node) = short {
        short_of_memory(&mut desk, node);
    }
    woken(&mut desk)
}

#[test]
fn memory_counts_where_the_instance_sleeps() {
    let there = woken_of_two(None).expect("somebody is expected");
    let elsewhere = NodeId(1 - there.0);
    assert_eq!(woken_of_two(Some(there)), None);
    assert_eq!(woken_of_two(Some(elsewhere)), Some(there));
}

/// Where an instance is started that was stopped on `ran_on`.
fn woken_anew(ran_on: NodeId, short: NodeId) -> Option<NodeId> {
    let mut desk = desk(Rung::Stop);
    let other = NodeId(1 - ran_on.0);
    desk.event(Event::NodeDown { node: other });
    desk.queued(1);
    desk.ready(1, 1);
    desk.done(1);
    desk.at(10).tick();
    desk.parked(1, 2);
    desk.at(20).tick();
    desk.exited(1, 3);
    let config = NodeConfig::with_memory(100 * MIB);
    desk.event(Event::NodeUp { node: other, config });
    short_of_memory(&mut desk, short);
    woken(&mut desk)
}

#[test]
fn without_a_sleeping_instance_memory_counts_where_one_ran_last() {
    for ran_on in [NodeId(0), NodeId(1)] {
        let other = NodeId(1 - ran_on.0);
        assert_eq!(woken_anew(ran_on, ran_on), None);
        assert_eq!(woken_anew(ran_on, other), Some(ran_on));
    }
}
