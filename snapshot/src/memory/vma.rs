//! What backs our own address space, from `/proc/self/maps`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;

/// A mapping, cut to the range that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vma {
    pub(crate) host: Range<u64>,
    pub(crate) backing: Backing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Private memory without a file: what is not present is zero.
    Anonymous,
    /// A file, or shared memory, which has a file in the kernel.
    File {
        dev: u64,
        ino: u64,
        offset: u64,
        sharing: Sharing,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Private,
    Shared,
}

/// The mappings that cover all of `host`, ascending. O(mappings of the process).
pub(crate) fn mappings(host: Range<u64>) -> io::Result<Vec<Vma>> {
    let mut covered = host.start;
    let mut vmas = Vec::new();
    // Bytes, not text: the lines end in paths, and those may be anything.
    for line in BufReader::with_capacity(64 << 10, File::open("/proc/self/maps")?).split(b'\n') {
        let line = line?;
        let vma = parse(&line).ok_or_else(|| {
            io::Error::other(format!(
                "/proc/self/maps has {:?}",
                line.escape_ascii().to_string()
            ))
        })?;
        if vma.host.end <= covered {
            continue;
        }
        if covered >= host.end || vma.host.start > covered {
            break;
        }
        let vma = vma.cut(covered..host.end);
        covered = vma.host.end;
        vmas.push(vma);
    }
    if covered < host.end {
        return Err(io::Error::other(format!(
            "nothing is mapped at host address {covered:#x}"
        )));
    }
    Ok(vmas)
}

impl Vma {
    fn cut(mut self, to: Range<u64>) -> Self {
        let host = self.host.start.max(to.start)..self.host.end.min(to.end);
        if let Backing::File { offset, .. } = &mut self.backing {
            *offset += host.start - self.host.start;
        }
        Self { host, ..self }
    }
}

/// One line: `start-end perms offset major:minor inode path` (man 5 proc_pid_maps).
fn parse(line: &[u8]) -> Option<Vma> {
    // Five words, then a path that does not matter.
    let words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let mut words = words.map_while(|word| str::from_utf8(word).ok());
    let (start, end) = words.next()?.split_once('-')?;
    let sharing = match words.next()?.as_bytes().last()? {
        b's' => Sharing::Shared,
        _ => Sharing::Private,
    };
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let offset = hex(words.next()?)?;
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |word: &str| u32::from_str_radix(word, 16).ok();
    let dev = rustix::fs::makedev(number(major)?, number(minor)?);
    let backing = match words.next()?.parse().ok()? {
        0 => Backing::Anonymous,
        ino => Backing::File {
            dev,
            ino,
            offset,
            sharing,
        },
    };
    Some(Vma {
        host: hex(start)?..hex(end)?,
        backing,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;

    use vm_memory::{FileOffset, MmapRegion};

    use super::*;

    #[test]
    fn a_line_is_read_and_cut() {
        let line = b"7f0000000000-7f0000200000 rw-p 00200000 00:01 1034 /memfd:ram (deleted)";
        let file = |offset, sharing| Backing::File {
            dev: rustix::fs::makedev(0, 1),
            ino: 1034,
            offset,
            sharing,
        };
        let vma = parse(line).unwrap();
        assert_eq!(vma.host, 0x7f00_0000_0000..0x7f00_0020_0000);
        assert_eq!(vma.backing, file(0x20_0000, Sharing::Private));
        let cut = vma.cut(0x7f00_0010_0000..0x7f00_0018_0000);
        assert_eq!(cut.host, 0x7f00_0010_0000..0x7f00_0018_0000);
        assert_eq!(cut.backing, file(0x30_0000, Sharing::Private));
        let shared = parse(b"1000-2000 rw-s 00000000 fd:01 7 /a b").unwrap();
        assert!(matches!(
            shared.backing,
            Backing::File {
                sharing: Sharing::Shared,
                ino: 7,
                ..
            }
        ));
        assert_eq!(
            parse(b"1000-2000 rw-p 00000000 00:00 0 ").unwrap().backing,
            Backing::Anonymous
        );
        assert_eq!(parse(b"1000-2000 rw-p"), None);
    }

    #[test]
    fn a_mapped_file_may_have_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(OsStr::from_bytes(b"not \xff\xfe UTF-8"));
        std::fs::write(&path, [1; 4096]).unwrap();
        let file = File::open(&path).unwrap();
        let ino = file.metadata().unwrap().ino();
        let mapping = MmapRegion::<()>::build(
            Some(FileOffset::new(file, 0)),
            4096,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        )
        .unwrap();
        let start = u64::try_from(mapping.as_ptr().addr()).unwrap();
        let vmas = mappings(start..start + 4096).unwrap();
        assert!(
            matches!(vmas[..], [Vma { backing: Backing::File { ino: found, .. }, .. }] if found == ino),
            "{vmas:?}"
        );
    }

    #[test]
    fn a_range_with_nothing_mapped_is_an_error() {
        assert!(mappings(0..0x1000).is_err());
    }
}
