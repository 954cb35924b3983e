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

/// `number` in decimal digits, at the end of `buffer`.
pub fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    for digit in buffer.iter_mut().rev() {
        let [low, ..] = (number % 10).to_le_bytes();
        *digit = b'0' + low;
        number /= 10;
        at -= 1;
        if number == 0 {
            break;
        }
    }
    buffer.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_no_leading_zeros() {
        for number in [0, 9, 10, 1_234_567, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
