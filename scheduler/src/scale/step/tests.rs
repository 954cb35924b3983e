use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn policy(metric: &str, adjustment: &str, steps: &[&str]) -> StepPolicy {
    StepPolicy::parse(metric, adjustment, steps.iter().copied()).expect("the text is of the right form")
}

fn problems(steps: &[&str]) -> Vec<String> {
    let policy = policy("cpu", "change", steps);
    let found = policy.problems();
    found
        .iter()
        .map(|(path, message)| format!("{path}: {message}"))
        .collect()
}

#[test]
fn the_published_examples_are_read_as_they_are_written() {
    let policy = policy("cpu", "percent", &["800:/100", "600:800/50"]);
    let text: Vec<_> = policy.steps.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["600:800/50", "800:/100"], "in order");
    assert_eq!(policy.problems(), []);
    assert_eq!(
        ":30/-1".parse(),
        Ok(Step {
            lower: None,
            upper: Some(30),
            amount: -1
        })
    );
    assert_eq!(problems(&["0:10/1", "10:20/2"]), [""; 0]);
}

#[test]
fn a_text_that_is_no_step_is_refused_with_what_is_wrong() {
    for (text, message) in [
        ("10/1", "read step \"10/1\": must be LOWER:UPPER/ADJUSTMENT"),
        ("0:10", "read step \"0:10\": must be LOWER:UPPER/ADJUSTMENT"),
        (
            "0:x/1",
            "read step \"0:x/1\": \"x\" must be a whole number, from 0 if it is a bound",
        ),
        (
            "-5:10/1",
            "read step \"-5:10/1\": \"-5\" must be a whole number, from 0 if it is a bound",
        ),
        (
            "0:1.5/1",
            "read step \"0:1.5/1\": \"1.5\" must be a whole number, from 0 if it is a bound",
        ),
        (
            "0:10/",
            "read step \"0:10/\": \"\" must be a whole number, from 0 if it is a bound",
        ),
        (
            "0:10/1/2",
            "read step \"0:10/1/2\": \"1/2\" must be a whole number, from 0 if it is a bound",
        ),
    ] {
        assert_eq!(
            text.parse::<Step>().map_err(|error| error.to_string()),
            Err(message.into())
        );
    }
    assert!(StepPolicy::parse("load", "change", []).is_err());
    assert!(StepPolicy::parse("cpu", "double", []).is_err());
}

#[test]
fn gaps_overlaps_and_empty_steps_are_refused_with_their_bounds() {
    assert_eq!(
        problems(&["0:10/1", "20:30/2"]),
        ["steps[1]: 20:30/2 leaves a gap after 0:10/1, from 10 to 20"]
    );
    assert_eq!(
        problems(&["0:15/1", "10:30/2"]),
        ["steps[1]: 10:30/2 overlaps 0:15/1 from 10 to 15"]
    );
    assert_eq!(
        problems(&["0:/1", "10:30/2"]),
        ["steps[1]: 10:30/2 overlaps 0:/1: only the outermost bounds may be open"]
    );
    assert_eq!(
        problems(&["10:10/1"]),
        ["steps[0]: 10:10/1 is empty, its upper bound must be above its lower one"]
    );
    assert_eq!(problems(&[]), ["steps: has none, must have at least one"]);
}

#[test]
fn amounts_that_make_no_sense_are_refused() {
    let exact = policy("cpu", "absolute", &["0:10/-1"]);
    assert_eq!(
        exact.problems()[0].1,
        "0:10/-1 sets a count, which must be at least 0"
    );
    let percent = policy("cpu", "percent", &["0:10/-150"]);
    assert_eq!(
        percent.problems()[0].1,
        "0:10/-150 takes more than there is, must be at least -100 %"
    );
}

#[test]
fn steps_that_undo_each_other_need_a_dead_band() {
    let mut policy = policy("cpu", "change", &[":500/-1", "500:/1"]);
    assert_eq!(policy.problems(), []);
    policy.dead_band_percent = 0;
    assert_eq!(
        policy.problems()[0].1,
        "500:/1 undoes :500/-1 at 500: a step of 0 or a dead band must lie between them"
    );
}

