//! Instances that die, do not start, or start when nobody waits any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use scheduler::StartSource;

use super::fake::Plan;
use super::{Desk, SERVICE};
use crate::controller::{Activity, ControllerError};

#[tokio::test]
async fn a_death_is_told_once_and_the_next_request_gets_a_new_instance() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    let admitted = desk.admit().await.unwrap();
    desk.fake.die("triple fault");
    let status = desk.until(|status| status.deaths == 1).await;
    assert_eq!(status.activity, Activity::Asleep);
    desk.logged("lost: triple fault").await;
    drop(admitted);
    let next = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", next.link), "to 2");
    assert_eq!(
        desk.shut_down().await,
        ["restore 1", "lost: triple fault", "stop 1", "restore 2"]
    );
}

#[tokio::test]
async fn a_death_after_a_refused_park_is_noticed() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::from_millis(200)));
    desk.fake.refusals.lock().unwrap().push_back(Duration::ZERO);
    drop(desk.admit().await.unwrap());
    desk.until(|status| status.parks_refused == 1).await;
    desk.fake.die("triple fault");
    desk.until(|status| status.deaths == 1).await;
    let next = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", next.link), "to 2");
    desk.shut_down().await;
}

#[tokio::test]
async fn a_death_while_parking_is_one_death_and_opens_the_gate() {
    let desk = Desk::new(|_| {});
    let (go, word) = mpsc::channel();
    desk.fake.parks.lock().unwrap().push_back(Plan::Waits(word));
    drop(desk.admit().await.unwrap());
    desk.logged("park 1").await;
    // The host notices at the same time as the one who watches the instance.
    desk.fake.die("triple fault");
    go.send(()).unwrap();
    desk.until(|status| status.deaths > 0).await;
    desk.logged("open").await;
    drop(desk.admit().await.unwrap());
    let status = desk.until(|status| status.parks == 1).await;
    assert_eq!((status.deaths, status.restores), (1, 2));
    let log = desk.shut_down().await;
    assert_eq!(
        log.iter().filter(|entry| entry.starts_with("lost")).count(),
        1,
        "{log:?}"
    );
}

#[tokio::test]
async fn a_failed_restore_is_followed_by_a_boot() {
    let desk = Desk::new(|_| {});
    desk.fake
        .restores
        .lock()
        .unwrap()
        .push_back(Plan::Fails("no memory"));
    let admitted = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", admitted.link), "to 2");
    let status = desk.until(|status| status.boots == 1).await;
    assert_eq!((status.failed_starts, status.restores), (1, 0));
    drop(admitted);
    desk.asleep().await;
    desk.shut_down().await;
}

#[tokio::test]
async fn what_is_to_be_cloned_is_booted_and_why_says_so() {
    let desk = Desk::new(|config| {
        config.start_from = StartSource::Instance;
        config.cooldown = Some(Duration::MAX);
        (config.max_instances, config.concurrency) = (2, 1);
    });
    let first = desk.admit().await.unwrap();
    let (go, word) = mpsc::channel();
    desk.fake.boots.lock().unwrap().push_back(Plan::Waits(word));
    let second = desk.ask();
    desk.logged("boot 3").await;
    let why = desk.controller.why(SERVICE).unwrap();
    assert!(why.contains("boot instance 3: clone"), "{why}");
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    // Two at once are more than the fake has room for.
    drop(go);
    desk.until(|status| status.failed_starts == 1).await;
    drop(first);
    desk.shut_down().await;
}

#[tokio::test]
async fn requests_are_shed_with_the_reason_when_nothing_starts() {
    let desk = Desk::new(|_| {});
    desk.fake
        .restores
        .lock()
        .unwrap()
        .extend((0..9).map(|_| Plan::Fails("no memory")));
    desk.fake
        .boots
        .lock()
        .unwrap()
        .extend((0..3).map(|_| Plan::Fails("no such kernel")));
    let asked: Vec<_> = (0..10).map(|_| desk.ask()).collect();
    for request in asked {
        let error = request.await.unwrap().unwrap_err();
        let ControllerError::Shed { reason, retry_after } = error else {
            panic!("{error:?}");
        };
        assert!(
            reason.contains("3 failed starts in a row") && reason.ends_with("no such kernel"),
            "{reason}"
        );
        assert!(retry_after >= Duration::from_millis(1));
    }
    // Trying again later helps.
    desk.fake.restores.lock().unwrap().clear();
    desk.admit().await.unwrap();
    desk.shut_down().await;
}

