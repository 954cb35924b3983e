//! One target: its gate under a lock, and what the gate's decisions do.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use crate::{
    ActivateError, Activator, Busy, Counters, Epoch, HoldError, Observer, TargetState,
    activation::Activation,
    exchange::{Exchange, Passage},
    gate::{self, Action, Admitted, Edge, Entrant, Entry, Gate, WaiterId},
    proxy::Shared,
    seats::Row,
    signal::{Signal, Stage},
    time::{Clock, Timestamp},
};

/// What a waiter is told in the end.
pub(crate) type Verdict<A> = Result<Passage<A>, HoldError>;
type Waiter<A> = oneshot::Sender<Verdict<A>>;
type Actions<A> = gate::Actions<Waiter<A>, <A as Activator>::Backend>;

pub(crate) struct Target<A: Activator> {
    key: A::Key,
    shared: Arc<Shared<A>>,
    /// Never held across an await or while a verdict is sent; taken after no other lock but the registry's.
    core: Mutex<Core<A>>,
    // Two plain values that order nothing else: relaxed everywhere.
    last_activity: AtomicU64,
    connections: AtomicUsize,
    row: Row,
    signal: watch::Sender<Signal>,
}

struct Core<A: Activator> {
    gate: Gate<Waiter<A>, A::Backend>,
    /// One that runs, or that was cancelled and may still run.
    activation: Option<Activation>,
    activations: u64,
    released: u64,
    refused: u64,
}

/// The answer to a request that knocks.
pub(crate) enum Knock<A: Activator> {
    Passed(Passage<A>),
    Held(Ticket<A>),
}

impl<A: Activator> Target<A> {
    pub(crate) fn new(key: A::Key, shared: Arc<Shared<A>>, stage: Stage) -> Arc<Self> {
        let mut gate = Gate::new();
        if stage != Stage::Open {
            gate.drain();
        }
        Arc::new(Self {
            row: shared.seats.open_row(),
            key,
            shared,
            core: Mutex::new(Core {
                gate,
                activation: None,
                activations: 0,
                released: 0,
                refused: 0,
            }),
            last_activity: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            signal: watch::Sender::new(Signal {
                stage,
                ..Signal::default()
            }),
        })
    }

    pub(crate) fn key(&self) -> &A::Key {
        &self.key
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<A>> {
        &self.shared
    }

    pub(crate) fn signal(&self) -> watch::Receiver<Signal> {
        self.signal.subscribe()
    }

    /// Notes that bytes moved just now, and says when that is.
    pub(crate) fn touch(&self) -> Timestamp {
        let now = self.now();
        self.last_activity.store(now.as_nanos(), Ordering::Relaxed);
        now
    }

    /// Begins an exchange of a connected client, if the target is awake.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Exchange<A>> {
        let now = self.now();
        let mut core = self.lock();
        let (epoch, edge) = core.gate.begin(now)?;
        self.tell(now, edge);
        drop(core);
        Some(Exchange::counted(self.clone(), epoch))
    }

    pub(crate) fn end(&self, epoch: Epoch) {
        let now = self.now();
        let mut core = self.lock();
        let edge = core.gate.end(now, epoch);
        self.tell(now, edge);
    }

    /// Lets a request pass that need not wait.
    pub(crate) fn admit(self: &Arc<Self>, entrant: Entrant) -> Option<Passage<A>> {
        let now = self.now();
        let mut core = self.lock();
        let admitted = core.gate.admit(now, entrant)?;
        Some(self.passage(now, core, admitted))
    }

    /// A request of `bytes` wants to pass.
    pub(crate) fn knock(self: &Arc<Self>, entrant: Entrant, bytes: usize) -> Result<Knock<A>, HoldError> {
        let now = self.now();
        let mut verdict = None;
        let mut actions = Actions::<A>::new();
        let mut core = self.lock();
        let waiter = || {
            let (sender, receiver) = oneshot::channel();
            verdict = Some(receiver);
            sender
        };
        let entry = core
            .gate
            .enter(now, &self.shared.limits, (entrant, bytes), waiter, &mut actions);
        match entry {
            Entry::Admitted(admitted) => Ok(Knock::Passed(self.passage(now, core, admitted))),
            Entry::Held { id, deadline } => {
                self.report(|observer, key| observer.held(key));
                self.apply(now, core, actions);
                let verdict = verdict.expect("the gate asks for the waiter that it holds");
                Ok(Knock::Held(Ticket {
                    target: self.clone(),
                    id,
                    deadline,
                    verdict,
                }))
            }
            Entry::Refused(why) => {
                core.refused += 1;
                self.report(|observer, key| observer.refused(key, &why, Duration::ZERO));
                Err(why)
            }
        }
    }

