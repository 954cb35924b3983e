//! Physical memory, which is mapped one to one.

use guest_kernel::Physical;

/// The first 4 GiB.
pub(crate) struct Identity;

impl Physical<'static> for Identity {
    fn bytes(&self, gpa: u64, len: usize) -> Option<&'static [u8]> {
        const END: usize = 4 << 30;
        let start = usize::try_from(gpa).ok()?;
        let end = start.checked_add(len)?;
        if start == 0 || end > END {
            return None;
        }
        // SAFETY: mapped, not null, and bytes have no alignment. It is only used for what the loader left outside of
        // the image and the heap, before the heap exists; nothing writes there while the kernel runs.
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
