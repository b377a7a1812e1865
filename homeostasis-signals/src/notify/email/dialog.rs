//! The dialog with a mail server (RFC 5321), as much of it as handing over a mail takes.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homeostasis_core::{ErrorKind, Secret};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest answer, all its lines together, in bytes.
const MAX_ANSWER: usize = 16 << 10;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why a mail was not taken, in words that hold nothing of the other side's.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    what: String,
}

impl Failure {
    pub(super) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { kind, what }
    }

    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        Self::new(ErrorKind::Transient, format!("{what}: {}", error.kind()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {}

/// An answer: its code, and the texts of its lines.
struct Answer {
    code: u16,
    lines: Vec<String>,
}

fn refusal(step: &str, code: u16) -> Failure {
    let kind = match code {
        400..500 => ErrorKind::Transient,
        530..=539 => ErrorKind::Denied,
        _ => ErrorKind::Permanent,
    };
    Failure::new(kind, format!("{step} was answered {code}"))
}

/// A connection on which the server answered `EHLO`.
pub(super) struct Dialog {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// What it can do, a line each, in capitals.
    offers: Vec<String>,
}

impl Dialog {
    /// Waits for the server's greeting and greets it as `hello`.
    pub(super) async fn greeted(stream: Box<dyn Stream>, hello: &str) -> Result<Self, Failure> {
        let mut dialog = Self {
            stream,
            buffer: Vec::new(),
            offers: Vec::new(),
        };
        dialog.expect("the greeting", 220).await?;
        dialog.hello(hello).await?;
        Ok(dialog)
    }

    async fn hello(&mut self, name: &str) -> Result<(), Failure> {
        self.say(&format!("EHLO {name}")).await?;
        let answer = self.expect("EHLO", 250).await?;
        let offers = answer.lines.iter().skip(1);
        self.offers = offers.map(|line| line.to_ascii_uppercase()).collect();
        Ok(())
    }

    /// The same over TLS with the machine `server`. What was said before is forgotten.
    #[cfg(feature = "tls")]
    pub(super) async fn secured(
        mut self,
        settings: &std::sync::Arc<rustls::ClientConfig>,
        server: &str,
        hello: &str,
    ) -> Result<Self, Failure> {
        let denied = |what: &str| Failure::new(ErrorKind::Denied, what);
        if !self.offers.iter().any(|offer| offer == "STARTTLS") {
            return Err(denied(
                "the server offers no STARTTLS, and nothing is sent without",
            ));
        }
        self.say("STARTTLS").await?;
        self.expect("STARTTLS", 220).await?;
        if !self.buffer.is_empty() {
            // Somebody on the way put words into the server's mouth (CVE-2011-0411).
            return Err(denied("the server went on in the clear after STARTTLS"));
        }
        let name = rustls::pki_types::ServerName::try_from(server.to_owned());
        let name = name.map_err(|_| denied("the server's name is none that TLS can check"))?;
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(settings));
        let stream = connector.connect(name, self.stream).await;
        let stream = stream.map_err(|error| Failure::io("no TLS that can be trusted", &error))?;
        let mut dialog = Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
            offers: Vec::new(),
        };
        dialog.hello(hello).await?;
        Ok(dialog)
    }

    pub(super) async fn log_in(&mut self, user: &str, password: &Secret) -> Result<(), Failure> {
        let offers_plain = |offer: &String| {
            let mut words = offer.split_whitespace();
            words.next() == Some("AUTH") && words.any(|word| word == "PLAIN")
        };
        if !self.offers.iter().any(offers_plain) {
            let what = "the server offers no AUTH PLAIN";
            return Err(Failure::new(ErrorKind::Permanent, what));
        }
        let token = STANDARD.encode(format!("\0{user}\0{}", password.expose()));
        self.say(&format!("AUTH PLAIN {token}")).await?;
        self.expect("AUTH", 235).await.map(drop)
    }

    /// Hands over one mail to whom the server takes; says how many recipients it refused, for good or
    /// for now. If it takes none, they may be taken later if one of them may.
    pub(super) async fn deliver(
        &mut self,
        from: &str,
        to: &BTreeSet<String>,
        text: &str,
    ) -> Result<usize, Failure> {
        self.say(&format!("MAIL FROM:<{from}>")).await?;
        self.expect("MAIL", 250).await?;
        let mut refused = Vec::new();
        for recipient in to {
            self.say(&format!("RCPT TO:<{recipient}>")).await?;
            let answer = self.answer("RCPT").await?;
            match answer.code {
                250..260 => {}
                // It ends the dialog.
                421 => return Err(refusal("RCPT", 421)),
                code => refused.push(refusal("RCPT", code)),
            }
        }
        if refused.len() == to.len() {
            let is_later = |it: &Failure| it.kind == ErrorKind::Transient;
            let which = refused.iter().position(is_later).unwrap_or_default();
            let none = || Failure::new(ErrorKind::Permanent, "there is no recipient");
            return Err(refused.into_iter().nth(which).unwrap_or_else(none));
        }
        self.say("DATA").await?;
        self.expect("DATA", 354).await?;
        // No line of it begins with a dot: headers have names, and base64 has no dots.
        self.write(text).await?;
        self.say(".").await?;
        self.expect("the end of DATA", 250).await?;
        Ok(refused.len())
    }

    /// Says goodbye; what comes of it no longer matters.
    pub(super) async fn quit(mut self) {
        if self.say("QUIT").await.is_ok() {
            let _ = self.expect("QUIT", 221).await;
        }
    }

    async fn say(&mut self, line: &str) -> Result<(), Failure> {
        self.write(&format!("{line}\r\n")).await
    }

    async fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        written
            .await
            .map_err(|error| Failure::io("writing", &error))
    }

    /// The answer, if it is in the class of `code`: 250 takes 251, too.
    async fn expect(&mut self, step: &str, code: u16) -> Result<Answer, Failure> {
        let answer = self.answer(step).await?;
        if answer.code / 10 == code / 10 {
            return Ok(answer);
        }
        Err(refusal(step, answer.code))
    }

    async fn answer(&mut self, step: &str) -> Result<Answer, Failure> {
        let broken = || Failure::new(ErrorKind::Permanent, format!("no SMTP after {step}"));
        let mut lines = Vec::new();
        let mut n_bytes = 0;
        loop {
            let line = self.line(step).await?;
            n_bytes += line.len();
            if n_bytes > MAX_ANSWER {
                return Err(broken());
            }
            let code = line
                .get(..3)
                .and_then(|it| it.parse().ok())
                .ok_or_else(broken)?;
            lines.push(line.get(4..).unwrap_or_default().trim().to_owned());
            match line.as_bytes().get(3) {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(Answer { code, lines }),
                Some(_) => return Err(broken()),
            }
        }
    }

    async fn line(&mut self, step: &str) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > MAX_ANSWER {
                let what = format!("an endless line after {step}");
                return Err(Failure::new(ErrorKind::Permanent, what));
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            let n = read.map_err(|error| Failure::io(&format!("reading after {step}"), &error))?;
            if n == 0 {
                let what = format!("the server hung up after {step}");
                return Err(Failure::new(ErrorKind::Transient, what));
            }
        }
    }
}
