//! The wire format of Protocol Buffers, as far as OTLP uses it, and the bounds of reading it.
//!
//! Written here because a request is bounded *while* it is read: a message of two bytes can stand
//! for a structure of 300, so a bound on the bytes alone bounds nothing.
//!
//! Source: *Protocol Buffers*, "Encoding".

use std::cell::Cell;
use std::fmt;

/// How deep messages may stand in each other: bounds the stack.
const MAX_DEPTH: usize = 64;

/// What is left of the memory that one request may take once it is read.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: Cell<usize>,
    depth: Cell<usize>,
    exhausted: Cell<bool>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes: Cell::new(bytes),
            depth: Cell::new(0),
            exhausted: Cell::new(false),
        }
    }

    /// Takes room for one `T`.
    pub(super) fn charge<T>(&self) -> Result<(), Problem> {
        if let Some(left) = self.bytes.get().checked_sub(size_of::<T>()) {
            self.bytes.set(left);
            Ok(())
        } else {
            self.exhausted.set(true);
            Err(Problem("a request that fits into the limit max_decoded"))
        }
    }

    /// Runs `read` one level deeper.
    pub(super) fn deeper<T, E>(
        &self,
        too_deep: impl FnOnce(Problem) -> E,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return Err(too_deep(Problem("at most 64 messages within each other")));
        }
        self.depth.set(depth + 1);
        let result = read();
        self.depth.set(depth);
        result
    }

    /// Whether memory was what stopped the reading.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }
}

/// What was expected where reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Problem(pub(super) &'static str);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

/// A problem and the fields that lead to it, innermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WireError {
    pub(super) problem: Problem,
    pub(super) path: Vec<&'static str>,
}

impl From<Problem> for WireError {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            path: Vec::new(),
        }
    }
}

impl WireError {
    pub(super) fn within(mut self, field: &'static str) -> Self {
        self.path.push(field);
        self
    }
}

/// One value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// What is still to be read of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

const TRUNCATED: Problem = Problem("more bytes: the message is cut off");

impl<'a> Reader<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next field: its number and value.
    pub(super) fn field(&mut self) -> Result<(u32, Value<'a>), Problem> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(Problem("a field number from 1 to 536870911"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(self.fixed32()?),
            _ => return Err(Problem("a wire type of 0, 1, 2 or 5")),
        };
        Ok((number, value))
    }

    pub(super) fn varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0_u64;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 {
            TRUNCATED
        } else {
            Problem("a number of at most 64 bits")
        })
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Problem> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn fixed32(&mut self) -> Result<u32, Problem> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_end_within_ten_bytes() {
        assert_eq!(Reader(&[0xac, 0x02]).varint(), Ok(300));
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(Reader(&most).varint(), Ok(u64::MAX));
        most[9] = 2;
        assert!(Reader(&most).varint().is_err());
        assert_eq!(Reader(&[0x80]).varint(), Err(TRUNCATED));
        assert_eq!(Reader(&[0x0a, 5, 1]).field(), Err(TRUNCATED));
        assert!(Reader(&[0x0b]).field().is_err());
        assert!(Reader(&[0x00]).field().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader(&bytes);
            while !reader.is_empty() {
                let before = reader.0.len();
                if reader.field().is_err() {
                    break;
                }
                prop_assert!(reader.0.len() < before);
            }
        }
    }
}
