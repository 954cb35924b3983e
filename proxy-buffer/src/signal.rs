//! What every session of a target must hear of, beside its own streams.

use std::sync::Arc;

/// The value of a target's watch channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal {
    pub(crate) lineage: Lineage,
    /// Why the lineage before this one ended.
    pub(crate) lost: Option<Arc<str>>,
    pub(crate) stage: Stage,
}

/// Which backend a stream leads to; a lost backend ends its lineage and every stream of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage(u64);

impl Lineage {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How far the proxy's drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    #[default]
    Open,
    Draining,
    /// The deadline is over: end now.
    Over,
}
