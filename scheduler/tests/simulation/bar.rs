//! One configuration, given only the start time and β, costs no more than the lowest known, whatever the trace.

use std::path::Path;

use scheduler::sim::{Arrivals, Contender, LiveConfig, Recording, Study, Trace, Verdict, check};

/// Those whose requests were recorded, or those that are drawn too.
fn traces(also_drawn: bool) -> Vec<Trace> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let recordings = Recording::read_dir(&dir, 25_000, &mut |_| {}).expect("they come with the crate");
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
    let verdicts = check(&study.run(trace, &|_, _| {}).expect("what is asked for may be"));
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

/// What a check of real schedulers says where requests share so many cores.
fn live_verdicts(cores: Option<u32>) -> Vec<Verdict> {
    let study = Study {
        contenders: vec![Contender::Learned],
        cold_starts_us: vec![5_000],
        betas: vec![20],
        live: Some(LiveConfig {
            cores,
            ..LiveConfig::default()
        }),
        ..Study::default()
    };
    let trace = &traces(false)[0];
    check(&study.run(trace, &|_, _| {}).expect("what is asked for may be"))
}

#[test]
fn a_check_of_real_schedulers_fails_where_requests_are_late() {
    let told = |cores| {
        live_verdicts(cores)
            .iter()
            .map(Verdict::is_missed)
            .collect::<Vec<_>>()
    };
    assert_eq!((told(None), told(Some(1))), (vec![false], vec![true]));
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes minutes without optimisation; `simulate --check` is the same"
)]
fn the_bar_is_met_in_every_cell() {
    let checked: usize = traces(true).iter().map(meets_the_bar).sum();
    assert_eq!(checked, 4 * 18 + 3 * 6 + 2);
}
