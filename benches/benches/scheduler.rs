//! What a decision costs, with ten thousand services known.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use scheduler::{
    Action, Command, Event, RequestId, Scheduler, ServiceConfig, ServiceId, Settings, Timestamp,
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
    fn new() -> Self {
        let scheduler = Scheduler::new(&Settings::default());
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

    fn command(&self) -> Option<Command> {
        self.actions.last().map(|action| action.command)
    }
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.sample_size(50).measurement_time(Duration::from_secs(2));
    let mut desk = Desk::new();
    desk.request();
    group.bench_function("request_awake", |bencher| bencher.iter(|| desk.request()));
    group.bench_function("wake_request_park", |bencher| {
        bencher.iter(|| {
            desk.request();
            desk.sleep();
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
