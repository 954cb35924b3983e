//! What a decision costs, with ten thousand services known.

use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use scheduler::{
    Action, Command, Event, LimitsConfig, NodeConfig, RateLimit, RequestId, Scheduler, ServiceConfig,
    ServiceId, Settings, Timestamp,
};

const SERVICES: u64 = 10_000;
const SERVICE: ServiceId = ServiceId(SERVICES / 2);

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
    fn request(&mut self) {
        self.requests += 1;
        let (service, request) = (SERVICE, RequestId(self.requests));
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

    /// Time passes until the instance is parked.
    fn sleep(&mut self) {
        self.now_ms += 1_000;
        self.tell(Event::Tick);
        let Some(Command::Park { instance, epoch, .. }) = self.command() else {
            return;
        };
        self.tell(Event::InstanceParked {
            service: SERVICE,
            instance,
            epoch,
            written_bytes: 0,
        });
    }

    /// A request for every service at once: each waits for its start token.
    fn herd(&mut self) {
        self.requests += 1;
        let request = RequestId(self.requests);
        for service in (1..=SERVICES).map(ServiceId) {
            self.tell(Event::RequestQueued { service, request });
        }
        let mut started = 1;
        while started < SERVICES {
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
    desk.request();
    group.bench_function("request_awake", |bencher| bencher.iter(|| desk.request()));
    group.bench_function("wake_request_park", |bencher| {
        bencher.iter(|| {
            desk.request();
            desk.sleep();
        });
    });
    let mut desk = Desk::new(&limited());
    group.bench_function("wake_request_park_limited", |bencher| {
        bencher.iter(|| {
            desk.request();
            desk.sleep();
        });
    });
    group.bench_function("herd_of_10000_waits_and_starts", |bencher| {
        bencher.iter_batched_ref(|| Desk::new(&throttled()), Desk::herd, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
