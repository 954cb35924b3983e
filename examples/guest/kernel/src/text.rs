//! Formatted text as bytes.

use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Appends formatted text to bytes. Its `Result` is always `Ok`.
#[derive(Debug)]
pub struct Text<'a>(pub &'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
