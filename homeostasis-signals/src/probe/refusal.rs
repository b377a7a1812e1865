//! Why there was no answer, in the words everybody uses.

use std::error::Error;
use std::io;

use homeostasis_core::port::HttpError;

/// In words why there is no answer: first the reason as everybody calls it.
pub(crate) fn of_http(error: &HttpError) -> String {
    let words = error.report().to_string();
    if let HttpError::Timeout { .. } = error {
        return format!("timeout: {words}");
    }
    match named(error) {
        Some(name) => format!("{name}: {words}"),
        None => words,
    }
}

/// The same for a failure of the socket to `address`.
#[cfg(feature = "net")]
pub(crate) fn of_io(error: &io::Error, address: &str) -> String {
    match named(error) {
        Some(name) => format!("{name}: {address}: {error}"),
        None => format!("{address}: {error}"),
    }
}

#[cfg(feature = "net")]
fn is_look_up(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn Error + Send + Sync>::is::<crate::look_up::LookUpError>)
}

#[cfg(not(feature = "net"))]
fn is_look_up(_: &io::Error) -> bool {
    false
}

/// The name of the first failure of the operating system in the chain of `error`.
pub(crate) fn named(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(present) = cause {
        let name = present
            .downcast_ref::<io::Error>()
            .and_then(|error| match error.kind() {
                _ if is_look_up(error) => Some("name look-up"),
                io::ErrorKind::ConnectionRefused => Some("connection refused"),
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Some("connection reset"),
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                    Some("unreachable")
                }
                io::ErrorKind::TimedOut => Some("timeout"),
                _ => None,
            });
        if name.is_some() {
            return name;
        }
        cause = present.source();
    }
    None
}
