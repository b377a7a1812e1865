//! One conversation with a broker: log in, publish with confirm, consume, acknowledge, log out.

use std::io;

use super::super::conversation::{Bounded, Failure};
use super::AmqpProbeConfig;
use super::frame::{Frame, Frames, MAX_FRAME, Method, Values, Writer};

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);
const BLOCKED: Method = (10, 60);
const UNBLOCKED: Method = (10, 61);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const QUEUE_DELETE: Method = (50, 40);
const QUEUE_DELETE_OK: Method = (50, 41);
const CONSUME: Method = (60, 20);
const CONSUME_OK: Method = (60, 21);
const CANCEL: Method = (60, 30);
const PUBLISH: Method = (60, 40);
const RETURN: Method = (60, 50);
const DELIVER: Method = (60, 60);
const ACK: Method = (60, 80);
const NACK: Method = (60, 120);
const CONFIRM: Method = (85, 10);
const CONFIRM_OK: Method = (85, 11);

/// The only channel.
const CHANNEL: u16 = 1;
const BASIC: u16 = 60;
/// Bits of `queue.declare`: exclusive, auto-delete.
const OF_ITS_OWN: u8 = 0b1100;
/// Bit of `basic.publish`: say so if no queue takes it.
const MANDATORY: u8 = 0b1;
/// Seconds after which, twice, a broker gives up a client that vanished: while it blocks
/// publishers it reads nothing and would not notice otherwise.
const HEARTBEAT: u64 = 10;

/// A connection with one channel.
#[derive(Debug)]
pub(super) struct Session<'a> {
    frames: Frames,
    address: &'a str,
}

impl<'a> Session<'a> {
    pub(super) fn new(stream: Bounded, address: &'a str) -> Self {
        Self {
            frames: Frames::new(stream),
            address,
        }
    }

    pub(super) async fn log_in(&mut self, config: &AmqpProbeConfig) -> Result<(), Failure> {
        self.frames
            .send(b"AMQP\0\0\x09\x01")
            .await
            .map_err(|error| self.broken(&error))?;
        let start = self.expect(START).await?;
        if !speaks_plain(&start).map_err(|error| self.broken(&error))? {
            let why = "auth: the server does not offer the mechanism PLAIN";
            return Err(Failure::Refused(why.to_owned()));
        }
        let able = Writer::default()
            .flag("authentication_failure_close")
            .flag("connection.blocked")
            .flag("consumer_cancel_notify")
            .flag("publisher_confirms");
        let about = Writer::default()
            .entry("product", "homeostasis")
            .entry("connection_name", "health probe")
            .table("capabilities", &able.into_bytes());
        let login = format!("\0{}\0{}", config.user, config.password.expose());
        let start_ok = Writer::default()
            .method(0, START_OK)
            .long(&about.into_bytes())
            .short("PLAIN")
            .long(login.as_bytes())
            .short("en_US");
        self.send(start_ok.end()).await?;
        let tune = self.expect(TUNE).await?;
        let frame_max = frame_max(&tune).map_err(|error| self.broken(&error))?;
        let heartbeat = HEARTBEAT.max(config.timeout.as_secs());
        // One channel is within every limit, and 0 means that there is none.
        let tune_ok = Writer::default()
            .method(0, TUNE_OK)
            .u16(CHANNEL)
            .u32(frame_max)
            .u16(u16::try_from(heartbeat).unwrap_or(u16::MAX));
        let open = tune_ok.end().method(0, OPEN).short(&config.vhost);
        self.send(open.short("").u8(0).end()).await?;
        self.expect(OPEN_OK).await?;
        let channel = Writer::default().method(CHANNEL, CHANNEL_OPEN).short("");
        self.send(channel.end()).await?;
        self.expect(CHANNEL_OPEN_OK).await.map(drop)
    }

    /// Declares `queue` for this connection alone, consumes it, and wants confirms.
    pub(super) async fn declare(&mut self, queue: &str) -> Result<(), Failure> {
        let declare = Writer::default().method(CHANNEL, QUEUE_DECLARE).u16(0);
        let declare = declare.short(queue).u8(OF_ITS_OWN).long(&[]);
        self.send(declare.end()).await?;
        self.expect(QUEUE_DECLARE_OK).await?;
        let confirm = Writer::default().method(CHANNEL, CONFIRM).u8(0);
        self.send(confirm.end()).await?;
        self.expect(CONFIRM_OK).await?;
        let consume = Writer::default().method(CHANNEL, CONSUME).u16(0);
        let consume = consume.short(queue).short("probe").u8(0).long(&[]);
        self.send(consume.end()).await?;
        self.expect(CONSUME_OK).await.map(drop)
    }

