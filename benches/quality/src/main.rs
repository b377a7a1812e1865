//! Accuracy and robustness suites of homeostasis.
fn main() {}
