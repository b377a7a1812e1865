//! The archive: closed incidents as compressed JSON lines, one file a month.

mod file_archive;
mod members;
mod reader;
mod restore;

pub use file_archive::FileArchive;
pub use reader::{ArchiveError, ArchiveReader};
pub use restore::Restored;