#[tokio::test]
async fn what_failed_once_is_not_the_reason_for_what_fails_later() {
    let desk = Desk::new(|config| config.queue.max_wait = Duration::from_millis(50));
    desk.fake
        .restores
        .lock()
        .unwrap()
        .push_back(Plan::Fails("no memory"));
    drop(desk.admit().await.unwrap());
    desk.asleep().await;
    let (go, word) = mpsc::channel();
    desk.fake.parks.lock().unwrap().push_back(Plan::Waits(word));
    drop(desk.admit().await.unwrap());
    desk.until(|status| status.activity == Activity::Parking).await;
    let error = desk.admit().await.unwrap_err();
    assert!(
        error.to_string().contains("limit 50 ms") && !error.to_string().contains("no memory"),
        "{error}"
    );
    go.send(()).unwrap();
    desk.asleep().await;
    desk.shut_down().await;
}

#[tokio::test]
async fn who_leaves_while_the_instance_starts_is_forgotten_and_it_sleeps() {
    let desk = Desk::new(|config| config.start_from = StartSource::Image);
    let (go, word) = mpsc::channel();
    desk.fake.boots.lock().unwrap().push_back(Plan::Waits(word));
    let request = desk.ask();
    desk.logged("boot 1").await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    let status = desk.until(|status| status.parks == 1).await;
    assert_eq!((status.boots, status.activity), (1, Activity::Asleep));
    assert_eq!(desk.controller.core().requests.len(), 0);
    desk.shut_down().await;
}

#[tokio::test]
async fn a_boot_that_ends_too_late_is_stopped() {
    let desk = Desk::new(|config| {
        config.start_from = StartSource::Image;
        config.start.timeout = Duration::from_millis(1);
        config.start.attempts = 1;
    });
    let (go, word) = mpsc::channel();
    desk.fake.boots.lock().unwrap().push_back(Plan::Waits(word));
    let error = desk.admit().await.unwrap_err();
    assert!(error.to_string().contains("failed start"), "{error}");
    go.send(()).unwrap();
    desk.logged("stop 1").await;
    assert!(desk.fake.awake.lock().unwrap().is_empty(), "{:?}", desk.log());
    desk.shut_down().await;
}

#[tokio::test]
async fn a_host_that_panics_while_parking_costs_one_instance() {
    let desk = Desk::new(|_| {});
    desk.fake.parks.lock().unwrap().push_back(Plan::Panics);
    drop(desk.admit().await.unwrap());
    desk.until(|status| status.deaths == 1).await;
    let next = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", next.link), "to 2");
    drop(next);
    desk.asleep().await;
    desk.shut_down().await;
}

#[tokio::test]
async fn a_restore_that_lacks_something_is_tried_again_and_loses_nothing() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    for what in ["no descriptors", "no memory"] {
        desk.fake.restores.lock().unwrap().push_back(Plan::Lacks(what));
    }
    let admitted = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", admitted.link), "to 1");
    drop(admitted);
    assert_eq!(desk.shut_down().await, ["restore 1", "restore 1", "restore 1"]);
}

#[tokio::test]
async fn an_instance_that_leaves_three_requests_in_a_row_unanswered_is_given_up() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    let waited = Duration::ZERO;
    let admitted = desk.admit().await.unwrap();
    let vitals = desk.controller.vitals(SERVICE).unwrap();
    for _ in 0..3 {
        desk.controller.answer_timed_out(SERVICE, waited);
        desk.controller.answer_timed_out(SERVICE, waited);
        vitals.answered();
    }
    for _ in 0..3 {
        desk.controller.answer_timed_out(SERVICE, waited);
    }
    desk.until(|status| status.deaths == 1).await;
    drop(admitted);
    // The next ones never answer anything.
    for in_a_row in 1..=2 {
        let next = desk.admit().await.unwrap();
        for _ in 0..3 {
            desk.controller.answer_timed_out(SERVICE, waited);
        }
        desk.until(|status| status.deaths == 1 + in_a_row).await;
        drop(next);
    }
    let silent = "it has left 3 requests in a row unanswered, the last one for 0 ms";
    let never = format!("{silent}, and never answered any since it was started");
    assert_eq!(
        desk.shut_down().await,
        [
            "restore 1".to_owned(),
            format!("lost: {silent}"),
            "give up 1: Wedged".to_owned(),
            "restore 2".to_owned(),
            format!("lost: {never}"),
            "give up 2: NeverAnswered { in_a_row: 1 }".to_owned(),
            "restore 3".to_owned(),
            format!("lost: {never}"),
            "give up 3: NeverAnswered { in_a_row: 2 }".to_owned(),
        ]
    );
}

