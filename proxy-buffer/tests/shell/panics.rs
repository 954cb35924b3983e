//! Owners that break their word.

use std::time::{Duration, Instant};

use proxy_buffer::{ActivateError, Epoch, HoldError, Limits, Observer, TargetState};

use crate::world::{Log, World, expect, http};

/// Panics in everything that it is told, after having noted it.
struct Clumsy(Log);

macro_rules! panic_in {
    ($($event:ident($($name:ident: $kind:ty),*);)*) => {
        impl Observer<&'static str> for Clumsy {
            $(fn $event(&self, key: &&'static str, $($name: $kind),*) {
                Observer::$event(&self.0, key, $($name),*);
                panic!(concat!("an observer panics in ", stringify!($event)));
            })*
        }
    };
}

panic_in! {
    connection_opened();
    connection_closed(open_for: Duration);
    held();
    released(waited: Duration);
    refused(why: &HoldError, waited: Duration);
    left(waited: Duration);
    activation_started(epoch: Epoch);
    activation_finished(epoch: Epoch, took: Duration, result: Result<(), &ActivateError>);
    activation_cancelled(epoch: Epoch, after: Duration);
    busy(at: Instant);
    quiet(at: Instant, busy_for: Duration);
    parking();
    asleep();
    park_aborted();
}

#[tokio::test]
async fn an_observer_that_panics_harms_nobody() {
    let world = World::observed(Limits::default(), http(), |log| Clumsy(log.clone())).await;
    for round in 1..=3 {
        let mut clients = [world.asking("/").await, world.asking("/").await];
        world.log.until("held", 3 * round - 1).await;
        world.allow_wakes(1);
        for client in &mut clients {
            expect(client, 200).await;
        }
        drop(clients);
        world.log.until("closed", 3 * round - 1).await;
        assert_eq!(world.counters().exchanges, 0, "{:?}", world.log.all());
        drop(world.target.try_park(Duration::ZERO).unwrap());
        world.park();
        assert_eq!(world.target.state(), TargetState::Asleep);
        let mut unlucky = world.asking("/").await;
        world.log.until("held", 3 * round).await;
        world.fail_next("no node is free");
        world.allow_wakes(1);
        expect(&mut unlucky, 503).await;
        drop(unlucky);
        world.log.until("closed", 3 * round).await;
    }
    world.assert_nothing_held();
    assert_eq!(world.proxy.drain(Duration::from_secs(60)).await.aborted, 0);
}
