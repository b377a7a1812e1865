//! Files below folders the host names.
//!
//! Every folder is opened by itself, from the one above it, without following links, and what is
//! done is done by name within an open folder: whoever swaps a folder for a link meanwhile gets an
//! error and not somebody else's files.

mod clean;
mod compress;
mod copy;
mod folder;
mod open_files;
mod relocate;
mod report;
mod roots;
mod rotate;
mod selection;
#[cfg(test)]
pub(super) mod testing;

pub use clean::CleanFiles;
pub use compress::CompressFiles;
pub use relocate::RelocateFiles;
pub use roots::FileRoots;
pub use rotate::{LogWriter, ReopenSignal, RotateLog};
