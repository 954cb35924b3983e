/// Who starts an instance for a request that finds none idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDemand {
    /// Each request that waits has an instance started, unless one is on its way for it.
    Starts,
    /// Only the controller, when it is asked next; the first request of a service without instances asks it at once.
    Waits,
}

/// What a controller wants when it was asked by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// Nothing changes.
    Stay,
    /// So many instances awake: starts the missing ones, parks idle ones that are too many.
    Exactly(u64),
    /// At least so many instances idle or starting, the new ones kept until then, in microseconds.
    Ahead {
        /// How many.
        instances: u64,
        /// Until when they are kept if no request comes.
        until_us: u64,
    },
}

/// What a service is doing, as a controller sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests waiting or being served.
    pub in_system: u64,
    /// Instances busy, idle or starting.
    pub awake: u64,
    /// Those of them that start.
    pub starting: u64,
}

/// A policy for one service in the pool model. Times are microseconds from the start of the trace.
pub trait Controller {
    /// Who starts instances.
    fn on_demand(&self) -> OnDemand {
        OnDemand::Starts
    }

    /// A request came; `load` is without it.
    fn arrived(&mut self, _now_us: u64, _load: Load) {}

    /// A request ended; `load` is without it.
    fn left(&mut self, _now_us: u64, _load: Load) {}

    /// A request that found no idle instance when `level` requests were in the system, itself included, is served
    /// after this wait.
    fn waited(&mut self, _now_us: u64, _level: u64, _wait_us: u64) {}

    /// How long to keep an instance that fell idle, in microseconds.
    fn keep_us(&mut self, now_us: u64, load: Load) -> u64;

    /// Until when to keep an instance that was started ahead and has nothing to do, if it was to be kept until then.
    fn started_ahead_us(&mut self, _now_us: u64, _load: Load, until_us: u64) -> u64 {
        until_us
    }

    /// Memory that holds what was learned, in bytes.
    fn learned_bytes(&self) -> usize {
        0
    }

    /// When [`scale`](Self::scale) is to be asked next; `None`: never.
    fn next_us(&self) -> Option<u64> {
        None
    }

    /// Asked at [`next_us`](Self::next_us).
    fn scale(&mut self, _now_us: u64, _load: Load) -> Scale {
        Scale::Stay
    }
}
