use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::error::LoadError;
use super::open::Snapshot;
use crate::format::{DataRun, FormatError, GROUP_BYTES};
use crate::image::{ImageRegion, region_at};
use crate::int::{to_u64, to_usize};
use crate::memory::data_extents;
use crate::save::{Content, runs};

impl Snapshot {
    /// Verifies the memory as well: every page with data against its checksum, and every other byte of the file
    /// to be zero, because a mapping would show it. O(bytes of data), with a buffer of 2 MiB.
    ///
    /// # Errors
    /// [`LoadError::Format`] names the first damaged range of guest addresses.
    pub fn verify_memory(&self) -> Result<(), LoadError> {
        let mut buffer = vec![0; to_usize(GROUP_BYTES)];
        let mut padding_start = self.sections_end;
        let mut rest = self.runs.as_slice();
        for region in &self.header.regions {
            self.verify_zero(padding_start..region.file_offset, None, &mut buffer)?;
            let (runs, behind) = rest.split_at(rest.partition_point(|run| run.gpa < region.end()));
            let mut hole_start = region.file_offset;
            for run in runs {
                self.verify_zero(
                    hole_start..region.file_offset_of(run.gpa),
                    Some(region),
                    &mut buffer,
                )?;
                self.read_run(region, run, &mut buffer)?;
                hole_start = region.file_offset_of(run.end());
            }
            self.verify_zero(hole_start..region.file_end(), Some(region), &mut buffer)?;
            padding_start = region.file_end();
            rest = behind;
        }
        Ok(())
    }

    /// Gives the data of every run to `visit`, verified. O(bytes of data), with a buffer of 2 MiB.
    pub(crate) fn each_run<E: From<LoadError>>(
        &self,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; to_usize(GROUP_BYTES)];
        for run in &self.runs {
            let region = region_at(&self.header.regions, run.gpa)
                .expect("the page map was checked to lie within the regions");
            visit(run.gpa, self.read_run(region, run, &mut buffer)?)?;
        }
        Ok(())
    }

    fn read_run<'b>(
        &self,
        region: &ImageRegion,
        run: &DataRun,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], LoadError> {
        let offset = region.file_offset_of(run.gpa);
        let len_bytes = u64::from(run.len_bytes);
        let bytes = self.read(offset..offset + len_bytes, buffer)?;
        let (found, expected) = (crc32fast::hash(bytes), run.crc);
        if found != expected {
            let error = FormatError::DamagedMemory {
                gpa: run.gpa,
                len_bytes,
                offset,
                found,
                expected,
            };
            return Err(LoadError::format(&self.path, error));
        }
        Ok(bytes)
    }

    /// Checks a range of the file, in `region` or between the parts, to be zero without reading its holes.
    fn verify_zero(
        &self,
        range: Range<u64>,
        region: Option<&ImageRegion>,
        buffer: &mut [u8],
    ) -> Result<(), LoadError> {
        let page = rustix::param::page_size();
        // Sections may end within a page.
        let aligned = range.start - range.start % to_u64(page)..range.end;
        let extents = data_extents(&self.file, aligned, to_u64(page))
            .map_err(|error| LoadError::io("find the holes of the file", &self.path, error))?;
        for extent in extents {
            let mut offset = extent.start.max(range.start);
            while offset < extent.end {
                let end = extent.end.min((offset + 1).next_multiple_of(GROUP_BYTES));
                let bytes = self.read(offset..end, buffer)?;
                if let Some((at, ..)) = runs(bytes, page).find(|(_, content, _)| *content == Content::Data) {
                    let offset = offset + to_u64(at);
                    let error = match region {
                        Some(region) => FormatError::DamagedZeroPage {
                            gpa: region.gpa.0 + (offset - region.file_offset),
                            offset,
                        },
                        None => FormatError::DamagedPadding { offset },
                    };
                    return Err(LoadError::format(&self.path, error));
                }
                offset = end;
            }
        }
        Ok(())
    }

    fn read<'b>(&self, range: Range<u64>, buffer: &'b mut [u8]) -> Result<&'b [u8], LoadError> {
        let bytes = buffer
            .get_mut(..to_usize(range.end - range.start))
            .expect("a range within a group fits the buffer");
        self.file
            .read_exact_at(bytes, range.start)
            .map_err(|error| LoadError::io("read the memory", &self.path, error))?;
        Ok(bytes)
    }
}
