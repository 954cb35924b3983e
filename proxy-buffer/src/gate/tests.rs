//! Event orders of the gate against a model.
