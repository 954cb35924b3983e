//! Measures decisions per second and memory with many services known.
//!
//! `cargo run --release -p scheduler --example throughput [SERVICES] [learned] [limited]`
//!
//! Every service first sleeps. Then requests come to services drawn at random: each wakes an instance, ends, and the
//! instance falls asleep again, all of it decided by the scheduler: by the fixed cooldown or as learned, on a node
//! without limits or with all of them, none of which is ever reached.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use scheduler::{
    Action, Command, Cooldown, Event, LearnedSki, LimitsConfig, NodeConfig, Policy, RateLimit, RequestId,
    ResourceConfig, Scheduler, ServiceConfig, ServiceId, Settings, Timestamp, ValidConfig,
};

/// Feeds events and answers every lifecycle command at once; counts both ways.
struct Loop<P: Policy> {
    scheduler: Scheduler<P>,
    now: Timestamp,
    out: Vec<Action>,
    events: u64,
    actions: u64,
}

impl<P: Policy> Loop<P> {
    fn tell(&mut self, event: Event) {
        let mut out = std::mem::take(&mut self.out);
        self.events += 1;
        self.scheduler.handle(self.now, event, &mut out);
        for action in out.drain(..) {
            self.actions += 1;
            let service = action.service;
            match action.command {
                Command::Start { instance, epoch, .. } => {
                    self.tell(Event::InstanceReady {
                        service,
                        instance,
                        epoch,
                    });
                }
                Command::Park { instance, epoch, .. } => {
                    self.tell(Event::InstanceParked {
                        service,
                        instance,
                        epoch,
                        written_bytes: 0,
                    });
                }
                _ => {}
            }
        }
        self.out = out;
    }

    fn request(&mut self, service: u64, request: u64) {
        let (service, request) = (ServiceId(service), RequestId(request));
        self.tell(Event::RequestQueued { service, request });
        self.tell(Event::RequestDone { service, request });
    }

    fn report(&mut self, what: &str, began: Duration) -> io::Result<()> {
        let seconds = (cpu_time() - began).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let (events, actions) = (self.events as f64 / seconds, self.actions as f64 / seconds);
        writeln!(
            io::stdout(),
            "{what}: {:.2} M events in and {:.2} M actions out a second of one core",
            events / 1e6,
            actions / 1e6
        )?;
        (self.events, self.actions) = (0, 0);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match run() {
        // Nobody reads any more.
        Err(error) if is_closed_pipe(&*error) => Ok(()),
        ended => ended,
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

fn run() -> Result<(), Box<dyn Error>> {
    let (mut services, mut learned, mut settings) = (100_000, false, Settings::default());
    for word in std::env::args().skip(1) {
        match (word.as_str(), word.parse()) {
            ("learned", _) => learned = true,
            ("limited", _) => settings = limited(),
            (_, Ok(count @ 1..)) => services = count,
            _ => return Err(format!("{word} must be a number from 1, learned or limited").into()),
        }
    }
    let config = ServiceConfig {
        cooldown: (!learned).then_some(Duration::from_millis(10)),
        resources: ResourceConfig {
            memory_bytes: 128 << 20,
            ..ResourceConfig::default()
        },
        ..ServiceConfig::default()
    };
    let config = config.validate().map_err(|mut problems| problems.remove(0))?;
    if learned {
        measure(LearnedSki::new(), &settings, &config, services)?;
    } else {
        measure(Cooldown, &settings, &config, services)?;
    }
    Ok(())
}

/// A petabyte of memory, a thousand million starts and parks.
fn limited() -> Settings {
    let rate = Some(RateLimit::new(1_000_000_000, 1_000_000_000));
    let bytes = Some(RateLimit::new(1 << 60, 1 << 60));
    Settings {
        limits: LimitsConfig {
            starts: rate,
            park_bytes: bytes,
            node: NodeConfig {
                starts: rate,
                park_bytes: bytes,
                ..NodeConfig::with_memory(1 << 50)
            },
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

fn measure<P: Policy>(policy: P, settings: &Settings, config: &ValidConfig, services: u64) -> io::Result<()> {
    let mut driver = Loop {
        scheduler: Scheduler::with_policy(settings, policy),
        now: Timestamp::ZERO,
        out: Vec::new(),
        events: 0,
        actions: 0,
    };

    let before = resident_bytes();
    for service in 0..services {
        driver.tell(Event::ServiceConfigured {
            service: ServiceId(service),
            config: config.clone(),
        });
        driver.request(service, 0);
        driver.now = driver.now + Duration::from_millis(10);
        driver.tell(Event::Tick);
        if let Some(due) = driver.scheduler.next_deadline() {
            driver.now = driver.now.max(due);
            driver.tell(Event::Tick);
        }
    }
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        writeln!(
            io::stdout(),
            "{services} parked services: {} bytes each",
            after.saturating_sub(before) / services
        )?;
    }

    (driver.events, driver.actions) = (0, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let began = cpu_time();
    for request in 1..=1_000_000 {
        driver.now = driver.now + Duration::from_micros(1);
        driver.request(draw(services), request);
        if driver
            .scheduler
            .next_deadline()
            .is_some_and(|at| at <= driver.now)
        {
            driver.tell(Event::Tick);
        }
    }
    driver.report("wake, admit, end, park; services at random", began)?;

    let began = cpu_time();
    for request in 1_000_001..=3_000_000 {
        driver.now = driver.now + Duration::from_micros(1);
        driver.request(draw(100), request);
    }
    driver.report("admit, end; 100 services that stay awake", began)
}

/// What this process has computed so far: others on the machine do not count.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = stat
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}
