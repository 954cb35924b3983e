//! Reading the kernel that the configuration names, and saying early what cannot be one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The configured kernel is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelFileError {
    /// The file could not be read.
    #[error("read kernel {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no kernel that could run here.
    #[error("kernel {}: {problem}; docs/guest-abi.md says what a kernel must be", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads the kernel at `path`. Finds what people mistake for one; the loader checks the rest.
pub(crate) fn read(path: &Path) -> Result<Arc<[u8]>, KernelFileError> {
    let failed = |source| KernelFileError::Read {
        path: path.to_owned(),
        source,
    };
    let unfit = |problem| KernelFileError::Unfit {
        path: path.to_owned(),
        problem,
    };
    // Not a pipe either, which would be waited for.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unfit("it is a directory or device, not a file".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    match problem(&bytes) {
        Some(problem) => Err(unfit(problem)),
        None => Ok(bytes.into()),
    }
}

/// What is wrong with an ELF image (gabi 4.1, "ELF Header" and "Program Header"), if that can be seen.
fn problem(bytes: &[u8]) -> Option<String> {
    const SEGMENT_BYTES: usize = 56;
    const LOAD: u32 = 1;
    const INTERPRETER: u32 = 3;
    if bytes.is_empty() {
        return Some("the file is empty".to_owned());
    }
    if !bytes.starts_with(b"\x7fELF") {
        let hint = match bytes.get(0x202..0x206) {
            Some(b"HdrS") => " (it is a bzImage: take the vmlinux that it was made from)",
            _ => "",
        };
        return Some(format!("it is not an ELF file{hint}"));
    }
    let cut_off = |needed: u64| Some(format!("it is cut off: it has {} bytes of {needed}", bytes.len()));
    if bytes.len() < 64 {
        return cut_off(64);
    }
    if (bytes.get(4), half(bytes, 18)) != (Some(&2), Some(62)) {
        return Some("it is an ELF file, but not for x86-64".to_owned());
    }
    let table = usize::try_from(long(bytes, 32)?).ok()?;
    let mut loads = 0;
    for index in 0..usize::from(half(bytes, 56)?) {
        let at = index
            .checked_mul(SEGMENT_BYTES)
            .and_then(|offset| table.checked_add(offset))?;
        let segment_end = at.saturating_add(SEGMENT_BYTES);
        let Some(segment) = bytes.get(at..segment_end) else {
            return cut_off(u64::try_from(segment_end).unwrap_or(u64::MAX));
        };
        let (kind, offset, len) = (word(segment, 0)?, long(segment, 8)?, long(segment, 32)?);
        let end = offset.saturating_add(len);
        if end > u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
            return cut_off(end);
        }
        loads += usize::from(kind == LOAD);
        if kind == INTERPRETER {
            return Some("it is a program for Linux, linked dynamically, not a kernel".to_owned());
        }
    }
    (loads == 0).then(|| "it is an ELF file with nothing to load".to_owned())
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(field(bytes, at)?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(field(bytes, at)?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(field(bytes, at)?))
}

fn field<const LEN: usize>(bytes: &[u8], at: usize) -> Option<[u8; LEN]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_guest_is_fit_and_no_part_of_it_is() {
        assert_eq!(problem(guest::ELF), None);
        for len in [4, 40, 64, 100, 3_000, guest::ELF.len() / 2] {
            let problem = problem(&guest::ELF[..len]).unwrap();
            assert!(
                problem.contains(&format!("cut off: it has {len} bytes")),
                "{problem}"
            );
        }
    }

    #[test]
    fn what_is_no_kernel_is_told_apart() {
        let mut program = guest::ELF.to_vec();
        let table = usize::try_from(long(&program, 32).unwrap()).unwrap();
        program[table..table + 4].copy_from_slice(&3_u32.to_le_bytes()); // PT_INTERP
        assert!(problem(&program).unwrap().contains("linked dynamically"));
        assert!(problem(b"").unwrap().contains("empty"));
        assert!(problem(b"#!/bin/sh\n").unwrap().contains("not an ELF file"));
        let mut image = vec![0; 0x300];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(problem(&image).unwrap().contains("vmlinux"));
        let mut arm = guest::ELF.to_vec();
        arm[18] = 183;
        assert!(problem(&arm).unwrap().contains("not for x86-64"));
    }

    #[test]
    fn a_directory_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = read(dir.path()).unwrap_err().to_string();
        assert!(
            text.contains("directory") && text.contains("guest-abi.md"),
            "{text}"
        );
    }
}
