//! Where a tail stands, and what it lost on the way there.

use std::fmt;
use std::path::PathBuf;

use homeostasis_core::Timestamp;
use serde::{Deserialize, Serialize};

/// How many bytes before a place tell the file.
pub(super) const ANCHOR_BYTES: usize = 256;

/// Where a tail stands: store it and resume from it.
///
/// It points behind the last record that was handed out: lines that wait for their end, or for
/// more lines that belong to them, are behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TailPosition {
    /// The log that is followed.
    pub path: PathBuf,
    /// The number of the file that is read, in its file system; where there are none, its time of
    /// creation.
    pub inode: u64,
    /// How many files were read before this one; see [`LineId`].
    pub generation: u64,
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Behind the bytes that [`TailPosition::anchor`] is about.
    pub anchor_end: u64,
    /// How many bytes that are: 256, or all there were.
    pub anchor_bytes: u64,
    /// A checksum (FNV-1a, 64 bit) of the last bytes that were read: a file that was written anew
    /// in the same place or under a number used before does not have them; a copy does.
    pub anchor: u64,
    /// When the file was last written to.
    pub modified: Timestamp,
    /// The number of the newest rotated file when this one was begun: copies of this one, and what
    /// came after it, are newer.
    #[serde(default)]
    pub previous: Option<u64>,
}

impl TailPosition {
    /// Where it stands among the lines of the log: greater is later.
    pub fn line(&self) -> LineId {
        LineId {
            generation: self.generation,
            offset: self.offset,
        }
    }
}

/// A line's name: where it begins.
///
/// Ids grow from line to line, through rotation and truncation, and a line that is read again after
/// a restart from a stored position has the id it had before. So a consumer that remembers the
/// last id it took knows every line it has taken already.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub struct LineId {
    /// How many files were read before this one; an emptied file counts as a new one. It jumps by
    /// 2^20 when a file was lost.
    pub generation: u64,
    /// Bytes from the beginning of the file.
    pub offset: u64,
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation, self.offset)
    }
}

/// Lines that may have been written and were never read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailLoss {
    /// A rotated file was compressed before it was read to its end.
    Compressed {
        /// The compressed file.
        path: PathBuf,
    },
    /// The file of the stored position is not there any more, nor a copy of it.
    Gone {
        /// The log.
        path: PathBuf,
        /// How far the file was read.
        offset: u64,
    },
}

impl fmt::Display for TailLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed { path } => write!(
                f,
                "{}: compressed before it was read to its end",
                path.display()
            ),
            Self::Gone { path, offset } => write!(
                f,
                "{}: the file that was read up to byte {offset} is gone; what followed there was not read",
                path.display()
            ),
        }
    }
}

/// FNV-1a, 64 bit.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
