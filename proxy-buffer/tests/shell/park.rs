//! Parking, and connections that survive it.

use std::time::Duration;

use proxy_buffer::{Limits, OpenConnections, TargetState, TcpOptions};
use tokio::io::AsyncWriteExt;

use crate::world::{World, ask, connect, expect, http, reset, rest};

/// A world whose target is awake and quiet, and one client that stays connected.
async fn quiet(world: &World) -> tokio::net::TcpStream {
    let mut client = world.asking("/count").await;
    assert_eq!(expect(&mut client, 200).await, "1");
    world.log.until("quiet", 1).await;
    client
}

#[tokio::test]
async fn a_connection_goes_on_after_the_sleep() {
    let world = World::awake_on_demand().await;
    let mut client = quiet(&world).await;
    for count in 2..10 {
        world.log.until("quiet", count - 1).await;
        world.park();
        assert_eq!(world.target.state(), TargetState::Asleep);
        ask(&mut client, "/count", b"").await;
        assert_eq!(expect(&mut client, 200).await, count.to_string());
        assert_eq!(world.log.count("activate"), count);
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_target_sleeps_wakes_nothing() {
    let world = World::awake_on_demand().await;
    let client = quiet(&world).await;
    let mut other = world.asking("/").await;
    expect(&mut other, 200).await;
    world.log.until("quiet", 2).await;
    world.park();
    drop(client);
    world.log.until("closed", 1).await;
    reset(other);
    world.log.until("closed", 2).await;
    assert_eq!(world.log.count("started"), 1);
    assert_eq!(world.target.state(), TargetState::Asleep);
}

#[tokio::test]
async fn bytes_that_arrive_while_parking_wake_the_target_again() {
    let world = World::asleep().await;
    world.allow_wakes(1);
    let mut client = quiet(&world).await;
    let permit = world.target.try_park(Duration::ZERO).unwrap();
    ask(&mut client, "/count", b"").await;
    let mut fresh = world.asking("/").await;
    world.log.until("held", 3).await;
    assert_eq!(world.log.count("released"), 1, "nothing passes while parking");
    assert_eq!(world.target.state(), TargetState::Parking);
    permit.parked();
    assert_eq!(world.target.state(), TargetState::Waking);
    world.allow_wakes(1);
    assert_eq!(expect(&mut client, 200).await, "2");
    assert_eq!(expect(&mut fresh, 200).await, "hello");
    assert_eq!(world.log.count("activate"), 2);
}

#[tokio::test]
async fn bytes_that_arrive_while_parking_are_forwarded_when_it_is_called_off() {
    let world = World::asleep().await;
    world.allow_wakes(1);
    let mut client = quiet(&world).await;
    let permit = world.target.try_park(Duration::ZERO).unwrap();
    ask(&mut client, "/count", b"").await;
    world.log.until("held", 2).await;
    drop(permit);
    assert_eq!(expect(&mut client, 200).await, "2");
    assert_eq!(world.log.count("activate"), 1);
}

#[tokio::test]
async fn a_backend_lost_while_parking_wakes_anew_for_who_was_held() {
    let world = World::asleep().await;
    world.allow_wakes(2);
    drop(quiet(&world).await);
    world.log.until("closed", 1).await;
    world.log.until("quiet", world.log.count("busy")).await;
    let permit = world.target.try_park(Duration::ZERO).unwrap();
    let mut fresh = world.asking("/").await;
    world.log.until("held", 2).await;
    world.target.backend_lost("the snapshot could not be written");
    permit.parked();
    expect(&mut fresh, 200).await;
    assert_eq!(world.log.count("asleep"), 1, "the overtaken permit has no effect");
}

#[tokio::test]
async fn a_target_is_not_parked_while_a_request_is_unanswered_or_has_just_been_answered() {
    let world = World::awake_on_demand().await;
    assert_eq!(
        world.target.try_park(Duration::ZERO).unwrap_err().state,
        TargetState::Asleep
    );
    let hanging = world.asking("/hang").await;
    world.log.until("released", 1).await;
    assert_eq!(world.target.try_park(Duration::ZERO).unwrap_err().exchanges, 1);
    reset(hanging);
    world.log.until("quiet", 1).await;
    let busy = world.target.try_park(Duration::from_secs(3600)).unwrap_err();
    assert_eq!((busy.state, busy.exchanges), (TargetState::Awake, 0));
    assert!(busy.last_activity_age < Duration::from_secs(3600));
    let permit = world.target.try_park(Duration::ZERO).unwrap();
    assert_eq!(
        world.target.try_park(Duration::ZERO).unwrap_err().state,
        TargetState::Parking
    );
    permit.parked();
}

#[tokio::test]
async fn an_open_connection_can_be_told_to_hold_its_target_awake() {
    let options = TcpOptions {
        open_connections: OpenConnections::HoldAwake,
        ..http()
    };
    let world = World::new(Limits::default(), options).await;
    world.allow_wakes(1);
    let mut client = world.asking("/").await;
    expect(&mut client, 200).await;
    let silent = world.client().await;
    world.log.until("opened", 2).await;
    assert_eq!(world.target.try_park(Duration::ZERO).unwrap_err().exchanges, 1);
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    world.log.until("quiet", 1).await;
    world.park();
    drop(silent);
}

/// A small generator of its own, so that a failure can be replayed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn yields(times: u64) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_park_and_wake_cycles_lose_no_byte() {
    let world = World::awake_on_demand().await;
    let mut clients = Vec::new();
    for seed in 1..=3 {
        let (addr, mut asleep) = (world.addr, world.log.asleep());
        clients.push(tokio::spawn(async move {
            let mut dice = Dice(seed);
            let mut client = connect(addr).await;
            loop {
                let body: Vec<u8> = (0..dice.roll(3000)).map(|i| i.to_le_bytes()[0]).collect();
                let (mut reader, mut writer) = client.split();
                let ((), echo) = tokio::join!(
                    ask(&mut writer, "/echo", &body),
                    crate::world::answer(&mut reader)
                );
                assert!(echo.unwrap().1 == body, "seed {seed}: bytes were changed");
                // Next it speaks at once, soon, or to a target that sleeps or is about to.
                match dice.roll(8) {
                    0 => {}
                    1 => yields(dice.roll(40)).await,
                    _ => {
                        asleep.changed().await.unwrap();
                        yields(dice.roll(20)).await;
                    }
                }
                if dice.roll(10) == 0 {
                    client = connect(addr).await;
                }
            }
        }));
    }
    let (mut cycles, mut dice, mut quiet) = (0, Dice(99), world.log.quiet());
    while cycles < 1000 {
        let Ok(permit) = world.target.try_park(Duration::ZERO) else {
            quiet.changed().await.unwrap();
            continue;
        };
        yields(dice.roll(20)).await;
        if dice.roll(5) == 0 {
            permit.abort();
        } else {
            permit.parked();
            cycles += 1;
        }
    }
    for client in &clients {
        client.abort();
    }
    for client in clients {
        let error = client.await.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
    }
    assert!(
        world.log.count("activate") >= 900,
        "{}",
        world.log.count("activate")
    );
    assert_eq!(world.log.count("refused"), 0, "{:?}", world.log.all().last());
}
