//! The demo unikernel, built from source and embedded as one ELF image.
