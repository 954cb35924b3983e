//! Putting an instance to sleep: what it has written is saved, and what it touches is learnt.

use std::sync::Arc;

use snapshot::PageRuns;
use vm_memory::GuestAddress;
use vmm_core::VmState;

use super::host::{Awake, Cause, MicroVmHost};
use super::parked::{ParkedVm, SavedMemory, ranges, worth_having_ahead};
use crate::host::Parked;

/// After so many wakes the working set is learnt anew: what is populated ahead counts as touched, so it only ever grows.
const RELEARN_WAKES: u32 = 64;
const PAGE_BYTES: u64 = 4096;

impl MicroVmHost {
    /// Saves an awake instance in RAM if it is quiet, or gives it back, paused, with the reason if that is an error.
    pub(super) fn sleep(&self, mut awake: Awake) -> Result<(ParkedVm, Parked), (Box<Awake>, Option<Cause>)> {
        match awake
            .vm
            .pause()
            .map_err(Cause::from)
            .and_then(|paused| Ok(paused.is_quiet()?))
        {
            Ok(true) => self.save(awake).map_err(|(awake, cause)| (awake, Some(cause))),
            Ok(false) => Err((Box::new(awake), None)),
            Err(cause) => Err((Box::new(awake), Some(cause))),
        }
    }

    /// Saves an awake instance in RAM as it is. What can fail comes before the streams are taken out of the VM, so that it can go
    /// on otherwise.
    pub(super) fn save(&self, mut awake: Awake) -> Result<(ParkedVm, Parked), (Box<Awake>, Cause)> {
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
                if let Some(touched) = touched {
                    self.learn(&state, &touched);
                }
                let saved_bytes = memory.resident_bytes().unwrap_or_default();
                let Awake {
                    vm, wakes, origin, ..
                } = awake;
                self.pool.retire(vm);
                Ok((
                    ParkedVm {
                        memory,
                        state,
                        streams,
                        wakes,
                        origin,
                    },
                    Parked::Asleep {
                        written_bytes,
                        saved_bytes,
                    },
                ))
            }
            Err(cause) => Err((Box::new(awake), cause)),
        }
    }

    /// The memory of a VM, how much of it was written if that is known, and for small ones what was touched.
    fn save_memory(&self, awake: &mut Awake) -> Result<(SavedMemory, u64, Option<PageRuns>), Cause> {
        let paused = awake.vm.pause()?;
        let Some(image) = &mut awake.image else {
            let touched = snapshot::touched_pages(paused.memory())?;
            let memory = SavedMemory::capture(paused.memory())?;
            let touched = matches!(memory, SavedMemory::Compact(_)).then_some(touched);
            return Ok((memory, 0, touched));
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
