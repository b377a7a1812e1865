//! Addresses of servers.

/// Checks `host:port`, or says what was found and what was expected; what may hold a password is not shown.
pub(super) fn host_and_port(address: &str) -> Result<(&str, u16), (String, &'static str)> {
    let split = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host
            .strip_prefix('[')
            .map_or(Some(host), |inside| inside.strip_suffix(']'))?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let good = !host.is_empty() && !host.contains(['@', '/', '[', ']', ' ']);
        good.then_some((host, port))
    });
    split.ok_or_else(|| {
        let found = if address.contains(['@', '/']) {
            "(not shown)".to_owned()
        } else {
            format!("{address:?}")
        };
        (found, "host:port, without a scheme or a user")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_hides_what_may_be_a_password() {
        assert_eq!(host_and_port("db.local:5432"), Ok(("db.local", 5432)));
        assert_eq!(host_and_port("[::1]:6379"), Ok(("::1", 6379)));
        for bad in [
            "", "db", "db:", ":1", "db:0", "db:x", "db:70000", "[::1:1", "d b:1",
        ] {
            assert!(host_and_port(bad).is_err(), "{bad:?}");
        }
        let (found, _) = host_and_port("u:s3cret@db:5432").unwrap_err();
        assert!(!found.contains("s3cret"), "{found}");
    }
}