    pub(super) async fn publish(&mut self, queue: &str, content: &[u8]) -> Result<(), Failure> {
        let publish = Writer::default().method(CHANNEL, PUBLISH).u16(0);
        let publish = publish.short("").short(queue).u8(MANDATORY).end();
        self.send(publish.message(CHANNEL, BASIC, content)).await
    }

    /// Waits for the message and for its confirm, in whichever order; gives the delivery's tag.
    pub(super) async fn receive(&mut self, content: &[u8]) -> Result<u64, Failure> {
        let (mut confirmed, mut delivered) = (false, None);
        loop {
            if let (true, Some(tag)) = (confirmed, delivered) {
                return Ok(tag);
            }
            match self.next().await? {
                Frame::Method(ACK, _) => confirmed = true,
                Frame::Method(DELIVER, arguments) => {
                    let mut values = Values(&arguments);
                    let tag = values.short().and_then(|_consumer| values.u64());
                    let tag = tag.map_err(|error| self.broken(&error))?;
                    let found = self.message().await?;
                    if found != content || delivered.is_some() {
                        let n = found.len();
                        let why =
                            format!("wrong content: a message of {n} bytes that we did not send");
                        return Err(Failure::Refused(why));
                    }
                    delivered = Some(tag);
                }
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    async fn message(&mut self) -> Result<Vec<u8>, Failure> {
        let size = match self.next().await? {
            Frame::Header(size) => size,
            other => return Err(self.unexpected(&other)),
        };
        let mut message = Vec::new();
        while (message.len() as u64) < size {
            match self.next().await? {
                Frame::Body(part) if !part.is_empty() => message.extend(part),
                other => return Err(self.unexpected(&other)),
            }
        }
        Ok(message)
    }

    /// Acknowledges the delivery and deletes the queue. Methods of a channel are done in order and
    /// a bad acknowledgement closes it: the answer to the second proves the first.
    pub(super) async fn acknowledge(&mut self, queue: &str, tag: u64) -> Result<(), Failure> {
        let ack = Writer::default().method(CHANNEL, ACK).u64(tag).u8(0).end();
        let delete = ack.method(CHANNEL, QUEUE_DELETE).u16(0).short(queue).u8(0);
        self.send(delete.end()).await?;
        let deleted = self.expect(QUEUE_DELETE_OK).await?;
        match Values(&deleted)
            .u32()
            .map_err(|error| self.broken(&error))?
        {
            0 => Ok(()),
            n => Err(Failure::Refused(format!(
                "wrong answer: {n} messages left after the acknowledgement"
            ))),
        }
    }

    /// Says good-bye: a broker logs connections that just end.
    pub(super) async fn log_out(&mut self) -> Result<(), Failure> {
        let close = Writer::default().method(0, CLOSE).u16(200).short("bye");
        self.send(close.u16(0).u16(0).end()).await?;
        self.expect(CLOSE_OK).await.map(drop)
    }

    async fn send(&mut self, writer: Writer) -> Result<(), Failure> {
        let sent = self.frames.send(&writer.into_bytes()).await;
        sent.map_err(|error| self.broken(&error))
    }

    /// The arguments of `method`, which must come next.
    async fn expect(&mut self, method: Method) -> Result<Vec<u8>, Failure> {
        match self.next().await? {
            Frame::Method(found, arguments) if found == method => Ok(arguments),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The next frame that is no refusal.
    async fn next(&mut self) -> Result<Frame, Failure> {
        loop {
            let frame = self.frames.next().await;
            match frame.map_err(|error| self.broken(&error))? {
                Frame::Heartbeat | Frame::Method(UNBLOCKED, _) => {}
                Frame::Method(method, arguments) => {
                    let refused = refusal(method, &arguments);
                    if let Some(why) = refused.map_err(|error| self.broken(&error))? {
                        return Err(Failure::Refused(why));
                    }
                    return Ok(Frame::Method(method, arguments));
                }
                frame => return Ok(frame),
            }
        }
    }

    fn broken(&self, error: &io::Error) -> Failure {
        Failure::broken(error, self.address)
    }

    fn unexpected(&self, frame: &Frame) -> Failure {
        let address = self.address;
        Failure::Silent(match frame {
            Frame::Method((class, method), _) => {
                format!("wrong answer: {address}: method {class}.{method} out of turn")
            }
            _ => format!("wrong answer: {address}: content out of turn"),
        })
    }
}

/// Whether the arguments of `connection.start` offer to log in with user and password.
fn speaks_plain(start: &[u8]) -> io::Result<bool> {
    let mut values = Values(start);
    let _version = values.u16()?;
    let _properties = values.long()?;
    let mechanisms = values.long()?;
    Ok(mechanisms
        .split(|byte| *byte == b' ')
        .any(|m| m == b"PLAIN"))
}

/// The longest frame both sides agree to, by the arguments of `connection.tune`: a client may go
/// below what the server says, never above; 0 says no limit.
fn frame_max(tune: &[u8]) -> io::Result<u32> {
    let mut values = Values(tune);
    let _channel_max = values.u16()?;
    Ok(match values.u32()? {
        0 => MAX_FRAME,
        limit => limit.min(MAX_FRAME),
    })
}

/// In words what was refused, if `method` is a refusal.
fn refusal(method: Method, arguments: &[u8]) -> io::Result<Option<String>> {
    let mut values = Values(arguments);
    Ok(Some(match method {
        CLOSE => {
            let (code, text) = (values.u16()?, values.short()?);
            format!("{}: {code} {text}", name_of(code, &text))
        }
        CHANNEL_CLOSE => {
            let (code, text) = (values.u16()?, values.short()?);
            format!("channel closed: {code} {text}")
        }
        BLOCKED => format!("blocked: {}", values.short()?),
        RETURN => {
            let (code, text) = (values.u16()?, values.short()?);
            format!("returned: {code} {text}")
        }
        NACK => "not confirmed: the broker did not take the message".to_owned(),
        CANCEL => "consumer cancelled: the queue is gone".to_owned(),
        _ => return Ok(None),
    }))
}

/// What everybody calls a closed connection.
fn name_of(code: u16, text: &str) -> &'static str {
    match code {
        530 if text.contains("not found") => "vhost missing",
        530 if text.contains("limit") => "too many connections",
        403 | 530 => "auth",
        320 => "shutting down",
        _ => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(method: Method, code: u16, text: &str) -> Option<String> {
        let writer = Writer::default().u16(code).short(text).u16(0).u16(0);
        refusal(method, &writer.into_bytes()).unwrap()
    }

    #[test]
    fn refusals_are_called_what_everybody_calls_them() {
        for (method, code, text, said) in [
            (CLOSE, 403, "ACCESS_REFUSED", "auth: 403 ACCESS_REFUSED"),
            (
                CLOSE,
                530,
                "NOT_ALLOWED - vhost x not found",
                "vhost missing: 530 NOT_ALLOWED - vhost x not found",
            ),
            (
                CLOSE,
                530,
                "access to vhost refused",
                "auth: 530 access to vhost refused",
            ),
            (
                CLOSE,
                530,
                "connection limit (1) is reached",
                "too many connections: 530 connection limit (1) is reached",
            ),
            (
                CLOSE,
                320,
                "CONNECTION_FORCED",
                "shutting down: 320 CONNECTION_FORCED",
            ),
            (CLOSE, 541, "INTERNAL_ERROR", "refused: 541 INTERNAL_ERROR"),
            (
                CHANNEL_CLOSE,
                406,
                "unknown tag",
                "channel closed: 406 unknown tag",
            ),
            (RETURN, 312, "NO_ROUTE", "returned: 312 NO_ROUTE"),
        ] {
            assert_eq!(closed(method, code, text).as_deref(), Some(said));
        }
        assert_eq!(closed(OPEN_OK, 0, ""), None);
        assert!(refusal(CLOSE, &[1]).is_err());
    }

    #[test]
    fn frames_are_as_long_as_both_sides_agree() {
        for (offered, agreed) in [(0, MAX_FRAME), (4096, 4096), (u32::MAX, MAX_FRAME)] {
            let tune = Writer::default().u16(2047).u32(offered).u16(60);
            assert_eq!(frame_max(&tune.into_bytes()).unwrap(), agreed, "{offered}");
        }
        assert!(frame_max(&[7, 255, 0]).is_err());
    }

    #[test]
    fn the_mechanism_must_be_offered_as_a_whole_word() {
        for (offered, speaks) in [("AMQPLAIN PLAIN", true), ("AMQPLAIN", false), ("", false)] {
            let start = Writer::default().u16(9).long(&[]).long(offered.as_bytes());
            assert_eq!(
                speaks_plain(&start.into_bytes()).unwrap(),
                speaks,
                "{offered}"
            );
        }
        assert!(speaks_plain(&[0, 9, 0, 0, 0, 9]).is_err());
    }
}
