//! The kernel command line: device windows and options.

use super::info::RAM_LIMIT;

/// The space-separated tokens of a kernel command line.
#[derive(Debug, Clone, Copy)]
pub struct CommandLine<'a>(&'a [u8]);

/// A device's register window, from a token such as `4K@0xd0000000:5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Guest physical address of the first register; a multiple of 4.
    pub base: u64,
    /// Length in bytes. The window is between 3 GiB, where memory that the kernel uses ends, and 4 GiB, where what is
    /// mapped ends.
    pub len: u64,
    /// I/O APIC pin, 0 to 23, if the token names one.
    pub pin: Option<u8>,
}

impl<'a> CommandLine<'a> {
    /// Takes the bytes up to the first NUL, or all of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.split(|&b| b == 0).next().unwrap_or_default())
    }

    /// Whether `option` is one of the tokens.
    pub fn has(&self, option: &str) -> bool {
        self.tokens().any(|token| token == option.as_bytes())
    }

    /// The well-formed windows given as `key=`, in order; malformed ones are skipped.
    pub fn windows(&self, key: &'a str) -> impl Iterator<Item = Window> + 'a {
        self.tokens().filter_map(move |token| {
            let value = token.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
            Window::parse(core::str::from_utf8(value).ok()?)
        })
    }

    fn tokens(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.0.split(u8::is_ascii_whitespace)
    }
}

impl Window {
    /// Parses `LEN@BASE[:PIN[:ID]]`, numbers as Linux's `memparse` reads them. An id is accepted and ignored.
    fn parse(text: &str) -> Option<Self> {
        const MAPPED_END: u64 = 1 << 32;
        let (len, rest) = text.split_once('@')?;
        let mut fields = rest.split(':');
        let base = number(fields.next()?)?;
        let pin = match fields.next() {
            Some(pin) => Some(u8::try_from(number(pin)?).ok().filter(|&pin| pin < 24)?),
            None => None,
        };
        let len = number(len)?;
        let fits = base >= RAM_LIMIT && base.checked_add(len).is_some_and(|end| end <= MAPPED_END);
        (fits && len > 0 && base.is_multiple_of(4)).then_some(Self { base, len, pin })
    }
}

/// A decimal or `0x` hexadecimal number with an optional K, M or G.
fn number(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 10),
        b'm' | b'M' => (&text[..text.len() - 1], 20),
        b'g' | b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    value.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn first(text: &str) -> Option<Window> {
        CommandLine::new(text.as_bytes())
            .windows("virtio_mmio.device")
            .next()
    }

    #[test]
    fn windows_are_read_as_linux_reads_them() {
        let window = Window {
            base: 0xd000_0000,
            len: 4096,
            pin: Some(5),
        };
        assert_eq!(first("quiet virtio_mmio.device=4K@0xd0000000:5"), Some(window));
        assert_eq!(first("virtio_mmio.device=0x1000@0xd0000000:5:7 x"), Some(window));
        let qemu = Window {
            base: 0xfeb0_0e00,
            len: 512,
            pin: Some(12),
        };
        assert_eq!(first("virtio_mmio.device=512@0xfeb00e00:12"), Some(qemu));
        assert_eq!(
            first("virtio_mmio.device=4K@0xd0000000").map(|w| w.pin),
            Some(None)
        );
    }

    #[test]
    fn windows_that_cannot_be_used_are_skipped() {
        for bad in [
            "",
            "4K",
            "4K@",
            "@0xd0000000",
            "4K@0xd0000001:5",
            "4K@0xd0000000:24",
            "0@0xd0000000:5",
            "4K@0xfffff001",
            "4K@0x00100000:5",
            "4K@0xbffff000:5",
            "16G@0xd0000000",
            "4K@-1",
        ] {
            assert_eq!(first(&format!("virtio_mmio.device={bad}")), None, "{bad}");
        }
        assert_eq!(first("virtio_mmio.devices=4K@0xd0000000:5"), None);
    }

    #[test]
    fn options_are_whole_tokens_before_the_first_nul() {
        let line = CommandLine::new(b"resume_mark  quietly\0quiet");
        assert!(line.has("resume_mark"));
        assert!(!line.has("quiet"));
        assert!(!line.has("resume"));
    }

    proptest! {
        #[test]
        fn any_bytes_give_windows_within_the_mapped_range(bytes: Vec<u8>, spec in "[0-9a-fxKMG@:]{0,24}") {
            for line in [bytes, format!("a=1 k={spec} k={spec}").into_bytes()] {
                for window in CommandLine::new(&line).windows("k") {
                    prop_assert!(window.base >= 3 << 30 && window.base + window.len <= 1 << 32);
                    prop_assert!(window.pin.is_none_or(|pin| pin < 24));
                }
            }
        }
    }
}
