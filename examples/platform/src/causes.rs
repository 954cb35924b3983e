//! An error with its causes, for people.

use std::error::Error;

/// An error and all its causes in one line, outermost first; a cause whose text stands there already is left out.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let inner = anyhow::anyhow!("no memory");
        let error = inner.context("map: no memory").context("restore");
        assert_eq!(causes(error.as_ref()), "restore: map: no memory");
    }
}
