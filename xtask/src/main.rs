//! Every repository chore behind one entry point.
fn main() {}
