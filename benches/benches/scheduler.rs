//! What a decision costs, with a hundred thousand services known.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use scheduler::{
    Action, Command, Event, LimitsConfig, NodeConfig, RateLimit, RequestId, Scheduler, ServiceConfig,
    ServiceId, Settings, Timestamp,
};

const SERVICES: u64 = 100_000;
/// Actions of a whole cycle: start, admit, park.
const CYCLE: u64 = 3;
/// Of those, so many are called at once.
const HERD: u64 = 10_000;

/// The scheduler with its clock and the actions of the last event.
struct Desk {
    scheduler: Scheduler,
    now_ms: u64,
    requests: u64,
    actions: Vec<Action>,
}

impl Desk {
    fn new(settings: &Settings) -> Self {
        let scheduler = Scheduler::new(settings);
        let mut desk = Self {
            scheduler,
            now_ms: 0,
            requests: 0,
            actions: Vec::new(),
        };
        let config = ServiceConfig::default().validate().expect("the default is valid");
        for service in (1..=SERVICES).map(ServiceId) {
            desk.tell(Event::ServiceConfigured {
                service,
                config: config.clone(),
            });
        }
        desk
    }

    fn tell(&mut self, event: Event) {
        self.actions.clear();
        self.scheduler
            .handle(Timestamp::from_millis(self.now_ms), event, &mut self.actions);
    }

    /// A request comes, is admitted once there is an instance, and ends.
    fn request(&mut self, service: ServiceId) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.tell(Event::RequestQueued { service, request });
        if let Some(Command::Start { instance, epoch, .. }) = self.command() {
            self.tell(Event::InstanceReady {
                service,
                instance,
                epoch,
            });
        }
        assert!(
            matches!(self.command(), Some(Command::Admit { .. })),
            "{:?}",
            self.actions
        );
        self.tell(Event::RequestDone { service, request });
    }

    /// The next service of a walk that comes to each of them, near to none of the last ones.
    fn stranger(&self) -> ServiceId {
        const STRIDE: u64 = 61_803;
        ServiceId(1 + self.requests * STRIDE % SERVICES)
    }

    /// Time passes until the instance is parked.
    fn sleep(&mut self, service: ServiceId) {
        self.now_ms += 1_000;
        self.tell(Event::Tick);
        let Some(Command::Park { instance, epoch, .. }) = self.command() else {
            return;
        };
        self.tell(Event::InstanceParked {
            service,
            instance,
            epoch,
            written_bytes: 0,
        });
    }

    /// A request for many services at once: each waits for its start token.
    fn herd(&mut self) {
        self.requests += 1;
        let request = RequestId(self.requests);
        for service in (1..=HERD).map(ServiceId) {
            self.tell(Event::RequestQueued { service, request });
        }
        let mut started = 1;
        while started < HERD {
            self.now_ms += 1;
            self.tell(Event::Tick);
            assert!(!self.actions.is_empty(), "a start each millisecond");
            started += 1;
        }
    }

    fn command(&self) -> Option<Command> {
        self.actions.last().map(|action| action.command)
    }
}

/// Every limit there is, none of which is reached.
fn limited() -> Settings {
    let rate = Some(RateLimit::new(1_000_000_000, 1_000_000_000));
    Settings {
        limits: LimitsConfig {
            starts: rate,
            park_bytes: rate,
            node: NodeConfig {
                starts: rate,
                ..NodeConfig::with_memory(1 << 50)
            },
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

/// One start each millisecond.
fn throttled() -> Settings {
    Settings {
        limits: LimitsConfig {
            starts: Some(RateLimit::new(1_000, 1)),
            ..LimitsConfig::default()
        },
        ..Settings::default()
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.sample_size(50).measurement_time(Duration::from_secs(2));
    let mut desk = Desk::new(&Settings::default());
    let service = desk.stranger();
    desk.request(service);
    group.throughput(Throughput::Elements(1));
    group.bench_function("request_awake", |bencher| {
        bencher.iter(|| desk.request(service));
    });
    group.throughput(Throughput::Elements(CYCLE));
    for (name, settings) in [
        ("wake_request_park", Settings::default()),
        ("wake_request_park_limited", limited()),
    ] {
        let mut desk = Desk::new(&settings);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let service = desk.stranger();
                desk.request(service);
                desk.sleep(service);
            });
        });
    }
    group.throughput(Throughput::Elements(HERD));
    group.bench_function("herd_of_10000_waits_and_starts", |bencher| {
        bencher.iter_batched_ref(|| Desk::new(&throttled()), Desk::herd, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
