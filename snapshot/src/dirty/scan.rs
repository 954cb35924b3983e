//! The `PAGEMAP_SCAN` ioctl (Linux 6.7, Documentation/admin-guide/mm/pagemap.rst). The only unsafe code of
//! this crate; docs/adr/0002 says why it is worth it.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::{Which, push_range};
use crate::int::to_u64;

/// `struct page_region` of linux/fs.h.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[derive(Default)]
#[repr(C)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// `PAGEMAP_SCAN` of linux/fs.h.
const PAGEMAP_SCAN: libc::Ioctl = libc::_IOWR::<ScanArg>(0x66, 16);
/// Regions fetched by one call: 12 KiB.
const BATCH: usize = 512;

const _: () = assert!(size_of::<ScanArg>() == 0x60 && size_of::<PageRegion>() == 24);

/// Present or swapped pages; the private ones among them are no page of a file.
pub(super) fn ranges(pagemap: &File, host: Range<u64>, which: Which) -> io::Result<Vec<Range<u64>>> {
    let mut found = [PageRegion::default(); BATCH];
    let mut ranges = Vec::new();
    let mut arg = ScanArg {
        size: to_u64(size_of::<ScanArg>()),
        end: host.end,
        category_inverted: PAGE_IS_FILE,
        category_mask: match which {
            Which::Private => PAGE_IS_FILE,
            Which::Touched => 0,
        },
        category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        // Neighbours that differ in nothing but what is not asked for come as one region.
        return_mask: match which {
            Which::Private => PAGE_IS_FILE,
            Which::Touched => PAGE_IS_PRESENT,
        },
        ..ScanArg::default()
    };
    let mut next = host.start;
    while next < host.end {
        arg.start = next;
        let count = scan(pagemap, &mut arg, &mut found)?;
        for region in found.iter().take(count) {
            push_range(&mut ranges, region.start..region.end);
        }
        if arg.walk_end <= next {
            return Err(io::Error::other("PAGEMAP_SCAN makes no progress"));
        }
        next = arg.walk_end;
    }
    Ok(ranges)
}

/// One call: fills `found` from its start and says how many regions it holds.
fn scan(pagemap: &File, arg: &mut ScanArg, found: &mut [PageRegion]) -> io::Result<usize> {
    arg.vec = to_u64(found.as_mut_ptr().expose_provenance());
    arg.vec_len = to_u64(found.len());
    // SAFETY: `pagemap` is an open file for the length of the call. The kernel reads and writes `arg`, which is
    // borrowed mutably and has the layout and size that the request's number and `arg.size` say, and writes at
    // most `vec_len` regions to `vec`, which is `found`, borrowed mutably, of plain integers. The flags ask for
    // no write protection, so nothing else is changed.
    let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, std::ptr::from_mut(arg)) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
