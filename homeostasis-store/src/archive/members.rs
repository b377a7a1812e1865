//! The members of a gzip file, one by one: a damaged one is passed over, the rest is read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::GzDecoder;

/// How every gzip member with deflate begins (RFC 1952, section 2.3).
const MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// The most bytes one member may hold when it is unpacked: 512 MiB. Ours hold about 8
/// MiB, or one incident that is larger.
pub(super) const MAX_MEMBER_BYTES: u64 = 512 << 20;

/// Reads members from the start of a file to its end.
pub(super) struct Members {
    file: BufReader<File>,
    len: u64,
}

/// What is at one place of the file.
pub(super) enum Member {
    /// A whole one, its checksum verified.
    Whole { offset: u64, content: Vec<u8> },
    /// Bytes that are none, up to the next whole one or the end.
    Damaged {
        offset: u64,
        bytes: u64,
        /// The file ends within a member: its append was cut short.
        is_torn: bool,
        reason: String,
    },
}

impl Members {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file: BufReader::new(file),
            len,
        })
    }

    /// The next one; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let offset = self.file.stream_position()?;
        if offset >= self.len {
            return Ok(None);
        }
        let error = match self.read_one()? {
            Ok(content) => return Ok(Some(Member::Whole { offset, content })),
            Err(error) => error,
        };
        let end = self.next_whole(offset + 1)?;
        self.file.seek(SeekFrom::Start(end))?;
        Ok(Some(Member::Damaged {
            offset,
            bytes: end - offset,
            is_torn: end == self.len && error.kind() == io::ErrorKind::UnexpectedEof,
            reason: error.to_string(),
        }))
    }

    /// Where the first whole member at or after `from` begins; the end if there is none.
    fn next_whole(&mut self, mut from: u64) -> io::Result<u64> {
        while let Some(at) = self.find_magic(from)? {
            self.file.seek(SeekFrom::Start(at))?;
            if self.read_one()?.is_ok() {
                return Ok(at);
            }
            from = at + 1;
        }
        Ok(self.len)
    }

    /// Unpacks the member that begins here; the inner error says that there is none.
    fn read_one(&mut self) -> io::Result<io::Result<Vec<u8>>> {
        let mut content = Vec::new();
        let read = GzDecoder::new(&mut self.file)
            .take(MAX_MEMBER_BYTES + 1)
            .read_to_end(&mut content);
        match read {
            Ok(n) if n as u64 > MAX_MEMBER_BYTES => Ok(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than {MAX_MEMBER_BYTES} bytes in one member"),
            ))),
            Ok(_) => Ok(Ok(content)),
            Err(error) => match error.kind() {
                io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::UnexpectedEof => Ok(Err(error)),
                _ => Err(error),
            },
        }
    }

    /// The first place at or after `from` where a member could begin.
    fn find_magic(&mut self, from: u64) -> io::Result<Option<u64>> {
        self.file.seek(SeekFrom::Start(from))?;
        let (mut at, mut last) = (from, [0; MAGIC.len()]);
        loop {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let n = buffer.len();
            for byte in buffer {
                last = [last[1], last[2], *byte];
                at += 1;
                if last == MAGIC {
                    return Ok(Some(at - MAGIC.len() as u64));
                }
            }
            self.file.consume(n);
        }
    }
}
