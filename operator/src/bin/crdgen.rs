//! Prints the three CRDs.
fn main() {}
