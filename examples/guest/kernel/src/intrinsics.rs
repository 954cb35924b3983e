//! The symbols that compiled Rust expects of its platform: memory functions, and stubs of unwinding.

use core::arch::asm;

/// Copies `len` bytes; the regions must not overlap.
///
/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for `len` readable bytes at `from` and writable ones at `to`; the ABI has the
    // direction flag clear.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    to
}

/// Copies `len` bytes; the regions may overlap.
///
/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the caller's promise; copying upwards reads each byte before it is overwritten, since `to` is
        // below `from` or behind its last byte.
        return unsafe { memcpy(to, from, len) };
    }
    // SAFETY: the caller's promise; copying downwards for a `to` within the source. The last bytes exist because
    // `len` is not 0 here, and the direction flag is clear again at the end.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") len => _,
            inout("rdi") to.wrapping_add(len).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(len).wrapping_sub(1) => _,
            options(nostack),
        );
    }
    to
}

/// Fills `len` bytes.
///
/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for `len` writable bytes at `to`; the direction flag is clear.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("eax") byte, options(nostack, preserves_flags));
    }
    to
}

/// Compares `len` bytes.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for i in 0..len {
        // SAFETY: the caller vouches for `len` readable bytes at `a`.
        let x = unsafe { a.wrapping_add(i).read() };
        // SAFETY: and at `b`.
        let y = unsafe { b.wrapping_add(i).read() };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// Tells whether `len` bytes differ.
///
/// # Safety
/// As BSD's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, len) }
}

/// Named by the prebuilt `core` and `alloc`; nothing unwinds, panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As `rust_eh_personality`.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::machine::stop()
}
