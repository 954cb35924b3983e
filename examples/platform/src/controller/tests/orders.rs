//! Whatever comes in whatever order: every request is answered, nothing runs twice, and in the end all is asleep.

use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::fake::Plan;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A request comes.
    Ask,
    /// The oldest request ends, or leaves if it still waits.
    End,
    /// The oldest waiting request leaves.
    Leave,
    Busy,
    Quiet,
    Die,
    /// Everybody gets a turn, and so does time.
    Turn,
    RestoreFails,
    BootFails,
    ParkFails,
    ParkIsBusy,
    GateRefuses,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    prop_oneof![
        6 => Just(Ask),
        6 => Just(End),
        2 => Just(Leave),
        2 => Just(Busy),
        2 => Just(Quiet),
        2 => Just(Die),
        8 => Just(Turn),
        1 => Just(RestoreFails),
        1 => Just(BootFails),
        1 => Just(ParkFails),
        1 => Just(ParkIsBusy),
        1 => Just(GateRefuses),
    ]
}

type Asked = JoinHandle<Result<Admitted, ControllerError>>;

/// Ends a request, or withdraws it if it still waits.
async fn leave(request: Asked) {
    request.abort();
    // Admitted, shed or aborted: over.
    let _ = request.await;
}

async fn play(steps: Vec<Step>) {
    let desk = Desk::new(|_| {});
    let mut asked = VecDeque::new();
    let mut busy = false;
    for step in steps {
        let fake = &desk.fake;
        match step {
            Step::Ask => asked.push_back(desk.ask()),
            Step::End => {
                if let Some(request) = asked.pop_front() {
                    leave(request).await;
                }
            }
            Step::Leave => {
                if let Some(at) = asked.iter().position(|request| !request.is_finished()) {
                    leave(asked.remove(at).unwrap()).await;
                }
            }
            // As the gate does it: from the first exchange to the last.
            Step::Busy if !busy => {
                busy = true;
                desk.controller.busy(SERVICE);
            }
            Step::Quiet if busy => {
                busy = false;
                desk.controller.quiet(SERVICE);
            }
            Step::Busy | Step::Quiet => {}
            Step::Die => fake.die("by chance"),
            Step::Turn => tokio::time::sleep(Duration::from_micros(500)).await,
            Step::RestoreFails => fake.restores.lock().unwrap().push_back(Plan::Fails("by chance")),
            Step::BootFails => fake.boots.lock().unwrap().push_back(Plan::Fails("by chance")),
            Step::ParkFails => fake.parks.lock().unwrap().push_back(Plan::Fails("by chance")),
            Step::ParkIsBusy => fake.parks.lock().unwrap().push_back(Plan::Busy),
            Step::GateRefuses => fake.refusals.lock().unwrap().push_back(Duration::ZERO),
        }
    }
    if busy {
        desk.controller.quiet(SERVICE);
    }
    for request in asked {
        // Admitted or shed: but answered.
        drop(
            timeout(PATIENCE, request)
                .await
                .expect("every request is answered")
                .unwrap(),
        );
    }
    for plans in [&desk.fake.restores, &desk.fake.boots, &desk.fake.parks] {
        plans.lock().unwrap().clear();
    }
    desk.fake.refusals.lock().unwrap().clear();
    desk.admit().await.expect("after all that it works");
    desk.asleep().await;
    assert_eq!(desk.controller.core().requests.len(), 0);
    assert!(desk.controller.core().running.is_empty() && desk.fake.awake.lock().unwrap().is_empty());
    desk.shut_down().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_ends_well(steps in prop::collection::vec(step(), 0..80)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(steps));
    }
}
