use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Feeds all that is kept for `target`.
fn feed_corpus(target: &str, entry: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut fed = 0;
    for file in std::fs::read_dir(&dir).unwrap() {
        entry(&std::fs::read(file.unwrap().path()).unwrap());
        fed += 1;
    }
    assert!(fed > 0, "{} is empty", dir.display());
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    // Small values are the ones that mean something: kinds, operations, lengths.
    let byte = prop_oneof![3 => any::<u8>(), 2 => 0..9_u8];
    proptest::collection::vec(byte, 0..600)
}

macro_rules! targets {
    ($($target:ident $corpus:ident $random:ident)*) => {
        $(
            #[test]
            fn $corpus() {
                feed_corpus(stringify!($target), $target);
            }
        )*
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
            $(
                #[test]
                fn $random(data in bytes()) {
                    $target(&data);
                }
            )*
        }
    };
}

targets! {
    fuzz_state state_holds_against_its_corpus state_holds_against_random_bytes
    fuzz_link link_holds_against_its_corpus link_holds_against_random_bytes
    fuzz_link_state link_state_holds_against_its_corpus link_state_holds_against_random_bytes
    fuzz_queues queues_hold_against_their_corpus queues_hold_against_random_bytes
}
