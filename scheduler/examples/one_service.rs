//! One service from its first request to its sleep and back, with a toy platform in the place of real VMs.
//!
//! `cargo run -p scheduler --example one_service`
//!
//! The clock is a number, so the run takes no time and prints the same lines every time.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use scheduler::{
    Action, Command, Event, RequestId, Scheduler, ServiceConfig, ServiceId, Settings, StartKind, Timestamp,
};

const SERVICE: ServiceId = ServiceId(1);

/// Things take time: what happens when, in the order of time. A real platform has an event loop here.
#[derive(Default)]
struct Agenda {
    events: BTreeMap<(Timestamp, usize), Event>,
    planned: usize,
}

impl Agenda {
    fn plan(&mut self, at: Timestamp, event: Event) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// The platform does what the scheduler says, and it takes as long as it takes.
    fn carry_out(&mut self, now: Timestamp, action: &Action) {
        let service = action.service;
        let (takes, event) = match action.command {
            Command::Start {
                instance,
                epoch,
                kind,
                ..
            } => {
                let takes = if kind == StartKind::Restore { 1 } else { 40 };
                (
                    takes,
                    Event::InstanceReady {
                        service,
                        instance,
                        epoch,
                    },
                )
            }
            Command::Park { instance, epoch, .. } => (
                2,
                Event::InstanceParked {
                    service,
                    instance,
                    epoch,
                    written_bytes: 0,
                },
            ),
            Command::Stop { instance, epoch } => (
                1,
                Event::InstanceExited {
                    service,
                    instance,
                    epoch,
                },
            ),
            Command::Admit { request, .. } => (3, Event::RequestDone { service, request }),
            _ => return,
        };
        self.plan(now + Duration::from_millis(takes), event);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match run(&mut io::stdout().lock()) {
        // Nobody reads any more.
        Err(error) if is_closed_pipe(&*error) => Ok(()),
        ended => ended,
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let config = ServiceConfig {
        cooldown: Some(Duration::from_millis(10)),
        ..ServiceConfig::default()
    };
    let config = config.validate().map_err(|mut problems| problems.remove(0))?;
    let mut scheduler = Scheduler::new(&Settings::default());
    let mut agenda = Agenda::default();

    agenda.plan(
        Timestamp::ZERO,
        Event::ServiceConfigured {
            service: SERVICE,
            config,
        },
    );
    for (request, at) in [(1, 5), (2, 6), (3, 60), (4, 200)] {
        let event = Event::RequestQueued {
            service: SERVICE,
            request: RequestId(request),
        };
        agenda.plan(Timestamp::from_millis(at), event);
    }
    agenda.plan(
        Timestamp::from_millis(300),
        Event::ServiceRemoved { service: SERVICE },
    );

    let mut actions = Vec::new();
    loop {
        // Sleep until the next event or deadline, whichever is first; here, jump there.
        let next = agenda.events.first_key_value().map(|((at, _), _)| *at);
        let (now, event) = match (next, scheduler.next_deadline()) {
            (None, None) => break,
            (Some(at), due) if due.is_none_or(|due| at <= due) => {
                let Some((_, event)) = agenda.events.pop_first() else {
                    break;
                };
                (at, event)
            }
            (_, due) => (due.unwrap_or_default(), Event::Tick),
        };
        let explain = matches!(event, Event::RequestDone { .. });
        scheduler.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            writeln!(out, "{:>7}  {action}", now.to_string())?;
            agenda.carry_out(now, &action);
        }
        if let Some(why) = scheduler.why(SERVICE).filter(|_| explain) {
            writeln!(out, "{:>7}  why: {why}", now.to_string())?;
        }
    }
    Ok(())
}