#[tokio::test]
async fn an_instance_that_is_being_parked_is_not_given_up() {
    let desk = Desk::new(|_| {});
    let (go, word) = mpsc::channel();
    desk.fake.parks.lock().unwrap().push_back(Plan::Waits(word));
    drop(desk.admit().await.unwrap());
    desk.logged("park 1").await;
    for _ in 0..3 {
        desk.controller.answer_timed_out(SERVICE, Duration::ZERO);
    }
    go.send(()).unwrap();
    desk.asleep().await;
    // It is as silent as before when it wakes again.
    let admitted = desk.admit().await.unwrap();
    desk.controller.answer_timed_out(SERVICE, Duration::ZERO);
    desk.logged("give up 1: NeverAnswered { in_a_row: 1 }").await;
    drop(admitted);
    desk.shut_down().await;
}

#[tokio::test]
async fn nobody_waits_while_state_is_put_aside_but_the_end() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    let (go, word) = mpsc::channel();
    desk.fake.asides.lock().unwrap().push_back(Plan::Waits(word));
    drop(desk.admit().await.unwrap());
    for _ in 0..3 {
        desk.controller.answer_timed_out(SERVICE, Duration::ZERO);
    }
    desk.logged("put aside").await;
    let next = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", next.link), "to 2");
    drop(next);
    desk.fake.note("ending");
    let controller = Arc::clone(&desk.controller);
    let settled = tokio::spawn(async move { controller.settle().await });
    tokio::task::yield_now().await;
    assert!(!settled.is_finished());
    go.send(()).unwrap();
    settled.await.unwrap();
    let log = desk.shut_down().await;
    assert_eq!(log[log.len() - 2..], ["ending", "put it aside"], "{log:?}");
    // Whoever is held is told first.
    assert!(log[1].starts_with("lost: "), "{log:?}");
}

#[tokio::test]
async fn a_host_that_panics_while_giving_up_stops_nobody_else() {
    let desk = Desk::new(|config| config.cooldown = Some(Duration::MAX));
    desk.fake.give_ups.lock().unwrap().push_back(Plan::Panics);
    drop(desk.admit().await.unwrap());
    for _ in 0..3 {
        desk.controller.answer_timed_out(SERVICE, Duration::ZERO);
    }
    desk.logged("give up 1: NeverAnswered { in_a_row: 1 }").await;
    let next = desk.admit().await.unwrap();
    assert_eq!(format!("{:?}", next.link), "to 2");
    drop(next);
    desk.shut_down().await;
}

#[tokio::test]
async fn an_instance_that_ended_while_it_was_parked_is_not_left_behind() {
    let desk = Desk::new(|_| {});
    desk.fake.parks_the_dead.store(true, Ordering::Relaxed);
    for (instance, plan) in [(1, Plan::Waits as fn(_) -> _), (2, Plan::WaitsBusy)] {
        let (go, word) = mpsc::channel();
        desk.fake.parks.lock().unwrap().push_back(plan(word));
        drop(desk.admit().await.unwrap());
        desk.logged(&format!("park {instance}")).await;
        desk.fake.die("triple fault");
        desk.until(|status| status.deaths == instance).await;
        // That was too early: it was in the hands of who parked it.
        desk.fake.note(format!("died {instance}"));
        go.send(()).unwrap();
        let stopped = |log: &[String]| {
            let died = log.iter().position(|entry| *entry == format!("died {instance}"));
            log[died.unwrap()..].contains(&format!("stop {instance}"))
        };
        desk.until_log(stopped).await;
    }
    let status = *desk.status.borrow();
    assert_eq!((status.parks, status.activity), (0, Activity::Asleep));
    desk.shut_down().await;
}
