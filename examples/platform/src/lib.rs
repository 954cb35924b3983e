//! The whole chain: a self-hosted millisecond cloud, embeddable.
