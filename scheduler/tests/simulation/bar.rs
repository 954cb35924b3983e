//! One configuration, given only the start time and β, costs no more than the lowest known, whatever the trace.

use std::path::Path;

use scheduler::sim::{Arrivals, Contender, Recording, Study, Trace, check};

/// Those whose requests were recorded, or those that are drawn too.
fn traces(also_drawn: bool) -> Vec<Trace> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let recordings = Recording::read_dir(&dir, 25_000).expect("they come with the crate");
    let draw = |recording: &Recording| {
        let models = match recording.counts_only() {
            true => &Arrivals::ALL[..],
            false => &Arrivals::ALL[..1],
        };
        models
            .iter()
            .map(|model| recording.trace(*model, 7))
            .collect::<Vec<_>>()
    };
    let wanted = |recording: &&Recording| also_drawn || !recording.counts_only();
    recordings.iter().filter(wanted).flat_map(draw).collect()
}

fn meets_the_bar(trace: &Trace) -> usize {
    let study = Study {
        contenders: vec![Contender::Learned],
        jobs: 2,
        ..Study::default()
    };
    let verdicts = check(&study.run(trace, &|_, _| {}));
    for verdict in &verdicts {
        assert!(!verdict.is_missed(), "{verdict}");
    }
    verdicts.len()
}

#[test]
fn the_bar_is_met_where_each_request_was_recorded() {
    let checked: usize = traces(false).iter().map(meets_the_bar).sum();
    assert_eq!(checked, 18, "three promises in each of six cells");
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes minutes without optimisation; `simulate --check` is the same"
)]
fn the_bar_is_met_in_every_cell() {
    let checked: usize = traces(true).iter().map(meets_the_bar).sum();
    assert_eq!(checked, 4 * 18 + 2);
}
