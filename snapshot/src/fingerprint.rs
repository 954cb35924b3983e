use std::collections::BTreeMap;

use crate::format::MAX_FINGERPRINT_BYTES;

/// What a host must be like to restore a snapshot, as the caller sees it: `key=value` pairs such as
/// `cpu.vendor=GenuineIntel`.
///
/// A key is not empty and has no `=`; neither key nor value has a line feed. All pairs together, each with
/// two bytes for punctuation, take at most [`MAX_FINGERPRINT_BYTES`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    pairs: BTreeMap<String, String>,
}

/// Why a pair cannot be part of a [`Fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// The key is empty, or key or value has a character that separates them.
    #[error("host fingerprint {key:?}={value:?}: empty key, `=` in the key, or a line feed")]
    Separator {
        /// Key as given.
        key: String,
        /// Value as given.
        value: String,
    },
    /// The pairs do not fit into the header.
    #[error("host fingerprint has {len_bytes} bytes, at most {MAX_FINGERPRINT_BYTES} fit")]
    TooLong {
        /// Encoded length with the pair that was refused.
        len_bytes: usize,
    },
}

impl Fingerprint {
    /// A fingerprint of these pairs; of a repeated key the last value counts.
    ///
    /// # Errors
    /// [`FingerprintError`] names the pair that cannot be stored.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, FingerprintError> {
        let mut fingerprint = Self::default();
        for (key, value) in pairs {
            let (key, value) = (key.into(), value.into());
            if key.is_empty() || key.contains(['=', '\n']) || value.contains('\n') {
                return Err(FingerprintError::Separator { key, value });
            }
            fingerprint.pairs.insert(key, value);
        }
        let len_bytes = fingerprint.encode().len();
        if len_bytes > MAX_FINGERPRINT_BYTES {
            return Err(FingerprintError::TooLong { len_bytes });
        }
        Ok(fingerprint)
    }

    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// All pairs, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// One `key=value` line per pair, ascending by key, each ended by a line feed.
    pub(crate) fn encode(&self) -> String {
        self.pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    }

    /// The inverse of [`encode`](Self::encode); `None` for anything it cannot have written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let pairs: Option<Vec<_>> = text
            .split_terminator('\n')
            .map(|line| line.split_once('='))
            .collect();
        Self::from_pairs(pairs?)
            .ok()
            .filter(|fingerprint| fingerprint.encode() == text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_that_would_read_back_differently_are_refused() {
        for (key, value) in [("", "x"), ("a=b", "x"), ("a\n", "x"), ("a", "x\ny=z")] {
            assert!(
                Fingerprint::from_pairs([(key, value)]).is_err(),
                "{key:?} {value:?}"
            );
        }
        assert_eq!(
            Fingerprint::from_pairs([("k", "v".repeat(MAX_FINGERPRINT_BYTES))]),
            Err(FingerprintError::TooLong {
                len_bytes: MAX_FINGERPRINT_BYTES + 3
            })
        );
    }

    #[test]
    fn only_the_one_encoding_is_accepted() {
        for text in ["b=1\na=2\n", "a=1\na=1\n", "a=1", "a=1\n\n", "a\n", "=\n"] {
            assert_eq!(Fingerprint::decode(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Fingerprint::decode(b"a=\xff\n"), None);
        assert_eq!(Fingerprint::decode(b""), Some(Fingerprint::default()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(pairs in proptest::collection::btree_map("[^=\n]{1,8}", "[^\n]{0,8}", 0..8)) {
            let fingerprint = Fingerprint::from_pairs(pairs).expect("no separators, and short");
            prop_assert_eq!(Fingerprint::decode(fingerprint.encode().as_bytes()), Some(fingerprint));
        }
    }
}
