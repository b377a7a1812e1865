//! The Redis protocol (RESP2), as far as a probe speaks it: commands, and replies without arrays.
//!
//! Source: the specification at <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::super::conversation::{Bounded, excerpt, wrong};

/// How long a line or a text may be.
const MAX_TEXT: usize = 64 * 1024;

/// What a server answers to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// A simple string: `OK`.
    Status(String),
    /// An error, its code first.
    Error(String),
    /// An integer.
    Number(i64),
    /// A bulk string.
    Text(Vec<u8>),
    /// The null bulk string.
    Nothing,
}

/// A connection that asks and waits for the answer.
#[derive(Debug)]
pub(super) struct Link {
    stream: BufReader<Bounded>,
}

impl Link {
    pub(super) fn new(stream: Bounded) -> Self {
        Self {
            stream: BufReader::new(stream.beginning_with(b"+-:$")),
        }
    }

    /// Sends one command, gives its reply.
    ///
    /// # Errors
    /// `InvalidData` if the answer is not of this protocol, else the connection's.
    pub(super) async fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        let sent = self.stream.write_all(command(words).as_bytes()).await;
        match (sent, self.reply().await) {
            // Who accepts no more clients says so and closes before we have said anything.
            (Err(_), Ok(error @ Reply::Error(_))) => Ok(error),
            (Err(error), _) => Err(error),
            (Ok(()), reply) => reply,
        }
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line().await?;
        let strange = || wrong(format!("an answer that begins with {:?}", excerpt(&line)));
        let (kind, rest) = line.split_first().ok_or_else(strange)?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let number = || text().parse::<i64>().map_err(|_| strange());
        match kind {
            b'+' => Ok(Reply::Status(text())),
            b'-' => Ok(Reply::Error(text())),
            b':' => Ok(Reply::Number(number()?)),
            b'$' => match usize::try_from(number()?) {
                Ok(length) if length <= MAX_TEXT => self.text(length).await,
                Err(_) if rest == b"-1" => Ok(Reply::Nothing),
                _ => Err(strange()),
            },
            _ => Err(strange()),
        }
    }

    /// One line without its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_TEXT as u64);
        limited.read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\r\n") {
            let text = excerpt(&line);
            return Err(wrong(format!("{text:?}, which is not a whole line")));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    async fn text(&mut self, length: usize) -> io::Result<Reply> {
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).await?;
        if !text.ends_with(b"\r\n") {
            return Err(wrong("a text longer than its length"));
        }
        text.truncate(length);
        Ok(Reply::Text(text))
    }
}

/// A command as it is sent: an array of texts.
fn command(words: &[&str]) -> String {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(bytes, "${}\r\n{word}\r\n", word.len());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_bytes() {
        assert_eq!(
            command(&["SET", "k\r\n", "é"]),
            "*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\né\r\n"
        );
    }
}
