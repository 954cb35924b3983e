//! Kernels that do not serve, made of a few instructions.

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

/// What a kernel does after it has printed its text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    Halt,
    Reset,
}

/// How a kernel answers nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wedged {
    Halted,
    Spinning,
}

/// A kernel that prints `text` to the serial port; the file is there as long as the directory.
pub(crate) fn printing(text: &str, then: Then) -> Result<(TempDir, PathBuf)> {
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
    }
    match then {
        Then::Halt => code.extend([0xfa, 0xf4]),              // cli; hlt
        Then::Reset => code.extend([0xb0, 0xfe, 0xe6, 0x64]), // mov al, 0xfe; out 0x64, al
    }
    code.extend([0xeb, 0xfe]); // jmp to itself
    file(&elf(&code))
}

/// A kernel that says that it serves, and then answers nothing: interrupts off, halted or spinning.
pub(crate) fn never_answering(how: Wedged) -> Result<(TempDir, PathBuf)> {
    // Maps GPA 3 GiB to 4 GiB, where the devices are, into the boot page tables of docs/guest-abi.md.
    let mut code = vec![0x48, 0xc7, 0xc7, 0x00, 0x00, 0x30, 0x00]; // mov rdi, 0x300000
    code.extend([0x48, 0xb8, 0x83, 0x00, 0x00, 0xc0, 0x00, 0x00, 0x00, 0x00]); // mov rax, 0xc0000083
    code.extend([0xb9, 0x00, 0x02, 0x00, 0x00]); // mov ecx, 512
    code.extend([0x48, 0x89, 0x07]); // fill: mov [rdi], rax
    code.extend([0x48, 0x83, 0xc7, 0x08]); // add rdi, 8
    code.extend([0x48, 0x05, 0x00, 0x00, 0x20, 0x00]); // add rax, 0x200000
    code.extend([0xe2, 0xf1]); // loop fill
    code.extend([
        0x48, 0xc7, 0x04, 0x25, 0x18, 0xa0, 0x00, 0x00, 0x03, 0x00, 0x30, 0x00,
    ]); // mov qword [0xa018], 0x300003
    code.extend([0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]); // mov rax, cr3; mov cr3, rax
    code.extend([0x48, 0xbb, 0x00, 0x20, 0x00, 0xd0, 0x00, 0x00, 0x00, 0x00]); // mov rbx, 0xd0002000, the boot timer
    code.extend([0xc7, 0x03, 0x04, 0x00, 0x00, 0x00]); // mov dword [rbx], 4
    code.push(0xfa); // cli
    match how {
        Wedged::Halted => code.extend([0xf4, 0xeb, 0xfd]), // halt: hlt; jmp halt
        Wedged::Spinning => code.extend([0xeb, 0xfe]),     // spin: jmp spin
    }
    file(&elf(&code))
}

/// A file with `bytes`.
pub(crate) fn file(bytes: &[u8]) -> Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("kernel");
    std::fs::write(&path, bytes)?;
    Ok((dir, path))
}

/// A static 64-bit ELF file with one segment (gabi 4.1, "ELF Header", "Program Header").
fn elf(code: &[u8]) -> Vec<u8> {
    const LOAD_GPA: u64 = 0x10_0000;
    const HEADERS_LEN: u64 = 64 + 56;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let entry = LOAD_GPA + HEADERS_LEN;
    let len = HEADERS_LEN + code.len() as u64;
    let (short, word) = (u16::to_le_bytes, u32::to_le_bytes);
    file.extend([short(2), short(62)].concat()); // ET_EXEC, EM_X86_64
    file.extend(word(1));
    file.extend([entry, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(word(0));
    file.extend([64, 56, 1, 0, 0, 0].map(short).concat());
    file.extend([word(1), word(5)].concat()); // PT_LOAD, read and execute
    file.extend(
        [0, LOAD_GPA, LOAD_GPA, len, len, 4096]
            .map(u64::to_le_bytes)
            .concat(),
    );
    file.extend(code);
    file
}