#[test]
fn a_value_on_a_bound_belongs_to_the_upper_step_and_outside_nothing_changes() {
    let policy = policy("in-flight", "change", &["10:20/1", "20:30/3"]);
    let at = |milli| policy.desired(Milli(milli), 2, 2, None);
    assert_eq!(at(9_999), None);
    assert_eq!(at(10_000), Some(3));
    assert_eq!(at(19_999), Some(3));
    assert_eq!(at(20_000), Some(5));
    assert_eq!(at(30_000), None);
}

#[test]
fn vcpu_bounds_are_thousandths_and_the_others_whole_units() {
    let at = |metric, milli| policy(metric, "change", &["600:/1"]).desired(Milli(milli), 1, 1, None);
    assert_eq!(at("cpu", 600), Some(2));
    assert_eq!(at("requests", 600), None);
    assert_eq!(at("requests", 600_000), Some(2));
}

/// Adjustment, amount, counted, current → desired, by hand.
const TABLE: [(&str, i32, u32, u32, Option<u32>); 14] = [
    ("change", 2, 3, 3, Some(5)),
    ("change", -2, 3, 3, Some(1)),
    ("change", -5, 3, 3, Some(0)),
    ("change", 0, 3, 3, None),
    // Two of four warm up: the two that are counted and one more are three, and there are four.
    ("change", 1, 2, 4, None),
    ("change", 3, 2, 4, Some(5)),
    // Lowering starts from what there is.
    ("change", -1, 2, 4, Some(3)),
    ("absolute", 4, 3, 3, Some(4)),
    ("absolute", 0, 3, 3, Some(0)),
    ("absolute", 3, 3, 3, None),
    // 50 % of 5 is 2.5, towards no change: 2.
    ("percent", 50, 5, 5, Some(7)),
    ("percent", -50, 5, 5, Some(3)),
    // 10 % of 5 is 0.5, but at least one.
    ("percent", 10, 5, 5, Some(6)),
    ("percent", -10, 5, 5, Some(4)),
];

#[test]
fn an_amount_means_what_the_adjustment_says() {
    for (adjustment, amount, counted, current, desired) in TABLE {
        let policy = policy("cpu", adjustment, &[&format!("0:/{amount}")]);
        let found = policy.desired(Milli(1), counted, current, None);
        assert_eq!(found, desired, "{adjustment} {amount} of {counted}/{current}");
    }
}

#[test]
fn a_count_turns_back_only_beyond_the_dead_band() {
    let policy = policy("cpu", "change", &[":500/-1", "500:/1"]);
    let at = |milli, last| policy.desired(Milli(milli), 4, 4, last);
    assert_eq!(at(499, None), Some(3));
    assert_eq!(at(499, Some(Direction::Up)), None);
    assert_eq!(at(450, Some(Direction::Up)), None);
    assert_eq!(at(449, Some(Direction::Up)), Some(3), "10 % below 500");
    assert_eq!(
        at(499, Some(Direction::Down)),
        Some(3),
        "the same way again needs no band"
    );
    assert_eq!(at(549, Some(Direction::Down)), None);
    assert_eq!(at(550, Some(Direction::Down)), Some(5));
}

proptest! {
    #[test]
    fn a_step_that_is_written_is_read_back(lower: Option<u64>, upper: Option<u64>, amount: i32) {
        let step = Step { lower, upper, amount };
        prop_assert_eq!(step.to_string().parse(), Ok(step));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9:/ -]{0,12}") {
        let _ = text.parse::<Step>();
    }

    #[test]
    fn around_a_bound_a_noisy_metric_does_not_flap(noise in prop::collection::vec(460..540_u64, 1..100)) {
        let policy = policy("cpu", "change", &[":500/-1", "500:/1"]);
        let (mut count, mut last, mut turns) = (10, None, 0);
        for value in noise {
            if let Some(next) = policy.desired(Milli(value), count, count, last) {
                let way = if next > count { Direction::Up } else { Direction::Down };
                turns += u32::from(last.is_some_and(|last| last != way));
                (count, last) = (next, Some(way));
            }
        }
        prop_assert_eq!(turns, 0);
    }
}
