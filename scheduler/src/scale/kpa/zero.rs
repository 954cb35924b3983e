use crate::scale::kpa::KpaConfig;
use crate::time::Timestamp;

/// When the last instance may go: the service was active for a stable window, and requests were buffered for the grace
/// time, so that none can be on its way past the buffer.
#[derive(Debug, Default)]
pub(crate) struct Zero {
    active_since: Option<Timestamp>,
    inactive_since: Option<Timestamp>,
    /// Since when there is no room for the burst, so that requests are buffered.
    buffered_since: Option<Timestamp>,
}

impl Zero {
    /// The count that may be, where `desired` is wanted: one instead of zero for a while.
    pub(crate) fn settle(
        &mut self,
        config: &KpaConfig,
        now: Timestamp,
        desired: u32,
        excess_burst: i64,
    ) -> u32 {
        if desired > 0 {
            if self.inactive_since.take().is_some() {
                self.active_since = None;
            }
            self.active_since.get_or_insert(now);
            self.buffered_since = match excess_burst < 0 {
                true => self.buffered_since.or(Some(now)),
                false => None,
            };
            return desired;
        }
        let active_since = *self.active_since.get_or_insert(now);
        if self.inactive_since.is_none() && now.saturating_since(active_since) < config.stable_window {
            return 1;
        }
        let inactive_for = now.saturating_since(*self.inactive_since.get_or_insert(now));
        let buffered_for = now.saturating_since(*self.buffered_since.get_or_insert(now));
        let has_grace = inactive_for >= config.zero_grace || buffered_for >= config.zero_grace;
        if inactive_for < config.last_retention || !has_grace {
            return 1;
        }
        self.active_since = None;
        0
    }
}
