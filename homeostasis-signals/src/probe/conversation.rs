//! What probes of engines (databases, caches, brokers) share: each asking has a connection of its
//! own, is judged alike, and tells where it stood when the time was over.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use homeostasis_core::signal::Signal;
use homeostasis_core::{Context, Timestamp, Violation, Violations};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::check::{Check, Finding, host_and_port, lasting};
use super::probing::Missed;
use super::reading::Reading;
use super::refusal::of_io;
use crate::look_up::LookUps;

/// How much an engine may say in one asking; a real one says far less.
const MAX_HEARD: usize = 256 * 1024;

/// The settings that all probes of engines have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) check: Check<'a>,
    pub(crate) address: &'a str,
    pub(crate) slow_after: Duration,
}

/// What an engine that works has to say.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// In words, what works.
    pub(crate) detail: String,
    /// In words, what works worse than it should.
    pub(crate) worse: Option<String>,
    /// Values of series of its own.
    pub(crate) measured: Vec<(&'static str, f64)>,
}

/// Why an engine does not do its work. The words begin with the name of the reason.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It said nothing, or nothing that can be understood.
    Silent(String),
    /// It said no.
    Refused(String),
}

impl Failure {
    /// The connection to `address` broke.
    pub(crate) fn broken(error: &io::Error, address: &str) -> Self {
        Self::Silent(match error.kind() {
            io::ErrorKind::UnexpectedEof => format!("closed: {address} closed the connection"),
            io::ErrorKind::InvalidData => format!("wrong answer: {address}: {error}"),
            _ => of_io(error, address),
        })
    }
}

/// What a conversation waits for, which is told when the time is over, and the look-ups of names
/// that may outlive it.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    waits_for: Mutex<&'static str>,
    look_ups: LookUps,
}

