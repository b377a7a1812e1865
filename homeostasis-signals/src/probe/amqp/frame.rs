//! Frames of AMQP 0-9-1 and the values in them.
//!
//! Source: *AMQP Advanced Message Queuing Protocol, Protocol Specification, Version 0-9-1* (2008),
//! sections 4.2.3 (frames), 4.2.5 (values) and the XML of its methods. Tables are written only as
//! far as a client's properties need, and never read.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

use super::super::conversation::{Bounded, excerpt, wrong};

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xCE;

/// The longest frame we agree to.
pub(super) const MAX_FRAME: u32 = 128 * 1024;

/// Class and number of a method.
pub(super) type Method = (u16, u16);

/// One frame, without its channel: we have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A method and its arguments.
    Method(Method, Vec<u8>),
    /// A message follows, of so many bytes.
    Header(u64),
    /// A part of a message.
    Body(Vec<u8>),
    /// I am still here.
    Heartbeat,
}

/// Frames over a connection.
#[derive(Debug)]
pub(super) struct Frames {
    stream: BufReader<Bounded>,
}

impl Frames {
    pub(super) fn new(stream: Bounded) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// # Errors
    /// The connection's.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits for the next frame.
    ///
    /// # Errors
    /// `InvalidData` if what comes is no frame, else the connection's.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        let kind = self.stream.read_u8().await?;
        if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
            let mut heard = vec![kind];
            heard.extend_from_slice(self.stream.buffer());
            let text = excerpt(&heard);
            return Err(wrong(format!("an answer that begins with {text:?}")));
        }
        let _channel = self.stream.read_u16().await?;
        let size = self.stream.read_u32().await?;
        if size > MAX_FRAME {
            return Err(wrong(format!("a frame of {size} bytes")));
        }
        let mut payload = Vec::new();
        let mut limited = (&mut self.stream).take(u64::from(size));
        limited.read_to_end(&mut payload).await?;
        // A payload that broke off breaks off here too.
        if self.stream.read_u8().await? != END {
            return Err(wrong("a frame without its end"));
        }
        Frame::of(kind, payload)
    }
}

impl Frame {
    fn of(kind: u8, payload: Vec<u8>) -> io::Result<Self> {
        let mut values = Values(&payload);
        match kind {
            METHOD => {
                let method = (values.u16()?, values.u16()?);
                Ok(Self::Method(method, values.0.to_vec()))
            }
            HEADER => {
                let _class_and_weight = values.u32()?;
                Ok(Self::Header(values.u64()?))
            }
            BODY => Ok(Self::Body(payload)),
            _ => Ok(Self::Heartbeat),
        }
    }
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a>(pub(super) &'a [u8]);

impl<'a> Values<'a> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u16(&mut self) -> io::Result<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// A text of up to 255 bytes.
    pub(super) fn short(&mut self) -> io::Result<String> {
        let [n] = self.take()?;
        let bytes = self.bytes(usize::from(n))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A text or a table, unread.
    pub(super) fn long(&mut self) -> io::Result<&'a [u8]> {
        let n = self.u32()?;
        self.bytes(usize::try_from(n).map_err(|_| short())?)
    }
}

fn short() -> io::Error {
    wrong("a method shorter than its arguments")
}

/// Writes frames, several into one packet.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    begun_at: usize,
}

impl Writer {
    /// Begins a frame with a method.
    pub(super) fn method(self, channel: u16, (class, method): Method) -> Self {
        self.frame(METHOD, channel).u16(class).u16(method)
    }

    /// A message without properties.
    pub(super) fn message(self, channel: u16, class: u16, body: &[u8]) -> Self {
        let header = self.frame(HEADER, channel).u16(class).u16(0);
        let mut writer = header.u64(body.len() as u64).u16(0).end();
        writer = writer.frame(BODY, channel);
        writer.bytes.extend_from_slice(body);
        writer.end()
    }

    fn frame(mut self, kind: u8, channel: u16) -> Self {
        self.begun_at = self.bytes.len();
        self.bytes.push(kind);
        // The size is known at the end.
        self.u16(channel).u32(0)
    }

    /// Ends the frame.
    pub(super) fn end(mut self) -> Self {
        let size = length(self.bytes.len() - self.begun_at - 7);
        self.bytes[self.begun_at + 3..self.begun_at + 7].copy_from_slice(&size.to_be_bytes());
        self.bytes.push(END);
        self
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.bytes.push(value);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.bytes.extend(value.to_be_bytes());
        self
    }

    /// A text of up to 255 bytes.
    pub(super) fn short(mut self, text: &str) -> Self {
        let n = u8::try_from(text.len()).expect("the settings allow no longer names");
        self.bytes.push(n);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn long(mut self, bytes: &[u8]) -> Self {
        self = self.u32(length(bytes.len()));
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One entry of a table, a text.
    pub(super) fn entry(self, name: &str, text: &str) -> Self {
        self.short(name).u8(b'S').long(text.as_bytes())
    }

    /// One entry of a table, true.
    pub(super) fn flag(self, name: &str) -> Self {
        self.short(name).u8(b't').u8(1)
    }

    /// One entry of a table, a table.
    pub(super) fn table(self, name: &str, entries: &[u8]) -> Self {
        self.short(name).u8(b'F').long(entries)
    }

    /// What was written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn length(n: usize) -> u32 {
    u32::try_from(n).expect("nothing that a probe sends is that long")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(bytes: &[u8]) -> Vec<u8> {
        bytes[7..bytes.len() - 1].to_vec()
    }

    #[test]
    fn a_method_is_framed_with_its_size_and_end() {
        let bytes = Writer::default().method(1, (50, 10)).short("q").end();
        let expected = b"\x01\0\x01\0\0\0\x06\0\x32\0\x0a\x01q\xce";
        assert_eq!(bytes.into_bytes(), expected);
    }

    proptest! {
        #[test]
        fn values_are_read_as_they_were_written(
            small: u16, middle: u32, big: u64, name in ".{0,60}", text: Vec<u8>,
        ) {
            let bytes = Writer::default().method(0, (10, 11))
                .u16(small).short(&name).u32(middle).long(&text).u64(big).end().into_bytes();
            let Ok(Frame::Method((10, 11), arguments)) = Frame::of(METHOD, payload(&bytes)) else {
                panic!("no method");
            };
            let mut values = Values(&arguments);
            prop_assert_eq!(values.u16().unwrap(), small);
            prop_assert_eq!(values.short().unwrap(), name);
            prop_assert_eq!(values.u32().unwrap(), middle);
            prop_assert_eq!(values.long().unwrap(), &text[..]);
            prop_assert_eq!(values.u64().unwrap(), big);
            prop_assert!(values.u16().is_err());
        }

        #[test]
        fn any_payload_is_a_frame_or_an_error(kind in 1u8..9, bytes: Vec<u8>) {
            if let Ok(Frame::Method(_, arguments)) = Frame::of(kind, bytes) {
                let mut values = Values(&arguments);
                while values.long().is_ok() || values.short().is_ok() {
                    if values.0.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}
