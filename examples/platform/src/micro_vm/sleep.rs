//! Putting an instance to sleep: what it has written is saved, and what it touches is learnt.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use snapshot::PageRuns;
use vm_memory::GuestAddress;
use vmm_core::{DetachedStreams, VmState};

use super::host::{Awake, Cause, MicroVmHost};
use super::parked::{ParkedVm, SavedMemory, ranges, worth_having_ahead};
use crate::host::{ParkMode, Parked};

/// After so many wakes the working set is learnt anew: what is populated ahead counts as touched, so it only ever grows.
const RELEARN_WAKES: u32 = 64;
const PAGE_BYTES: u64 = 4096;

/// A VM that was saved, and what is known of its run.
pub(super) struct SavedVm {
    pub(super) parked: ParkedVm,
    /// How much of its memory was written to save it.
    written_bytes: u64,
    /// What it has touched, if that is little.
    touched: Option<PageRuns>,
}

impl MicroVmHost {
    /// Saves an awake instance in RAM if it is quiet or `mode` lets it, or gives it back, paused, with the reason if that is an
    /// error.
    pub(super) fn sleep(
        &self,
        mut awake: Awake,
        mode: ParkMode,
    ) -> Result<(ParkedVm, Parked), (Box<Awake>, Option<Cause>)> {
        let quiet = awake
            .vm
            .pause()
            .map_err(Cause::from)
            .and_then(|paused| Ok(paused.is_quiet()?));
        let midway = match quiet {
            Ok(quiet) if quiet || mode == ParkMode::AsItIs => !quiet,
            Ok(_) => return Err((Box::new(awake), None)),
            Err(cause) => return Err((Box::new(awake), Some(cause))),
        };
        let saved = self.save(awake).map_err(|(awake, cause)| (awake, Some(cause)))?;
        let mut parked = saved.parked;
        if midway {
            // Nobody waits for an answer, so these would only be kept for the guest to answer nobody.
            parked.streams = with_living_peers(parked.streams);
        } else if let Some(touched) = saved.touched {
            self.learn(&parked.state, &touched);
        }
        let outcome = Parked::Asleep {
            written_bytes: saved.written_bytes,
            saved_bytes: parked.memory.resident_bytes().unwrap_or_default(),
            midway,
        };
        Ok((parked, outcome))
    }

    /// Saves an awake instance in RAM as it is. What can fail comes before the streams are taken out of the VM, so that it can go
    /// on otherwise.
    pub(super) fn save(&self, mut awake: Awake) -> Result<SavedVm, (Box<Awake>, Cause)> {
        match self.save_memory(&mut awake) {
            Ok((memory, written_bytes, touched)) => {
                let saved = awake
                    .vm
                    .pause()
                    .map_err(Cause::from)
                    .and_then(|paused| Ok(paused.save_with_streams()?));
                let (state, streams) = match saved {
                    Ok(saved) => saved,
                    Err(cause) => return Err((Box::new(awake), cause)),
                };
                let state = Arc::new(state);
                let Awake {
                    vm, wakes, origin, ..
                } = awake;
                self.pool.retire(vm);
                let parked = ParkedVm {
                    memory,
                    state,
                    streams,
                    wakes,
                    origin,
                };
                Ok(SavedVm {
                    parked,
                    written_bytes,
                    touched,
                })
            }
            Err(cause) => Err((Box::new(awake), cause)),
        }
    }

    /// The memory of a VM, how much of it was written to save it, and for small ones what was touched.
    fn save_memory(&self, awake: &mut Awake) -> Result<(SavedMemory, u64, Option<PageRuns>), Cause> {
        let paused = awake.vm.pause()?;
        let Some(image) = &mut awake.image else {
            let touched = snapshot::touched_pages(paused.memory())?;
            let memory = SavedMemory::capture(paused.memory())?;
            let touched = matches!(memory, SavedMemory::Compact(_)).then_some(touched);
            // All of it is new.
            let written_bytes = memory.resident_bytes()?;
            return Ok((memory, written_bytes, touched));
        };
        let absorbed = image.absorb(paused.memory(), Vec::new());
        if absorbed.is_err() && image.is_poisoned() {
            // The VM has all of it still; the next time it is captured anew.
            awake.image = None;
        }
        let absorbed = absorbed?;
        let relearn = awake.wakes % RELEARN_WAKES == RELEARN_WAKES - 1;
        let touched = if relearn {
            PageRuns::default()
        } else {
            absorbed.touched
        };
        let image = awake.image.take().ok_or("the image has gone")?;
        let memory = SavedMemory::Mapped {
            image,
            working_set: worth_having_ahead(touched),
        };
        Ok((memory, absorbed.dirty_pages * PAGE_BYTES, None))
    }

    /// Has shells made with what a VM touched, if that is more than before. A VM from such a shell has touched all that its
    /// shell had, so this grows, and ends when it covers the guest.
    fn learn(&self, state: &Arc<VmState>, touched: &PageRuns) {
        let touched = ranges(&worth_having_ahead(touched.clone()));
        let bytes = |ranges: &[(GuestAddress, u64)]| ranges.iter().map(|(_, len)| len).sum::<u64>();
        let mut shape = self.shape();
        if bytes(&touched) > bytes(&shape.touched) {
            *shape = vmm_core::Template {
                state: Arc::clone(state),
                touched,
            };
            self.pool.set_template(shape.clone());
        }
    }
}

/// The streams of `streams` whose other end is open. The guest learns of the others when it goes on: they are reset.
fn with_living_peers(mut streams: DetachedStreams) -> DetachedStreams {
    let mut living = DetachedStreams::default();
    for (id, stream) in streams.take_streams() {
        if has_peer(&stream) {
            living.insert(id, stream);
        }
    }
    for (port, stream) in streams.take_waiting() {
        if has_peer(&stream) {
            living.insert_waiting(port, stream);
        }
    }
    living
}

/// Whether anybody has the other end of `stream`. What cannot be told counts as yes.
fn has_peer(stream: &UnixStream) -> bool {
    let mut looked = [PollFd::new(stream, PollFlags::empty())];
    match poll(&mut looked, Some(&Timespec::default())) {
        Ok(_) => !looked[0].revents().contains(PollFlags::HUP),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use vmm_core::ConnectionId;

    use super::*;

    #[test]
    fn only_streams_that_somebody_left_for_good_are_closed() {
        let (pairs, mut theirs): (Vec<_>, Vec<_>) = (0..6).map(|_| UnixStream::pair().unwrap()).unzip();
        let mut streams = DetachedStreams::default();
        for (number, stream) in (0..).zip(pairs) {
            match number {
                0..3 => streams.insert(ConnectionId(number), stream),
                _ => streams.insert_waiting(number, stream),
            }
        }
        // Who has only finished sending may still want an answer.
        for finished in [2, 5] {
            theirs[finished].shutdown(std::net::Shutdown::Write).unwrap();
        }
        theirs.remove(3);
        theirs.remove(0);
        let mut living = with_living_peers(streams);
        let streams: Vec<_> = living.take_streams().map(|(id, _)| id.0).collect();
        let waiting: Vec<_> = living.take_waiting().map(|(port, _)| port).collect();
        assert_eq!((streams, waiting), (vec![1, 2], vec![4, 5]));
    }
}
