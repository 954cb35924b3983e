//! Hold, wake once, release: a buffering proxy in front of backends that sleep.
