use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;

use super::*;

fn limits(per_target: usize, total: usize, spared: u64) -> Limits {
    Limits {
        connections_per_target: per_target,
        connections_total: total,
        silence_time: Duration::from_nanos(spared),
        ..Limits::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Claim(usize),
    Rest(usize),
    Stir(usize),
    Release(usize),
    Reopen(usize),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Op::Claim),
        4 => (0..8_usize).prop_map(Op::Rest),
        2 => (0..8_usize).prop_map(Op::Stir),
        2 => (0..8_usize).prop_map(Op::Release),
        1 => (0..3_usize).prop_map(Op::Reopen),
        1 => (1..4_u64).prop_map(Op::Pass),
    ]
}

/// What a list that is searched from its beginning would do.
#[derive(Default)]
struct Naive {
    seats: VecDeque<(Place, Place)>,
    /// Those that rest, the longest first.
    resting: Vec<(Place, Place, u64)>,
    leaving: Vec<Place>,
}

proptest! {
    #[test]
    fn the_rings_do_what_a_list_would(ops in proptest::collection::vec(op(), 0..200)) {
        let (per_target, total, spared) = (3, 5, 2);
        let limits = limits(per_target, total, spared);
        let mut seating = Seating::new();
        let mut rows = [seating.open_row(), seating.open_row(), seating.open_row()];
        let mut naive = Naive::default();
        let mut now = 0;
        for op in ops {
            let pick = |nth: usize| naive.seats.get(nth).copied();
            match op {
                Op::Pass(nanos) => now += nanos,
                Op::Claim(row) => {
                    let row = rows[row];
                    let own = naive.seats.iter().filter(|(_, of)| *of == row).count();
                    let full = match (own >= per_target, naive.seats.len() >= total) {
                        (true, _) => Some(LimitScope::Target),
                        (_, true) => Some(LimitScope::Proxy),
                        _ => None,
                    };
                    let longest = naive.resting.iter().position(|(_, of, _)| full == Some(LimitScope::Proxy) || *of == row);
                    match (seating.claim(row, Timestamp::from_nanos(now), &limits, false), full, longest) {
                        (Claim::Granted(seat), None, _) => naive.seats.push_back((seat, row)),
                        (Claim::Full { scope, .. }, Some(full), None) => prop_assert_eq!(scope, full),
                        (Claim::Spared { until }, Some(_), Some(longest)) => {
                            prop_assert_eq!(until.as_nanos(), naive.resting[longest].2 + spared);
                            prop_assert!(until.as_nanos() > now);
                        }
                        (Claim::Asked(_), Some(_), Some(longest)) => {
                            let (seat, _, since) = naive.resting.remove(longest);
                            prop_assert!(since + spared <= now);
                            naive.leaving.push(seat);
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Op::Rest(nth) => if let Some((seat, row)) = pick(nth) {
                    let rested = seating.rest(seat, Timestamp::from_nanos(now), Waker::noop());
                    prop_assert_eq!(rested.is_err(), naive.leaving.contains(&seat));
                    if rested.is_ok() && naive.resting.iter().all(|(other, ..)| *other != seat) {
                        let alone = naive.resting.iter().all(|(_, of, _)| *of != row);
                        prop_assert_eq!(rested, Ok(alone));
                        naive.resting.push((seat, row, now));
                    }
                },
                Op::Stir(nth) => if let Some((seat, _)) = pick(nth) {
                    prop_assert_eq!(seating.stir(seat).is_err(), naive.leaving.contains(&seat));
                    naive.resting.retain(|(other, ..)| *other != seat);
                },
                Op::Release(nth) => if let Some((seat, _)) = naive.seats.remove(nth) {
                    seating.release(seat);
                    naive.resting.retain(|(other, ..)| *other != seat);
                    naive.leaving.retain(|other| *other != seat);
                },
                Op::Reopen(row) => {
                    // What sits in it stays, and goes with it.
                    seating.close_row(rows[row]);
                    rows[row] = seating.open_row();
                }
            }
            // Rows that are closed and not empty are counted too: at most one for each seat.
            prop_assert!(seating.nodes.len() <= 1 + rows.len() + 1 + 2 * total);
        }
    }
}

#[test]
fn a_silent_connection_takes_little_memory() {
    assert!(size_of::<Node>() <= 64, "{}", size_of::<Node>());
}
