//! Orders on disk: an append-only file, one checked line an order, synced before it is answered.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An order that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) product: u64,
    pub(crate) quantity: u32,
}

/// Why the file was not opened.
#[derive(Debug, Error)]
pub(crate) enum OrderLogError {
    #[error("cannot use the order log")]
    Io(#[from] io::Error),
    /// Not a torn tail: whole records follow, and cutting here would lose them.
    #[error("byte {offset} of the order log is damaged and whole records follow: restore the file")]
    Damaged { offset: usize },
}

/// The open file and what is in it.
#[derive(Debug)]
pub(crate) struct OrderLog {
    file: File,
    /// Length of the whole records; a failed append is cut back to it.
    length: u64,
    orders: Vec<Order>,
}

impl OrderLog {
    /// Reads every record and cuts a torn tail off; returns how many bytes were cut.
    pub(crate) fn open(path: &Path) -> Result<(Self, usize), OrderLogError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let (orders, whole) = replay(&content)?;
        let cut = content.len() - whole;
        let length = whole as u64;
        if cut > 0 {
            file.set_len(length)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(length))?;
        let log = Self {
            file,
            length,
            orders,
        };
        Ok((log, cut))
    }

    /// Keeps an order; when this returns, it survives the end of the process.
    pub(crate) fn append(&mut self, product: u64, quantity: u32) -> io::Result<Order> {
        let order = Order {
            id: self.orders.last().map_or(1, |last| last.id + 1),
            product,
            quantity,
        };
        let record = encode(&order)?;
        let written = self
            .file
            .write_all(record.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += record.len() as u64;
        self.orders.push(order.clone());
        Ok(order)
    }

    /// Every order, oldest first.
    pub(crate) fn orders(&self) -> &[Order] {
        &self.orders
    }
}

fn encode(order: &Order) -> io::Result<String> {
    let json = serde_json::to_string(order)?;
    Ok(format!("{:016x} {json}\n", checksum(json.as_bytes())))
}

/// The orders of the leading whole records, and the length of those records.
fn replay(content: &[u8]) -> Result<(Vec<Order>, usize), OrderLogError> {
    let mut orders = Vec::new();
    let mut offset = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let Some(order) = decode(line) else { break };
        orders.push(order);
        offset += line.len();
    }
    let mut rest = content[offset..].split_inclusive(|byte| *byte == b'\n');
    if rest.any(|line| decode(line).is_some()) {
        return Err(OrderLogError::Damaged { offset });
    }
    Ok((orders, offset))
}

fn decode(line: &[u8]) -> Option<Order> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    (u64::from_str_radix(sum, 16).ok()? == checksum(json.as_bytes()))
        .then(|| serde_json::from_str(json).ok())?
}

/// FNV-1a, 64 bits: enough to tell a torn record from a whole one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(orders: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.log");
        let (mut log, _) = OrderLog::open(&path).unwrap();
        for quantity in 1..=orders {
            log.append(7, quantity).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn a_file_torn_at_any_byte_keeps_its_whole_records_and_takes_new_ones() {
        let (_dir, path) = file_with(3);
        let content = std::fs::read(&path).unwrap();
        for length in 0..=content.len() {
            std::fs::write(&path, &content[..length]).unwrap();
            let whole = content[..length].iter().filter(|b| **b == b'\n').count();
            let (mut log, cut) = OrderLog::open(&path).unwrap();
            assert_eq!(log.orders().len(), whole, "torn at {length}");
            assert_eq!(cut == 0, length == 0 || content[length - 1] == b'\n');
            let added = log.append(9, 1).unwrap();
            let (again, cut) = OrderLog::open(&path).unwrap();
            assert_eq!((again.orders().last(), cut), (Some(&added), 0));
        }
    }

    #[test]
    fn damage_before_whole_records_is_refused_and_nothing_is_cut() {
        let (_dir, path) = file_with(3);
        let mut content = std::fs::read(&path).unwrap();
        content[20] ^= 1;
        std::fs::write(&path, &content).unwrap();
        let refused = OrderLog::open(&path).unwrap_err();
        assert!(matches!(refused, OrderLogError::Damaged { offset: 0 }));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}
