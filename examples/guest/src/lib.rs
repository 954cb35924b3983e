#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// The image: a static ELF file for x86-64 with a Linux 64-bit entry and a PVH note, at most 400 KB.
pub static ELF: &[u8] = include_bytes!(env!("GUEST_ELF"));

/// Where the build left the image, for programs that want a file, such as QEMU. It is there as long as the build
/// directory is.
pub const ELF_PATH: &str = env!("GUEST_ELF");
