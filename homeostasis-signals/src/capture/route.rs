//! The route of a request: few, whatever paths clients ask for.

use std::fmt;
use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Uri};

/// The route of requests that no route is known for.
pub(super) const UNMATCHED: &str = ":unmatched";
/// The most segments and the most bytes of a route.
const MAX_SEGMENTS: usize = 8;
const MAX_BYTES: usize = 128;
/// So many digits in a row are a number of something rather than a part of a name.
const ID_DIGITS: usize = 4;

/// What a request says before its body.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// What is asked for.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What layers further out left; a router leaves the route it matched.
    pub extensions: &'a Extensions,
}

type Ask = Arc<dyn Fn(&RequestHead<'_>) -> Option<String> + Send + Sync>;

/// Where the route of a request comes from.
#[derive(Clone, Default)]
pub(super) enum RouteSource {
    /// From the path, without what looks like an id.
    #[default]
    Path,
    /// From the host.
    Host(Ask),
}

impl fmt::Debug for RouteSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "Path",
            Self::Host(_) => "Host",
        })
    }
}

impl RouteSource {
    pub(super) fn route(&self, head: &RequestHead<'_>) -> String {
        match self {
            Self::Path => normalize(head.uri.path()),
            Self::Host(ask) => ask(head)
                .filter(|route| !route.is_empty())
                .unwrap_or_else(|| UNMATCHED.to_owned()),
        }
    }

    /// Whether a client that makes paths up makes routes up.
    pub(super) fn is_guess(&self) -> bool {
        matches!(self, Self::Path)
    }
}

/// The path with `:id` for each segment that looks like one, cut after eight segments or 128 bytes.
fn normalize(path: &str) -> String {
    let mut route = String::with_capacity(path.len().min(MAX_BYTES));
    for (n, segment) in path.split('/').filter(|part| !part.is_empty()).enumerate() {
        let segment = if is_id(segment) { ":id" } else { segment };
        if n == MAX_SEGMENTS || route.len() + 1 + segment.len() > MAX_BYTES {
            route.push_str("/…");
            break;
        }
        route.push('/');
        route.push_str(segment);
    }
    if route.is_empty() {
        route.push('/');
    }
    route
}

/// Whether a segment names one of many things: a number, a UUID, a hash, a token, an address, or
/// text that had to be escaped.
fn is_id(segment: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit();
    let n_digits = segment.bytes().filter(|byte| digit(*byte)).count();
    let run = segment
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    let hexadecimal = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    n_digits == segment.len()
        || run >= ID_DIGITS
        || segment.len() > 40
        || n_digits > 0 && segment.len() >= 8 && segment.bytes().all(hexadecimal)
        || n_digits > 0 && segment.len() >= 20
        || !segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_told_from_names() {
        for (path, route) in [
            ("/", "/"),
            ("", "/"),
            ("//orders//", "/orders"),
            ("/orders/7", "/orders/:id"),
            ("/api/v1/orders/4711/items", "/api/v1/orders/:id/items"),
            ("/users/3f2504e0-4f89-11d3-9a0c-0305e82c3301", "/users/:id"),
            ("/commits/805f8070a", "/commits/:id"),
            ("/feed/cafe", "/feed/cafe"),
            ("/invoices/INV-20391.pdf", "/invoices/:id"),
            ("/users/ann@example.org", "/users/:id"),
            ("/search/caf%C3%A9", "/search/:id"),
            ("/static/app-v2.css", "/static/app-v2.css"),
            ("/session/9rT4xKq0mPz7wLb2Yd8s", "/session/:id"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/…"),
        ] {
            assert_eq!(normalize(path), route, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_route_is_bounded_whatever_the_path_and_normal_already(path in "(/[^/]{0,60}){0,20}") {
            let route = normalize(&path);
            prop_assert!(route.len() <= MAX_BYTES + "/…".len());
            prop_assert!(route.starts_with('/'));
            prop_assert!(route.split('/').count() <= MAX_SEGMENTS + 2);
        }
    }
}
