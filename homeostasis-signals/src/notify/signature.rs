//! Signatures of webhooks as *Standard Webhooks* describes them, version `v1`.
//!
//! Source: the Standard Webhooks specification 1.0.0, sections "Signature scheme" and "Webhook
//! headers" (<https://www.standardwebhooks.com>).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homeostasis_core::Secret;

/// How a secret begins.
const PREFIX: &str = "whsec_";

/// A key that signs; it shows itself nowhere.
pub(super) struct SigningKey(Vec<u8>);

impl SigningKey {
    /// The key written as `whsec_` and the base64 of 24 to 64 bytes; `None` if it is not.
    pub(super) fn read(secret: &Secret) -> Option<Self> {
        let key = STANDARD
            .decode(secret.expose().strip_prefix(PREFIX)?)
            .ok()?;
        (24..=64).contains(&key.len()).then_some(Self(key))
    }

    /// `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = hmac_sha256::HMAC::new(&self.0);
        mac.update(format!("{id}.{timestamp}."));
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_the_specification_gives_as_an_example() {
        let secret = Secret::new(format!("{PREFIX}MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let signature = SigningKey::read(&secret).unwrap().sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature, expected);
    }

    #[test]
    fn only_a_long_enough_secret_in_its_notation_is_a_key() {
        let key = |n| format!("{PREFIX}{}", STANDARD.encode(vec![7_u8; n]));
        for good in [key(24), key(64)] {
            assert!(SigningKey::read(&Secret::new(good)).is_some());
        }
        let bare = key(32)[PREFIX.len()..].to_owned();
        for bad in [key(23), key(65), bare, format!("{PREFIX}no base64")] {
            assert!(SigningKey::read(&Secret::new(&bad)).is_none(), "{bad}");
        }
        let shown = format!("{:?}", SigningKey::read(&Secret::new(key(24))));
        assert_eq!(shown, "Some(***)");
    }
}
