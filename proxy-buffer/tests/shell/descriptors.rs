//! A process that has few descriptors. The test runs itself again as a child, because the limit is of the process.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use proxy_buffer::Limits;

use crate::world::{World, ask, connect, expect, http};

const CHILD: &str = "PROXY_BUFFER_FEW_DESCRIPTORS";
const NAME: &str = "descriptors::descriptors_for_serving_are_not_spent_on_accepting";

/// Under `ulimit -n 200`, most of which the clients and the guest take, who are in the same process.
#[test]
fn descriptors_for_serving_are_not_spent_on_accepting() {
    if std::env::var_os(CHILD).is_some() {
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(crowd());
    }
    let test = std::env::current_exe().unwrap();
    let out = Command::new("sh")
        .args(["-c", "ulimit -n 200 && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(test)
        .arg(NAME)
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
}

async fn crowd() {
    let limits = Limits {
        connections_total: 20,
        silence_time: Duration::from_millis(10),
        ..Limits::default()
    };
    let world = World::new(limits, http()).await;
    world.allow_wakes(1);
    // Without the limit these would take 200: one here and one in the proxy.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(connect(world.addr).await);
    }
    world.log.until("made room", 80).await;
    // Those that are left, the last ones, are served; and so is a newcomer.
    for client in silent.iter_mut().skip(81) {
        ask(client, "/count", b"").await;
        assert_eq!(expect(client, 200).await, "1");
    }
    let mut newcomer = world.asking("/count").await;
    assert_eq!(expect(&mut newcomer, 200).await, "1");
    assert!(world.log.all().iter().all(|event| !event.starts_with("refused")));
}
