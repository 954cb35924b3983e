use std::iter;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Zero,
    Data,
}

impl Content {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // Most pages with data show it early; the rest goes at the speed of vector code.
        let is_zero = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte) == 0;
        if bytes.chunks(256).all(is_zero) {
            Self::Zero
        } else {
            Self::Data
        }
    }
}

/// Cuts pages, the last of which may be short, into runs of the same content: offset, content, bytes.
pub(crate) fn runs(bytes: &[u8], page: usize) -> impl Iterator<Item = (usize, Content, &[u8])> {
    let mut pages = bytes.chunks(page).map(Content::of).peekable();
    let mut rest = bytes;
    iter::from_fn(move || {
        let content = pages.next()?;
        let mut len = page;
        while pages.next_if_eq(&content).is_some() {
            len += page;
        }
        let offset = bytes.len() - rest.len();
        let (run, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        Some((offset, content, run))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_cover_all_pages_and_alternate(pages in proptest::collection::vec(0_usize..3, 0..40)) {
            let bytes: Vec<u8> = pages
                .iter()
                .flat_map(|&kind| {
                    let mut page = [0; 512];
                    if kind > 0 {
                        page[kind * 255] = 1;
                    }
                    page
                })
                .collect();
            let mut at = 0;
            let mut last = None;
            for (offset, content, run) in runs(&bytes, 512) {
                prop_assert_eq!(offset, at);
                prop_assert_ne!(Some(content), last);
                for page in &pages[at / 512..(at + run.len()) / 512] {
                    prop_assert_eq!(content == Content::Data, *page > 0);
                }
                at += run.len();
                last = Some(content);
            }
            prop_assert_eq!(at, bytes.len());
        }
    }
}
