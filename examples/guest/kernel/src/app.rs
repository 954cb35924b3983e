//! What the routes do on this machine.

use alloc::vec::Vec;
use core::fmt::Write;
use core::hint::black_box;

use guest_kernel::{Action, App, BootInfo, Entry, Random, Status, Text, decimal};

use crate::machine::{BootTimer, Clock, Phase, Source, crash, tsc};

const HELLO: &[u8] = b"Hello from a unikernel. Try /count, /info, /echo?hi, /burn?ms=5 or /touch?mib=1.\n";

/// The application: a counter, and knowledge of the VM it runs in.
#[derive(Debug)]
pub(crate) struct Application {
    count: u64,
    requests: u64,
    exiting: bool,
    /// Time in which nobody was listened to.
    deaf_ns: u64,
    random: Random,
    timer: BootTimer,
    clock: Clock,
    entry: Entry,
    memory_len: u64,
}

impl Application {
    pub(crate) fn new(info: &BootInfo<'_>, timer: BootTimer, clock: Clock) -> Self {
        let mut random = Random::new(tsc());
        for word in clock.generation().id {
            random.mix(word);
        }
        let (entry, memory_len) = (info.entry, info.memory_len);
        Self {
            count: 0,
            requests: 0,
            exiting: false,
            deaf_ns: 0,
            random,
            timer,
            clock,
            entry,
            memory_len,
        }
    }

    /// Tells the VMM of `phase`.
    pub(crate) fn mark(&mut self, phase: Phase) {
        self.timer.mark(phase);
    }

    /// Whether this is the first look after a restore; then tells the VMM if `tell`, and becomes a clone of its own.
    pub(crate) fn resumed(&mut self, tell: bool) -> bool {
        let resumed = self.clock.resumed();
        if resumed {
            if tell {
                self.timer.mark(Phase::Resumed);
            }
            for word in self.clock.generation().id {
                self.random.mix(word);
            }
        }
        resumed
    }

    /// A random number for the network's sequence numbers.
    pub(crate) fn random(&mut self) -> u64 {
        self.random.draw()
    }

    /// Nanoseconds since boot without the time asleep.
    pub(crate) fn awake_ns(&mut self) -> u64 {
        self.clock.awake_ns()
    }

    /// Nanoseconds since boot, the time asleep included, in which a client could have been heard.
    pub(crate) fn patience_ns(&self) -> u64 {
        self.clock.monotonic_ns().saturating_sub(self.deaf_ns)
    }

    /// Whether `/exit` has been asked for.
    pub(crate) fn is_exiting(&self) -> bool {
        self.exiting
    }

    /// Spins for `ms` milliseconds.
    #[cold]
    fn burn(&mut self, ms: u64) {
        let start = self.clock.monotonic_ns();
        let until = start.saturating_add(ms.saturating_mul(1_000_000));
        loop {
            let now = self.clock.monotonic_ns();
            if now >= until {
                self.deaf_ns = self.deaf_ns.saturating_add(now - start);
                return;
            }
            core::hint::spin_loop();
        }
    }

    /// Writes to each page of `mib` MiB of memory and gives them back; false if there are not so many.
    #[cold]
    fn touch(&self, mib: u64) -> bool {
        const PAGE_LEN: usize = 4096;
        let Some(len) = usize::try_from(mib).ok().and_then(|mib| mib.checked_mul(1 << 20)) else {
            return false;
        };
        let mut memory: Vec<u8> = Vec::new();
        if memory.try_reserve_exact(len).is_err() {
            return false;
        }
        let [mark, ..] = self.requests.to_le_bytes();
        for page in memory.spare_capacity_mut().chunks_mut(PAGE_LEN) {
            if let [first, ..] = page {
                black_box(first).write(mark | 1);
            }
        }
        true
    }

    #[cold]
    fn info(&self, text: &mut impl Write) -> core::fmt::Result {
        let generation = self.clock.generation();
        let timeline = &generation.timeline;
        let entry = match self.entry {
            Entry::Linux64 => "linux64",
            Entry::Pvh => "pvh",
        };
        write!(text, r#"{{"entry":"{entry}","boot_ns":{{"kernel":0"#)?;
        for (name, phase) in [
            ("application", Phase::Application),
            ("network", Phase::Network),
            ("serving", Phase::Serving),
        ] {
            write!(
                text,
                r#","{name}":{}"#,
                self.timer.since_entry_ns(phase, timeline)
            )?;
        }
        let source = match self.clock.source() {
            Source::Generation => "generation",
            Source::Pit => "pit",
            Source::Guess => "guess",
        };
        write!(text, r#"}},"clock":"{source}","generation":"#)?;
        if self.clock.source() == Source::Generation {
            text.write_char('"')?;
            for byte in generation.id.iter().flat_map(|word| word.to_le_bytes()) {
                write!(text, "{byte:02x}")?;
            }
            text.write_char('"')?;
        } else {
            text.write_str("null")?;
        }
        let now = tsc();
        write!(
            text,
            r#","restores":{},"monotonic_ns":{}"#,
            generation.restores,
            timeline.monotonic_ns(now)
        )?;
        match timeline.realtime_ns(now) {
            Some(ns) => write!(text, r#","realtime_ns":{ns}"#)?,
            None => text.write_str(r#","realtime_ns":null"#)?,
        }
        let (requests, memory_len, random) = (self.requests, self.memory_len, self.random.clone().draw());
        writeln!(
            text,
            r#","requests":{requests},"memory_bytes":{memory_len},"random":"{random:016x}"}}"#
        )
    }
}

impl App for Application {
    fn act(&mut self, action: Action, body: &mut Vec<u8>) -> Status {
        self.requests += 1;
        match action {
            Action::Hello => body.extend_from_slice(HELLO),
            Action::Count => {
                self.count += 1;
                body.extend_from_slice(decimal(self.count, &mut [0; 20]));
            }
            Action::Burn { ms } => {
                self.burn(ms);
                say(body, ["burned ", " ms\n"], ms);
            }
            Action::Touch { mib } if self.touch(mib) => say(body, ["touched ", " MiB\n"], mib),
            Action::Touch { .. } => return Status::InsufficientStorage,
            // Appending to bytes cannot fail.
            Action::Info => self.info(&mut Text(body)).unwrap_or_default(),
            Action::Crash => crash(),
            Action::Exit => {
                self.exiting = true;
                body.extend_from_slice(b"bye\n");
            }
        }
        Status::Ok
    }
}

/// Appends `number` between two texts.
fn say(body: &mut Vec<u8>, [before, after]: [&str; 2], number: u64) {
    body.extend_from_slice(before.as_bytes());
    body.extend_from_slice(decimal(number, &mut [0; 20]));
    body.extend_from_slice(after.as_bytes());
}
