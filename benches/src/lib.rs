//! Benchmarks of the whole chain, each beside its floor.
