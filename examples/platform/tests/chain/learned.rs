//! What was learned of requests outlives the program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use platform::{Config, Dial};

use crate::Test;
use crate::client::get;
use crate::process::{Ended, Process};
use crate::service::Service;

pub(crate) const TESTS: &[Test] = &[
    ("learned::is_there_after_a_restart", is_there_after_a_restart),
    (
        "learned::if_damaged_is_put_aside_with_one_warning",
        if_damaged_is_put_aside_with_one_warning,
    ),
    (
        "learned::if_it_cannot_be_saved_is_all_that_is_lost",
        if_it_cannot_be_saved_is_all_that_is_lost,
    ),
];

const FILE: &str = "learned.policy";

fn with_dial(dir: &Path) -> impl FnOnce(&mut Config) {
    let dir = dir.to_owned();
    move |config| {
        config.dial = Some(Dial::Economy);
        config.state_dir = Some(dir);
    }
}

/// Asks, and says how many gaps between requests the sleep that follows was decided by. One that was refused at first does not
/// say that, so it may take more than one.
fn gaps_known(service: &Service) -> Result<u64> {
    let mut why = String::new();
    for _ in 0..20 {
        service.get("/count")?;
        service.asleep()?;
        why = service.platform().why();
        if let Some((_, rest)) = why.split_once(" % of ")
            && let Some((gaps, _)) = rest.split_once(" gaps")
        {
            return gaps.parse().context(why);
        }
    }
    bail!("no sleep was decided by gaps: {why}");
}

fn is_there_after_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let service = Service::start(with_dial(dir.path()))?;
    let mut before = 0;
    for _ in 0..50 {
        before = gaps_known(&service)?;
    }
    ensure!(before > 40, "{}", service.platform().why());
    service.stop()?;
    for _ in 0..2 {
        let service = Service::start(with_dial(dir.path()))?;
        let known = gaps_known(&service)?;
        ensure!(known >= before, "{known} gaps, not {before}");
        before = gaps_known(&service)?;
        service.stop()?;
    }
    fs::remove_file(dir.path().join(FILE))?;
    let service = Service::start(with_dial(dir.path()))?;
    let known = gaps_known(&service)?;
    ensure!(known < before / 2, "{known} gaps after one request");
    service.stop()?;
    Ok(())
}

/// Serves one request, with the configuration of `dir`.
fn serve_once(dir: &Path) -> Result<Ended> {
    let config = dir.join("platform.toml");
    let state = dir.join("state");
    fs::write(&config, format!("dial = \"economy\"\nstate_dir = {state:?}\n"))?;
    let config = config.to_str().context("a temporary path is text")?;
    let (process, addr) = Process::serve(&["--config", config])?;
    get(addr, "/count")?.number()?;
    let ended = process.terminate()?;
    ensure!(
        ended.code == Some(0) && ended.stdout.contains("1 instance states kept"),
        "{ended:?}"
    );
    Ok(ended)
}

fn if_damaged_is_put_aside_with_one_warning() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let ended = serve_once(dir.path())?;
    ensure!(ended.stderr.is_empty(), "{ended:?}");
    let file = dir.path().join("state").join(FILE);
    let mut bytes = fs::read(&file)?;
    bytes[12] ^= 1;
    fs::write(&file, &bytes)?;
    let ended = serve_once(dir.path())?;
    ensure!(ended.stderr.matches("WARN").count() == 1, "{ended:?}");
    for part in [FILE, "learned.unused-1", "put aside; going on without it"] {
        ensure!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    ensure!(fs::read(file.with_extension("unused-1"))? == bytes);
    let ended = serve_once(dir.path())?;
    ensure!(ended.stderr.is_empty(), "{ended:?}");
    Ok(())
}

fn if_it_cannot_be_saved_is_all_that_is_lost() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("state").join(FILE);
    fs::create_dir_all(file.with_extension("tmp"))?;
    let ended = serve_once(dir.path())?;
    ensure!(ended.stderr.matches("WARN").count() == 1, "{ended:?}");
    for part in [FILE, "cannot be saved; all else goes on"] {
        ensure!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
    ensure!(!file.exists());
    Ok(())
}