    /// Counts and reports a refusal that was not the gate's.
    pub(crate) fn refuse(&self, why: HoldError) -> HoldError {
        let mut core = self.lock();
        core.refused += 1;
        self.report(|observer, key| observer.refused(key, &why, Duration::ZERO));
        why
    }

    pub(crate) fn expire(self: &Arc<Self>) {
        self.decide(|gate, now, actions| gate.expire(now, &self.shared.limits, actions));
    }

    pub(crate) fn activated(self: &Arc<Self>, epoch: Epoch, result: Result<A::Backend, ActivateError>) {
        let now = self.now();
        let mut actions = Actions::<A>::new();
        let mut core = self.lock();
        let wanted = core.gate.epoch() == epoch && core.gate.is_waking();
        if let Some(activation) = core.activation.take_if(|_| wanted) {
            let took = now.since(activation.started());
            let outcome = result.as_ref().map(|_| ());
            self.report(|observer, key| observer.activation_finished(key, epoch, took, outcome));
        }
        core.gate.activated(now, epoch, result, &mut actions);
        self.apply(now, core, actions);
    }

    pub(crate) fn try_park(&self, quiet_for: Duration) -> Result<Epoch, Busy> {
        let now = self.now();
        let mut core = self.lock();
        let last_activity = Timestamp::from_nanos(self.last_activity.load(Ordering::Relaxed));
        let epoch = core.gate.try_park(now, quiet_for, last_activity)?;
        self.report(|observer, key| observer.parking(key));
        Ok(epoch)
    }

    pub(crate) fn parked(self: &Arc<Self>, epoch: Epoch) {
        self.decide(|gate, _, actions| {
            if gate.parked(epoch, actions) {
                self.report(|observer, key| observer.asleep(key));
            }
        });
    }

    pub(crate) fn unpark(self: &Arc<Self>, epoch: Epoch) {
        self.decide(|gate, now, actions| {
            if gate.unpark(now, epoch, actions) {
                self.report(|observer, key| observer.park_aborted(key));
            }
        });
    }

    pub(crate) fn lost(self: &Arc<Self>, reason: &str) {
        self.decide(|gate, now, actions| {
            if gate.lost(now, actions) {
                self.report(|observer, key| observer.asleep(key));
            }
            self.signal.send_modify(|signal| {
                signal.lineage = signal.lineage.next();
                signal.lost = Some(reason.into());
            });
        });
    }

    /// Closes the gate to newcomers, or at the deadline to everybody.
    pub(crate) fn drain(self: &Arc<Self>, stage: Stage) {
        self.decide(|gate, now, actions| {
            gate.drain();
            if stage == Stage::Over {
                gate.refuse_all(now, actions);
            }
            self.signal.send_modify(|signal| signal.stage = stage);
        });
    }

    pub(crate) fn state(&self) -> TargetState {
        self.lock().gate.state()
    }

    pub(crate) fn counters(&self) -> Counters {
        let core = self.lock();
        Counters {
            connections: self.connections.load(Ordering::Relaxed),
            exchanges: core.gate.exchanges(),
            waiters: core.gate.waiters(),
            held_bytes: core.gate.held_bytes(),
            activations: core.activations,
            released: core.released,
            refused: core.refused,
        }
    }

    pub(crate) fn connections(&self) -> &AtomicUsize {
        &self.connections
    }

    pub(crate) fn row(&self) -> &Row {
        &self.row
    }

    fn passage(
        self: &Arc<Self>,
        now: Timestamp,
        core: MutexGuard<'_, Core<A>>,
        Admitted { epoch, backend, edge }: Admitted<A::Backend>,
    ) -> Passage<A> {
        self.tell(now, edge);
        let lineage = self.signal.borrow().lineage;
        drop(core);
        Passage {
            exchange: Exchange::counted(self.clone(), epoch),
            backend,
            lineage,
        }
    }

