//! Whose turn it is to do what was decided: one at a time, in the order of the decisions.

use std::collections::VecDeque;
use std::sync::Arc;

use scheduler::{Action, Event};

use super::driver::{Controller, Core};
use super::fall::Fallen;
use super::run::Run;

/// Something to do.
pub(super) enum Todo {
    /// The scheduler has decided it.
    Do(Action),
    /// An instance was taken out of those that run.
    End {
        run: Run,
        fallen: Fallen,
        reason: String,
    },
}

/// What is to be done, in the order in which it was decided.
#[derive(Default)]
pub(super) struct Agenda {
    todo: VecDeque<Todo>,
    /// Somebody is doing it.
    executing: bool,
}

impl Agenda {
    pub(super) fn push(&mut self, todo: Todo) {
        self.todo.push_back(todo);
    }
}

/// The right to do what is queued, for one at a time. Dropped before its end, by a panic or with the task that has it, it is
/// given back, so that the next event goes on with the rest. Not to be dropped while the core is locked.
#[must_use]
pub(super) struct Turn {
    controller: Arc<Controller>,
    over: bool,
}

impl Turn {
    /// Does what is queued, and what is queued meanwhile.
    pub(super) fn execute(mut self) {
        while let Some(todo) = self.next() {
            match todo {
                Todo::Do(action) => self.controller.perform(action),
                Todo::End { run, fallen, reason } => self.controller.end(run, fallen, &reason),
            }
        }
    }

    /// What is next; with the last one the right ends, under the same lock.
    fn next(&mut self) -> Option<Todo> {
        let agenda = &mut self.controller.core().agenda;
        let todo = agenda.todo.pop_front();
        agenda.executing = todo.is_some();
        self.over = todo.is_none();
        todo
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            self.controller.core().agenda.executing = false;
        }
    }
}

impl Controller {
    /// Lets the scheduler decide on `event`, and does what it decides: all decisions in their order, one at a time, by whoever
    /// comes first.
    pub(super) fn handle(self: &Arc<Self>, event: Event) {
        let turn = self.decide_with(&mut self.core(), event);
        if let Some(turn) = turn {
            turn.execute();
        }
    }

    /// Like [`handle`](Self::handle), for a caller that holds a lock of the proxy's: leaves the doing to a task, because it may
    /// have to tell the proxy something.
    pub(super) fn handle_in_lock(self: &Arc<Self>, event: Event) {
        let turn = self.decide_with(&mut self.core(), event);
        if let Some(turn) = turn {
            self.tasks.spawn(async move { turn.execute() });
        }
    }

    /// Queues what the scheduler decides on `event`, in one with what else the caller changes, and gives the caller the turn to
    /// execute it if nobody has that.
    pub(super) fn decide_with(self: &Arc<Self>, core: &mut Core, event: Event) -> Option<Turn> {
        let before = core.scheduler.next_deadline();
        let mut actions = Vec::new();
        core.scheduler.handle(self.now(), event, &mut actions);
        core.agenda.todo.extend(actions.into_iter().map(Todo::Do));
        if core.scheduler.next_deadline() != before {
            self.deadline_moved.notify_one();
        }
        self.turn(core)
    }

    /// The turn, if there is something to do and nobody has it.
    pub(super) fn turn(self: &Arc<Self>, Core { agenda, .. }: &mut Core) -> Option<Turn> {
        let mine = !agenda.executing && !agenda.todo.is_empty();
        agenda.executing |= mine;
        mine.then(|| Turn {
            controller: Arc::clone(self),
            over: false,
        })
    }
}
