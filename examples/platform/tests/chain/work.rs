//! Work that takes time, memory and bytes.

use anyhow::{Result, ensure};

use crate::Test;
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    (
        "work::a_computation_longer_than_the_cooldown_is_not_parked",
        a_computation_longer_than_the_cooldown_is_not_parked,
    ),
    (
        "work::memory_that_was_written_is_saved",
        memory_that_was_written_is_saved,
    ),
    ("work::bodies_come_back_whole", bodies_come_back_whole),
    ("work::the_embedding_example_runs", crate::embed::main),
];

fn a_computation_longer_than_the_cooldown_is_not_parked() -> Result<()> {
    let service = Service::start(|config| {
        config.cooldown_ms = 2;
        // Somebody waits, so it is not unattended.
        config.unattended_ms = 100;
    })?;
    for wake in 1..=5 {
        service.asleep()?;
        let reply = service.get("/burn?ms=200")?;
        ensure!(reply.text() == "burned 200 ms\n", "{reply:?}");
        let status = service.asleep()?;
        ensure!(
            (status.restores, status.parks, status.parks_midway) == (wake, wake, 0),
            "parked in the midst of it: {status:?}"
        );
    }
    service.stop()?;
    Ok(())
}

fn memory_that_was_written_is_saved() -> Result<()> {
    const MIB: u64 = 1 << 20;
    let service = Service::start(|config| config.cooldown_ms = 2)?;
    service.get("/count")?;
    let status = service.asleep()?;
    let small = status.saved_bytes;
    ensure!((1..=small).contains(&status.written_bytes), "{status:?}");
    let reply = service.get("/touch?mib=8")?;
    ensure!(reply.text() == "touched 8 MiB\n", "{reply:?}");
    let status = service.asleep()?;
    let large = status.saved_bytes;
    ensure!((8 * MIB..=large).contains(&status.written_bytes), "{status:?}");
    eprintln!(
        "saved: {} KiB, after 8 MiB were written {} KiB",
        small >> 10,
        large >> 10
    );
    ensure!(
        (8 * MIB..10 * MIB).contains(&(large - small)),
        "{small} bytes, then {large}"
    );
    // The working set of the touch is populated ahead at the next wake, and must do no harm.
    for count in 2..=20 {
        ensure!(service.get("/count")?.number()? == count);
        let status = service.asleep()?;
        ensure!(
            (1..MIB).contains(&status.written_bytes) && status.saved_bytes > 8 * MIB,
            "only what it wrote since: {status:?}"
        );
    }
    service.stop()?;
    Ok(())
}

fn bodies_come_back_whole() -> Result<()> {
    let service = Service::start(|config| config.cooldown_ms = 1)?;
    let mut client = service.client()?;
    for len in [0, 1, 1_460, 10 << 10, 100_000, 1 << 20] {
        service.asleep()?;
        let body: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
        let head = format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\n\r\n");
        // From another thread: who only sends while nobody takes the answer waits for ever.
        let reply = std::thread::scope(|scope| {
            let mut sender = client.try_clone()?;
            let sent = scope.spawn(move || sender.send([head.as_bytes(), &body].concat()).map(|()| body));
            let reply = client.receive()?;
            let body = sent.join().expect("the sender does not panic")?;
            ensure!(
                reply.body == body,
                "{len} bytes came back as {}",
                reply.body.len()
            );
            Ok(reply)
        })?;
        ensure!(reply.status == 200);
    }
    service.stop()?;
    Ok(())
}
