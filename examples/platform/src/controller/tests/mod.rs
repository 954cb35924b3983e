//! The controller between a fake host and a fake gate.

mod failures;
mod fake;
mod orders;
mod proxied;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use scheduler::{
    LearnedSki, Observation, Policy, Seen, ServiceConfig, ServiceId, StartConfig, StartSource, Timestamp,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::fake::{Fake, FakeGate, Plan};
use super::{Activity, Admitted, Controller, ControllerError, ServiceSetup, ServiceStatus};

const SERVICE: ServiceId = ServiceId(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A controller with its surroundings.
struct Desk {
    controller: Arc<Controller>,
    fake: Arc<Fake>,
    status: watch::Receiver<ServiceStatus>,
    timer: JoinHandle<()>,
}

impl Desk {
    fn new(change: impl FnOnce(&mut ServiceConfig)) -> Self {
        Self::without_gate(change).gated()
    }

    fn gated(self) -> Self {
        let gate = FakeGate(Arc::clone(&self.fake));
        self.controller.set_gate(SERVICE, Arc::new(gate));
        self
    }

    fn without_gate(change: impl FnOnce(&mut ServiceConfig)) -> Self {
        Self::with(change, None)
    }

    fn with(change: impl FnOnce(&mut ServiceConfig), unattended: Option<Duration>) -> Self {
        let mut config = ServiceConfig {
            cooldown: Some(Duration::from_millis(1)),
            start_from: StartSource::Snapshot,
            start: StartConfig {
                retry_first: Duration::from_millis(1),
                retry_cap: Duration::from_millis(2),
                ..StartConfig::default()
            },
            ..ServiceConfig::default()
        };
        change(&mut config);
        let fake = Fake::new();
        let mut setup = ServiceSetup::new(SERVICE, config.validate().unwrap(), Arc::clone(&fake) as _);
        setup.unattended = unattended;
        let controller = Controller::new(vec![setup]);
        let status = controller.status(SERVICE).unwrap();
        let timer = tokio::spawn(Arc::clone(&controller).run());
        Self {
            controller,
            fake,
            status,
            timer,
        }
    }

    async fn admit(&self) -> Result<Admitted, ControllerError> {
        timeout(PATIENCE, self.controller.admit(SERVICE))
            .await
            .expect("the scheduler answers every request")
    }

    /// A request that waits beside the test.
    fn ask(&self) -> JoinHandle<Result<Admitted, ControllerError>> {
        let controller = Arc::clone(&self.controller);
        tokio::spawn(async move { controller.admit(SERVICE).await })
    }

    /// Waits until the status is as `is_it` wants it.
    async fn until(&self, is_it: impl FnMut(&ServiceStatus) -> bool) -> ServiceStatus {
        let mut status = self.status.clone();
        match timeout(PATIENCE, status.wait_for(is_it)).await {
            Ok(status) => *status.unwrap(),
            Err(_) => panic!("{:?}: {:?}", self.controller.why(SERVICE), self.log()),
        }
    }

    async fn asleep(&self) -> ServiceStatus {
        self.until(|status| status.activity == Activity::Asleep).await
    }

    /// Waits until `entry` is in the log.
    async fn logged(&self, entry: &str) {
        self.until_log(|log| log.iter().any(|noted| noted == entry)).await;
    }

    /// Waits until the log is as `is_it` wants it.
    async fn until_log(&self, is_it: impl Fn(&[String]) -> bool) {
        let mut log = self.fake.log();
        let waited = timeout(PATIENCE, log.wait_for(|log| is_it(log))).await.map(drop);
        assert!(waited.is_ok(), "{:?}", self.log());
    }

    fn log(&self) -> Vec<String> {
        self.fake.log().borrow().clone()
    }

    /// The host ends first, as the controller demands.
    async fn shut_down(mut self) -> Vec<String> {
        use crate::host::InstanceHost;
        self.fake.shut_down().unwrap();
        timeout(PATIENCE, self.controller.shut_down())
            .await
            .expect("every task ends");
        (&mut self.timer).await.unwrap();
        let core = self.controller.core();
        core.scheduler.check_invariants().unwrap();
        drop(core);
        self.log()
    }
}

#[tokio::test]
async fn a_request_wakes_and_silence_parks_the_same_instance_again() {
    let desk = Desk::new(|_| {});
    for wakes in 1..=3 {
        let admitted = desk.admit().await.unwrap();
        assert_eq!(format!("{:?}", admitted.link), "to 1");
        drop(admitted);
        let status = desk.until(|status| status.parks == wakes).await;
        assert_eq!(
            (
                status.restores,
                status.activity,
                status.written_bytes,
                status.saved_bytes
            ),
            (wakes, Activity::Asleep, 1, 2)
        );
        let why = desk.controller.core().scheduler.why(SERVICE).unwrap();
        assert_eq!(why.instances[0].park_bytes, 1, "its limits count it");
    }
    desk.logged("asleep").await;
    let cycle = ["restore 1", "close", "park 1", "asleep"];
    assert_eq!(desk.shut_down().await, cycle.repeat(3));
}

#[tokio::test]
async fn what_was_learned_of_services_that_are_gone_is_forgotten() {
    let (config, mut learned) = (ServiceConfig::default(), LearnedSki::new());
    for service in [SERVICE, ServiceId(2)] {
        let (before, after) = (0, 1);
        let seen = Observation::new(service, Timestamp::ZERO, Seen::Level { before, after });
        learned.observe(&config, &seen);
    }
    let setup = ServiceSetup::new(SERVICE, config.validate().unwrap(), Fake::new());
    let controller = Controller::with_learned(vec![setup], learned);
    let mut next = LearnedSki::new();
    next.restore(&controller.learned()).unwrap();
    assert_eq!(next.services().collect::<Vec<_>>(), [SERVICE]);
}

#[tokio::test]
async fn many_requests_cause_one_restore() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    let (go, word) = mpsc::channel();
    desk.fake
        .restores
        .lock()
        .unwrap()
        .push_back(Plan::Fails("no memory"));
    desk.fake.boots.lock().unwrap().push_back(Plan::Waits(word));
    let asked: Vec<_> = (0..100).map(|_| desk.ask()).collect();
    desk.logged("boot 2").await;
    go.send(()).unwrap();
    for request in asked {
        request.await.unwrap().unwrap();
    }
    // The connections kept across the sleep ended in the instance that could not be restored.
    let lost = "lost: restore instance 1: no memory";
    assert_eq!(desk.shut_down().await, ["restore 1", lost, "boot 2"]);
}

#[tokio::test]
async fn nothing_is_parked_while_exchanges_are_under_way() {
    let desk = Desk::new(|_| {});
    let admitted = desk.admit().await.unwrap();
    desk.controller.busy(SERVICE);
    drop(admitted);
    // Many decisions later it is still awake.
    for _ in 0..100 {
        drop(desk.admit().await.unwrap());
    }
    desk.fake.note("quiet");
    desk.controller.quiet(SERVICE);
    desk.asleep().await;
    assert_eq!(
        desk.shut_down().await[..4],
        ["restore 1", "quiet", "close", "park 1"]
    );
}

#[tokio::test]
async fn a_gate_that_refuses_is_asked_again_later() {
    let desk = Desk::new(|_| {});
    desk.fake
        .refusals
        .lock()
        .unwrap()
        .extend([Duration::ZERO, Duration::MAX]);
    drop(desk.admit().await.unwrap());
    let status = desk.until(|status| status.parks == 1).await;
    assert_eq!(status.parks_refused, 2);
    assert_eq!(
        desk.shut_down().await[..5],
        ["restore 1", "refuse", "refuse", "close", "park 1"]
    );
}

#[tokio::test]
async fn an_instance_that_is_not_quiet_runs_on_behind_an_open_gate() {
    let desk = Desk::new(|_| {});
    desk.fake.parks.lock().unwrap().push_back(Plan::Busy);
    drop(desk.admit().await.unwrap());
    let status = desk.until(|status| status.parks == 1).await;
    assert_eq!((status.parks_refused, status.restores), (1, 1));
    assert_eq!(
        desk.shut_down().await[..6],
        ["restore 1", "close", "park 1", "open", "close", "park 1"]
    );
}

#[tokio::test]
async fn one_that_is_never_quiet_is_parked_as_it_is_when_nobody_has_waited_for_it_for_long() {
    let unattended = Duration::from_millis(20);
    let desk = Desk::with(|_| {}, Some(unattended)).gated();
    let never = || (0..100).map(|_| Plan::Busy);
    desk.fake.parks.lock().unwrap().extend(never());
    let begun = Instant::now();
    drop(desk.admit().await.unwrap());
    let status = desk.until(|status| status.parks == 1).await;
    assert!(begun.elapsed() >= unattended, "{:?}", begun.elapsed());
    assert_eq!((status.parks_midway, status.deaths), (1, 0));
    // The waits double.
    assert!((1..=6).contains(&status.parks_refused), "{status:?}");
    // One that is quiet then is parked like any other.
    desk.fake.parks.lock().unwrap().clear();
    drop(desk.admit().await.unwrap());
    let status = desk.until(|status| status.parks == 2).await;
    assert_eq!((status.parks_midway, status.restores), (1, 2));
    desk.shut_down().await;
}

#[tokio::test]
async fn one_that_somebody_waits_for_now_and_then_is_not_unattended() {
    let desk = Desk::with(|_| {}, Some(Duration::from_secs(3600))).gated();
    desk.fake
        .parks
        .lock()
        .unwrap()
        .extend((0..100).map(|_| Plan::Busy));
    drop(desk.admit().await.unwrap());
    desk.until(|status| status.parks_refused == 5).await;
    desk.controller.busy(SERVICE);
    desk.controller.quiet(SERVICE);
    // The patience with it begins anew, and with it short waits.
    let status = desk.until(|status| status.parks_refused == 8).await;
    assert_eq!(status.parks, 0);
    desk.shut_down().await;
}

#[tokio::test]
async fn a_request_that_comes_while_parking_wakes_again() {
    let desk = Desk::new(|_| {});
    let (go, word) = mpsc::channel();
    desk.fake.parks.lock().unwrap().push_back(Plan::Waits(word));
    drop(desk.admit().await.unwrap());
    desk.until(|status| status.activity == Activity::Parking).await;
    desk.logged("park 1").await;
    let request = desk.ask();
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    request.await.unwrap().unwrap();
    let status = desk.until(|status| status.parks == 2).await;
    assert_eq!(status.restores, 2);
    desk.shut_down().await;
}

#[tokio::test]
async fn shutting_down_waits_for_what_is_under_way_and_refuses_what_comes() {
    let desk = Desk::new(|_| {});
    let (go, word) = mpsc::channel();
    desk.fake.parks.lock().unwrap().push_back(Plan::Waits(word));
    drop(desk.admit().await.unwrap());
    desk.until(|status| status.activity == Activity::Parking).await;
    let controller = Arc::clone(&desk.controller);
    let mut ending = tokio::spawn(async move { controller.shut_down().await });
    assert!(
        timeout(Duration::from_millis(20), &mut ending).await.is_err(),
        "it ended in the midst of parking"
    );
    go.send(()).unwrap();
    timeout(PATIENCE, ending).await.unwrap().unwrap();
    assert_eq!(desk.status.borrow().parks, 1);
    desk.shut_down().await;
}
