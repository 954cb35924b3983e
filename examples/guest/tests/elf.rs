//! What a loader relies on, read from the image itself.

const LOAD: u32 = 1;
const NOTE: u32 = 4;

struct Segment {
    kind: u32,
    offset: usize,
    address: u64,
    file_len: usize,
    memory_len: u64,
}

fn number<const N: usize>(at: usize) -> [u8; N] {
    guest::ELF[at..at + N].try_into().expect("the slice has N bytes")
}

fn u64_at(at: usize) -> u64 {
    u64::from_le_bytes(number(at))
}

fn len_at(at: usize) -> usize {
    usize::try_from(u64_at(at)).expect("an offset in the file")
}

fn segments() -> Vec<Segment> {
    let (start, count) = (len_at(32), usize::from(u16::from_le_bytes(number(56))));
    let header = |at: usize| Segment {
        kind: u32::from_le_bytes(number(at)),
        offset: len_at(at + 8),
        address: u64_at(at + 24),
        file_len: len_at(at + 32),
        memory_len: u64_at(at + 40),
    };
    (0..count).map(|index| header(start + 56 * index)).collect()
}

#[test]
fn image_is_at_most_400_kb_and_is_the_file() {
    assert!(guest::ELF.len() <= 400_000, "{} bytes", guest::ELF.len());
    assert_eq!(std::fs::read(guest::ELF_PATH).unwrap(), guest::ELF);
}

#[test]
fn image_is_static_elf_for_x86_64() {
    const EXECUTABLE: u16 = 2;
    const X86_64: u16 = 62;
    const CLASS_64: u8 = 2;
    assert_eq!(guest::ELF[..4], *b"\x7fELF");
    assert_eq!(guest::ELF[4], CLASS_64);
    assert_eq!(u16::from_le_bytes(number(16)), EXECUTABLE);
    assert_eq!(u16::from_le_bytes(number(18)), X86_64);
    assert!(
        segments()
            .iter()
            .all(|segment| [LOAD, NOTE].contains(&segment.kind)),
        "no interpreter, nothing dynamic"
    );
}

#[test]
fn image_is_loaded_from_1_mib_on_without_overlap() {
    let mut end = 1 << 20;
    for segment in segments().iter().filter(|segment| segment.kind == LOAD) {
        assert!(segment.address >= end, "{:#x} is below {end:#x}", segment.address);
        assert!(segment.memory_len >= u64::try_from(segment.file_len).unwrap());
        end = segment.address + segment.memory_len;
    }
    assert!(end < 2 << 20, "the image ends at {end:#x}");
}

#[test]
fn both_entries_are_in_a_loaded_segment() {
    let loaded = |entry: u64| {
        segments().iter().any(|s| {
            s.kind == LOAD && (s.address..s.address + u64::try_from(s.file_len).unwrap()).contains(&entry)
        })
    };
    assert!(loaded(u64_at(24)), "Linux entry {:#x}", u64_at(24));
    let note = segments()
        .into_iter()
        .find(|segment| segment.kind == NOTE)
        .expect("a note segment");
    let note = &guest::ELF[note.offset..note.offset + note.file_len];
    // Name length 4, descriptor length 4, type XEN_ELFNOTE_PHYS32_ENTRY, "Xen".
    assert_eq!(note[..16], *b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0");
    let entry = u64::from(u32::from_le_bytes(note[16..20].try_into().unwrap()));
    assert!(loaded(entry), "PVH entry {entry:#x}");
}
