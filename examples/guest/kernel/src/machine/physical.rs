//! Physical memory, which is mapped one to one.

use guest_kernel::Physical;

/// What loaders leave their structures in: the memory below the image, which neither the image nor the heap is in.
pub(crate) struct Identity;

impl Physical<'static> for Identity {
    fn bytes(&self, gpa: u64, len: usize) -> Option<&'static [u8]> {
        /// Where the image begins, as `link.ld` has it.
        const END: usize = 1 << 20;
        let start = usize::try_from(gpa).ok()?;
        let end = start.checked_add(len)?;
        if start == 0 || end > END {
            return None;
        }
        // SAFETY: mapped, not null, within one object as far as Rust can tell, and bytes have no alignment. Nothing
        // writes there as long as the kernel runs: its statics, stack and heap are all above, devices write only to
        // statics, and the loader has ended.
        Some(unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(start), len) })
    }
}

/// The first address behind the image, its zero-filled data and its stack.
pub(crate) fn image_end() -> usize {
    unsafe extern "C" {
        // The linker script defines it; it has an address and no contents.
        static image_end: u8;
    }
    (&raw const image_end).expose_provenance()
}
