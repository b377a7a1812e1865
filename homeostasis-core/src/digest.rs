//! Content hashes: what approvals, permits and audit chains are bound to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A SHA-256 digest, shown as 64 hexadecimal digits.
///
/// ```
/// use homeostasis::core::Digest;
/// let digest = Digest::of_bytes(b"abc");
/// assert!(digest.to_string().starts_with("ba7816bf"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(hmac_sha256::Hash::hash(bytes))
    }

    /// The digest of the canonical JSON of `value`: object keys sorted, no white space.
    ///
    /// Values that JSON cannot hold (maps whose keys are not strings) hash as their error text, so
    /// two of them are equal only if they fail alike; our records have none.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        // `serde_json::Value` keeps objects in a BTreeMap, which sorts the keys.
        match serde_json::to_value(value) {
            Ok(value) => Self::of_bytes(value.to_string().as_bytes()),
            Err(error) => Self::of_bytes(error.to_string().as_bytes()),
        }
    }

    /// The digest of this one followed by `bytes`: a link of a hash chain.
    #[must_use]
    pub fn chain(&self, bytes: &[u8]) -> Self {
        let mut hash = hmac_sha256::Hash::new();
        hash.update(self.0);
        hash.update(bytes);
        Self(hash.finalize())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl std::str::FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("digest {text:?}, expected 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_does_not_depend_on_field_order() {
        let a = serde_json::json!({"b": 1, "a": [true, null]});
        let b: serde_json::Value = serde_json::from_str(r#"{"a":[true,null],"b":1}"#).unwrap();
        assert_eq!(Digest::of(&a), Digest::of(&b));
    }

    #[test]
    fn a_digest_reads_back_and_refuses_other_text() {
        let digest = Digest::of_bytes(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(
            "zz".parse::<Digest>()
                .unwrap_err()
                .contains("64 hexadecimal")
        );
    }
}
