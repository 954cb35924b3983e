//! Progress while the demonstration works: bars on a terminal, lines elsewhere, silence for programs.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
pub(super) struct Stage {
    silent: bool,
}

/// One step of the demonstration.
pub(super) struct Work {
    bar: ProgressBar,
    silent: bool,
}

impl Stage {
    pub(super) fn new(silent: bool) -> Self {
        Self { silent }
    }

    /// A step whose length is not known.
    pub(super) fn begin(&self, what: String) -> Work {
        let bar = self.show(ProgressBar::new_spinner());
        bar.set_style(style("  {spinner} {msg} [{elapsed}]"));
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(100));
        Work {
            bar,
            silent: self.silent,
        }
    }

    /// A step of `len` parts.
    pub(super) fn bar(&self, what: &'static str, len: u64) -> Work {
        let bar = self.show(ProgressBar::new(len));
        bar.set_style(style("  {msg} {wide_bar} {pos}/{len} [{elapsed}]"));
        bar.set_message(what);
        Work {
            bar,
            silent: self.silent,
        }
    }

    fn show(&self, bar: ProgressBar) -> ProgressBar {
        let target = if self.silent {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        bar.set_draw_target(target);
        bar
    }
}

impl Work {
    pub(super) fn step(&self) {
        self.bar.inc(1);
    }

    pub(super) fn done(self, outcome: String) {
        self.bar.finish_and_clear();
        if !self.silent {
            // Nobody has to watch.
            let _ = writeln!(std::io::stderr(), "  \u{2713} {outcome}");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The machine's load average over one minute, if it says.
pub(super) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}
