//! Kernels written by hand, byte by byte: 32-bit code for the PVH entry, which reaches all of the first 4 GiB.

/// Where the kernel is loaded and entered.
const BASE: u32 = 0x10_0000;

/// Device windows (docs/guest-abi.md).
pub(crate) const NET: u32 = 0xd000_0000;
pub(crate) const GENERATION: u32 = 0xd000_1000;
pub(crate) const BOOT_TIMER: u32 = 0xd000_2000;
pub(crate) const IOAPIC: u32 = 0xfec0_0000;
/// No device is here.
pub(crate) const NOWHERE: u32 = 0xe000_0000;
pub(crate) const SERIAL: u16 = 0x3f8;

/// Which entries an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Note {
    Pvh,
    None,
}

/// An ELF image with `code` in it, entered at its first byte.
pub(crate) fn image(code: &Code, note: Note) -> Vec<u8> {
    const HEADER: u16 = 64;
    const PROGRAM_HEADER: u16 = 56;
    const NOTE_BYTES: u64 = 20;
    let note_at = u64::from(HEADER + 2 * PROGRAM_HEADER);
    let code_at = note_at + NOTE_BYTES;
    let mut out = Vec::new();
    // 64 bits, little-endian, version 1; executable, x86-64, version 1.
    out.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    out.extend(u64::from(BASE).to_le_bytes());
    out.extend(u64::from(HEADER).to_le_bytes());
    // No sections, no flags.
    out.extend([0; 12]);
    let phnum = match note {
        Note::Pvh => 2,
        Note::None => 1,
    };
    for half in [HEADER, PROGRAM_HEADER, phnum, 0, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    let len = u64::try_from(code.0.len()).unwrap();
    for (kind, offset, address, len) in [
        (1_u32, code_at, u64::from(BASE), len),
        (4, note_at, 0, NOTE_BYTES),
    ] {
        out.extend(kind.to_le_bytes());
        out.extend(7_u32.to_le_bytes());
        for word in [offset, address, address, len, len, 4] {
            out.extend(word.to_le_bytes());
        }
    }
    // Lengths of name and descriptor, type 18.
    for word in [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), BASE] {
        out.extend(word.to_le_bytes());
    }
    out.extend(&code.0);
    out
}

/// Machine code for 32-bit protected mode without paging.
#[derive(Debug, Default, Clone)]
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The image with this code and a PVH note.
    pub(crate) fn image(&self) -> Vec<u8> {
        image(self, Note::Pvh)
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn with_address(self, opcode: &[u8], address: u32) -> Self {
        self.with(opcode).with(&address.to_le_bytes())
    }

    /// `mov dword [address], value`
    pub(crate) fn store(self, address: u32, value: u32) -> Self {
        self.with_address(&[0xc7, 0x05], address)
            .with(&value.to_le_bytes())
    }

    /// `mov word [address], value`
    pub(crate) fn store_16(self, address: u32, value: u16) -> Self {
        self.with_address(&[0x66, 0xc7, 0x05], address)
            .with(&value.to_le_bytes())
    }

    /// `mov byte [address], value`
    pub(crate) fn store_8(self, address: u32, value: u8) -> Self {
        self.with_address(&[0xc6, 0x05], address).with(&[value])
    }

    /// `mov eax, [address]`
    pub(crate) fn load(self, address: u32) -> Self {
        self.with_address(&[0xa1], address)
    }

    /// `mov [address], eax`
    pub(crate) fn store_loaded(self, address: u32) -> Self {
        self.with_address(&[0xa3], address)
    }

    /// `mov dx, port; mov al, value; out dx, al`
    pub(crate) fn out(self, port: u16, value: u8) -> Self {
        self.with(&[0x66, 0xba])
            .with(&port.to_le_bytes())
            .with(&[0xb0, value, 0xee])
    }

    /// `body`, `count` times.
    pub(crate) fn repeat(self, count: u32, body: impl FnOnce(Self) -> Self) -> Self {
        let code = self.with_address(&[0xbb], count);
        let start = code.0.len();
        // dec ebx; jnz start
        let code = body(code).with(&[0x4b, 0x0f, 0x85]);
        let back = i32::try_from(code.0.len() + 4 - start).unwrap();
        code.with(&(-back).to_le_bytes())
    }

    /// Writes `number` to the boot timer.
    pub(crate) fn mark(self, number: u32) -> Self {
        self.store(BOOT_TIMER, number)
    }

    /// Asks for a reset, and spins until it takes effect.
    pub(crate) fn reset(self) -> Self {
        self.out(0x64, 0xfe).spin()
    }

    /// `hlt` with interrupts off, for ever.
    pub(crate) fn halt(self) -> Self {
        self.with(&[0xf4, 0xeb, 0xfd])
    }

    /// `jmp` to itself.
    pub(crate) fn spin(self) -> Self {
        self.with(&[0xeb, 0xfe])
    }

    /// An instruction that does not exist, without a handler: a triple fault.
    pub(crate) fn fault(self) -> Self {
        self.with(&[0x0f, 0x0b])
    }
}
