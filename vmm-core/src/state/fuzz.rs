//! Sections of saved state.

use super::{StateKind, StateSection, VmState};
use crate::fuzz::Input;

/// Sections of any kind with any bytes. What decodes encodes to bytes that decode to the same.
pub fn fuzz_state(data: &[u8]) {
    let mut input = Input(data);
    let mut sections = Vec::new();
    while !input.is_empty() && sections.len() < 8 {
        let Some(kind) = StateKind::from_number(u32::from(input.byte() % 8)) else {
            continue;
        };
        sections.push(StateSection {
            kind,
            version: kind.version(),
            bytes: input.bytes(usize::MAX).to_vec(),
        });
    }
    let Ok(state) = VmState::from_sections(&sections) else {
        return;
    };
    let encoded = state.to_sections().expect("what was decoded can be encoded");
    let again = VmState::from_sections(&encoded).expect("what was encoded can be decoded");
    assert_eq!(again.to_sections().expect("as before"), encoded);
}