impl Stage {
    pub(crate) fn is(&self, stage: &'static str) {
        *self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn get(&self) -> &'static str {
        *self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms<'_> {
    /// Refuses what no asking can work with.
    pub(crate) fn validate(self, wrong: &mut Violations) {
        self.check.validate(wrong);
        host_and_port(wrong, "address", self.address);
        lasting(wrong, "slow_after", self.slow_after);
        if self.slow_after > self.check.timeout {
            let found = format!("{:?}", self.slow_after);
            wrong.push(Violation::new("slow_after", found, "at most timeout"));
        }
    }

    /// Has the conversation and makes a reading of it.
    pub(crate) async fn read(
        self,
        cx: &Context,
        conversation: impl Future<Output = Result<Answer, Failure>>,
    ) -> Reading {
        let started = cx.now();
        let outcome = conversation.await;
        let at = cx.now();
        let took = at.since(started);
        match outcome {
            Err(Failure::Silent(why)) => self.check.silent(started, at, Finding::unhealthy(why)),
            Err(Failure::Refused(why)) => self.check.answered(started, at, Finding::unhealthy(why)),
            Ok(answer) => {
                let slow = self.slow_after;
                let finding = match answer.worse {
                    Some(worse) => Finding::degraded(worse),
                    None if took > slow => Finding::degraded(format!(
                        "{} after {took:?}, slower than {slow:?}",
                        answer.detail
                    )),
                    None => Finding::healthy(answer.detail),
                };
                let reading = self.check.answered(started, at, finding);
                answer
                    .measured
                    .into_iter()
                    .fold(reading, |all, (metric, value)| {
                        all.measured(self.check.measure(metric, at, value))
                    })
            }
        }
    }

    /// The reading when there was none in time.
    pub(crate) fn missed(self, at: Timestamp, why: &Missed, stage: &Stage) -> Reading {
        let mut reading = self.check.missed(at, why);
        for signal in &mut reading.signals {
            if let (Signal::Health(report), Missed::TimedOut(_)) = (signal, why) {
                let stage = stage.get();
                report.detail = format!("{}, while {stage} {}", report.detail, self.address);
            }
        }
        reading
    }

    /// Connects.
    ///
    /// # Cancel safety
    /// Dropping it, or what it gives, closes the connection.
    pub(crate) async fn dial(self, stage: &Stage) -> Result<Bounded, Failure> {
        let broken = |error: io::Error| Failure::broken(&error, self.address);
        stage.is("looking up the name of");
        let addresses = stage.look_ups.addresses_of(self.address).await;
        stage.is("connecting to");
        let connected = TcpStream::connect(&*addresses.map_err(broken)?).await;
        let stream = connected.map_err(broken)?;
        // Small packets, each of which somebody waits for.
        let _ = stream.set_nodelay(true);
        Ok(Bounded {
            stream,
            left: MAX_HEARD,
            begins: None,
        })
    }
}

/// A connection whose other side may say only so much (whoever answers garbage without end must not
/// fill the memory), and whose end is always an error.
#[derive(Debug)]
pub(crate) struct Bounded {
    stream: TcpStream,
    left: usize,
    begins: Option<&'static [u8]>,
}

impl Bounded {
    /// The same, refusing an answer whose first byte is not among `bytes`.
    #[cfg(any(feature = "postgres", feature = "redis"))]
    pub(crate) fn beginning_with(mut self, bytes: &'static [u8]) -> Self {
        self.begins = Some(bytes);
        self
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let heard = &buf.filled()[before..];
        let Some(first) = heard.first() else {
            // In the middle of a conversation the end is an error.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        };
        if this
            .begins
            .take()
            .is_some_and(|bytes| !bytes.contains(first))
        {
            let what = format!("an answer that begins with {:?}", excerpt(heard));
            return Poll::Ready(Err(wrong(what)));
        }
        let Some(left) = this.left.checked_sub(heard.len()) else {
            return Poll::Ready(Err(wrong(format!("more than {MAX_HEARD} bytes"))));
        };
        this.left = left;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The error of an answer that breaks the protocol.
pub(crate) fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// The beginning of what was heard, for humans.
pub(crate) fn excerpt(heard: &[u8]) -> String {
    String::from_utf8_lossy(&heard[..heard.len().min(40)]).into_owned()
}

/// A text that no other asking uses: of `name`'s chance, the time and a count.
#[cfg(any(feature = "redis", feature = "amqp"))]
pub(crate) fn unique(cx: &Context, name: &str, asked: &std::sync::atomic::AtomicU64) -> String {
    let n = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let chance = cx.rng(super::schedule::stream_of(name)).next_u64();
    format!("{:x}-{chance:x}-{n:x}", cx.now().as_nanos())
}

/// Makes a probe of a type with `config: _` (which has `terms`), `stage: Stage` and
/// `async fn converse(&self, &Context) -> Result<Answer, Failure>`.
macro_rules! probe_by_conversation {
    ($probe:ty) => {
        #[async_trait::async_trait]
        impl $crate::probe::Probe for $probe {
            fn name(&self) -> &str {
                &self.config.name
            }

            fn target(&self) -> Option<&homeostasis_core::Target> {
                Some(&self.config.target)
            }

            fn tier(&self) -> homeostasis_core::signal::HealthTier {
                homeostasis_core::signal::HealthTier::Deep
            }

            fn interval(&self) -> std::time::Duration {
                self.config.interval
            }

            fn timeout(&self) -> std::time::Duration {
                self.config.timeout
            }

            async fn probe(&self, cx: &homeostasis_core::Context) -> $crate::probe::Reading {
                self.config.terms().read(cx, self.converse(cx)).await
            }

            fn missed(
                &self,
                at: homeostasis_core::Timestamp,
                why: &$crate::probe::Missed,
            ) -> $crate::probe::Reading {
                self.config.terms().missed(at, why, &self.stage)
            }
        }
    };
}

pub(crate) use probe_by_conversation;
