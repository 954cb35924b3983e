//! What the guest knows of its sleeps.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::Test;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[(
    "clock::every_wake_is_a_new_generation_and_time_goes_on",
    every_wake_is_a_new_generation_and_time_goes_on,
)];

fn every_wake_is_a_new_generation_and_time_goes_on() -> Result<()> {
    const WAKES: u64 = 20;
    let service = Service::start(|config| config.cooldown_ms = 10)?;
    let (mut generations, mut randoms) = (BTreeSet::new(), BTreeSet::new());
    let mut last: Option<(Instant, u64)> = None;
    for wake in 1..=WAKES {
        service.asleep()?;
        let sent = Instant::now();
        let info = service.get("/info")?.json()?;
        let received = Instant::now();
        let number = |field: &str| {
            info.get(field)
                .and_then(serde_json::Value::as_u64)
                .with_context(|| format!("no {field} in {info}"))
        };
        ensure!(number("restores")? == wake, "wake {wake}: {info}");
        generations.insert(info["generation"].to_string());
        randoms.insert(info["random"].to_string());
        let monotonic_ns = number("monotonic_ns")?;
        if let Some((last_received, last_ns)) = last {
            let passed = u64::try_from((sent - last_received).as_nanos())?;
            ensure!(
                monotonic_ns >= last_ns + passed,
                "{monotonic_ns} ns is less than {passed} ns after {last_ns} ns"
            );
        }
        last = Some((received, monotonic_ns));
    }
    ensure!(generations.len() as u64 == WAKES, "{generations:?}");
    ensure!(randoms.len() as u64 == WAKES, "{randoms:?}");
    service.stop()?;
    Ok(())
}
