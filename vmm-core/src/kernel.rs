//! Loading a kernel: ELF into guest memory, the command line, and the entry point to use.

use std::io::Cursor;

use linux_loader::loader::elf::{Elf, PvhBootCapability};
use linux_loader::loader::{KernelLoader, load_cmdline};
use vm_memory::{Address, GuestAddress};

use crate::memory::{GuestRam, layout};

/// Which of an ELF kernel's two entry points to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Entry {
    /// PVH when the image has a PVH note, otherwise the Linux 64-bit entry.
    #[default]
    Auto,
    /// The 64-bit entry of the Linux boot protocol (`Documentation/arch/x86/boot.rst`).
    Linux64,
    /// The PVH entry (`Documentation/arch/x86/pvh.rst`); the image needs an ELF note for it.
    Pvh,
}

/// A kernel in guest memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loaded {
    Linux64(GuestAddress),
    Pvh(GuestAddress),
}

/// A kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The image is not an ELF that fits this VM's memory.
    #[error("load kernel ({bytes} bytes) into {memory_bytes} bytes of guest memory")]
    Elf {
        /// Size of the image.
        bytes: usize,
        /// Size of guest memory.
        memory_bytes: u64,
        /// What the loader found.
        #[source]
        source: linux_loader::loader::Error,
    },
    /// PVH entry was asked for and the image has none.
    #[error("boot kernel by its PVH entry: the ELF image has no PVH note (type 18, owner Xen)")]
    NoPvhNote,
    /// The command line is too long or not ASCII.
    #[error("command line of {bytes} bytes: {reason}")]
    CommandLine {
        /// Its length, with what the VMM appends.
        bytes: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Boot structures could not be written.
    #[error("write {what} to guest memory")]
    BootData {
        /// Which structure.
        what: &'static str,
        /// What was wrong.
        #[source]
        source: vm_memory::GuestMemoryError,
    },
}

pub(crate) fn load(ram: &GuestRam, image: &[u8], entry: Entry) -> Result<Loaded, KernelError> {
    let mut reader = Cursor::new(image);
    let result = Elf::load(ram.memory(), None, &mut reader, Some(layout::HIMEM)).map_err(|source| {
        KernelError::Elf {
            bytes: image.len(),
            memory_bytes: ram.bytes(),
            source,
        }
    })?;
    match (entry, result.pvh_boot_cap) {
        (Entry::Auto | Entry::Pvh, PvhBootCapability::PvhEntryPresent(address)) => Ok(Loaded::Pvh(address)),
        (Entry::Pvh, _) => Err(KernelError::NoPvhNote),
        (Entry::Auto | Entry::Linux64, _) => Ok(Loaded::Linux64(result.kernel_load)),
    }
}

/// Writes `text`, NUL-terminated, where the boot protocols point at.
pub(crate) fn write_cmdline(ram: &GuestRam, text: &str) -> Result<(), KernelError> {
    let fail = |reason| KernelError::CommandLine {
        bytes: text.len(),
        reason,
    };
    let mut cmdline = linux_loader::cmdline::Cmdline::new(layout::CMDLINE_MAX_BYTES)
        .map_err(|_| fail("the limit is not a capacity"))?;
    cmdline
        .insert_str(text)
        .map_err(|_| fail("must be printable ASCII, at most 2,047 bytes with the devices' part"))?;
    load_cmdline(ram.memory(), layout::CMDLINE, &cmdline).map_err(|_| fail("does not fit guest memory"))?;
    debug_assert!(layout::CMDLINE.raw_value() < layout::LOW_RAM_END);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram() -> GuestRam {
        GuestRam::reserve(4 << 20).unwrap()
    }

    #[test]
    fn what_is_not_an_elf_is_refused_with_its_size() {
        let error = load(&ram(), b"not an elf", Entry::Auto).unwrap_err();
        assert!(error.to_string().contains("10 bytes"), "{error}");
    }

    #[test]
    fn an_overlong_command_line_is_refused() {
        let text = "a".repeat(layout::CMDLINE_MAX_BYTES);
        assert!(matches!(
            write_cmdline(&ram(), &text),
            Err(KernelError::CommandLine { .. })
        ));
        assert!(matches!(
            write_cmdline(&ram(), "caf\u{e9}"),
            Err(KernelError::CommandLine { .. })
        ));
        write_cmdline(&ram(), &"a".repeat(layout::CMDLINE_MAX_BYTES - 1)).unwrap();
    }
}