    fn leave(self: &Arc<Self>, id: WaiterId) {
        self.decide(|gate, now, actions| {
            if let Some(waited) = gate.leave(now, id, actions) {
                self.report(|observer, key| observer.left(key, waited));
            }
        });
    }

    fn grow(&self, id: WaiterId, bytes: usize) -> bool {
        self.lock().gate.grow(&self.shared.limits, id, bytes)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    fn lock(&self) -> MutexGuard<'_, Core<A>> {
        // Observers' panics are caught, and backends promise not to panic while they are cloned and dropped: no other foreign
        // code runs under the lock. Should it be poisoned all the same, whoever panicked is the one to have lost something.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(
        self: &Arc<Self>,
        decision: impl FnOnce(&mut Gate<Waiter<A>, A::Backend>, Timestamp, &mut Actions<A>),
    ) {
        let now = self.now();
        let mut actions = Actions::<A>::new();
        let mut core = self.lock();
        decision(&mut core.gate, now, &mut actions);
        self.apply(now, core, actions);
    }

    /// Does what the gate decided: bookkeeping and observers under the lock, all that runs foreign code after it.
    fn apply(self: &Arc<Self>, now: Timestamp, mut core: MutexGuard<'_, Core<A>>, actions: Actions<A>) {
        for action in &actions {
            match action {
                Action::StartActivation { epoch } => {
                    core.activations += 1;
                    self.report(|observer, key| observer.activation_started(key, *epoch));
                    let previous = core.activation.take();
                    core.activation = Some(Activation::start(self, *epoch, previous));
                }
                Action::CancelActivation { epoch } => {
                    if let Some(activation) = &core.activation {
                        activation.cancel();
                        let after = now.since(activation.started());
                        self.report(|observer, key| observer.activation_cancelled(key, *epoch, after));
                    }
                }
                Action::Release { waited, .. } => {
                    core.released += 1;
                    self.report(|observer, key| observer.released(key, *waited));
                }
                Action::Refuse { why, waited, .. } => {
                    core.refused += 1;
                    self.report(|observer, key| observer.refused(key, why, *waited));
                }
                Action::Edge(edge) => self.tell(now, *edge),
                Action::Unwanted { .. } => {}
            }
        }
        let lineage = self.signal.borrow().lineage;
        drop(core);
        for action in actions {
            match action {
                Action::Release {
                    waiter,
                    epoch,
                    backend,
                    ..
                } => {
                    let exchange = Exchange::counted(self.clone(), epoch);
                    // A session that is gone gives the passage back, which ends the exchange.
                    let _ = waiter.send(Ok(Passage {
                        exchange,
                        backend,
                        lineage,
                    }));
                }
                Action::Refuse { waiter, why, .. } => {
                    // A session that is gone needs no refusal.
                    let _ = waiter.send(Err(why));
                }
                Action::Unwanted { backend } => self.shared.activator.unwanted(&self.key, backend),
                Action::StartActivation { .. } | Action::CancelActivation { .. } | Action::Edge(_) => {}
            }
        }
    }

    fn report(&self, event: impl FnOnce(&dyn Observer<A::Key>, &A::Key)) {
        self.shared.observer.tell(|observer| event(observer, &self.key));
    }

    fn tell(&self, now: Timestamp, edge: Edge) {
        let at = || self.shared.clock.instant(now);
        match edge {
            Edge::Busy => self.report(|observer, key| observer.busy(key, at())),
            Edge::Quiet { busy_for } => self.report(|observer, key| observer.quiet(key, at(), busy_for)),
            Edge::Same => {}
        }
    }
}

/// A place in the queue; dropping it leaves the queue.
pub(crate) struct Ticket<A: Activator> {
    target: Arc<Target<A>>,
    id: WaiterId,
    pub(crate) deadline: Timestamp,
    pub(crate) verdict: oneshot::Receiver<Verdict<A>>,
}

impl<A: Activator> Ticket<A> {
    /// Asks to hold more bytes.
    pub(crate) fn grow(&self, bytes: usize) -> bool {
        self.target.grow(self.id, bytes)
    }
}

impl<A: Activator> Drop for Ticket<A> {
    fn drop(&mut self) {
        self.target.leave(self.id);
    }
}
