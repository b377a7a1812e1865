//! Identity: who shows a token, without keeping the token.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::ErrorKind;
use crate::port::Principal;
use crate::secret::Secret;

/// What stands before salt and hash.
const SCHEME: &str = "hmac-sha256";

/// A text that is no token, or no hash of one. It does not repeat the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token could be guessed.
    #[error(
        "a token of {found} characters, expected at least {} of chance, such as 64 hexadecimal digits",
        TokenHash::MIN_TOKEN
    )]
    TooShort {
        /// How many characters it has.
        found: usize,
    },
    /// It is not what [`TokenHash`] prints.
    #[error("not a hash of a token, expected hmac-sha256:SALT:HASH in hexadecimal digits")]
    Malformed,
}

impl TokenError {
    /// What may be done next.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Permanent
    }
}

/// What is kept of a token: HMAC-SHA-256 of it, keyed with a salt of its own.
///
/// A slow hash protects passwords, because people choose guessable ones. A token is drawn by
/// chance (256 bits if made as advised): nobody finds it by trying, however fast the hash, and a
/// slow one would only let strangers keep this process busy. The salt keeps two principals with one
/// token from being seen to have it.
///
/// ```
/// use homeostasis::core::Secret;
/// use homeostasis::core::port::TokenHash;
/// let token = Secret::new("b4c8e0d7a91f4c5e8d3b6a7f9e0c1d2a4b5c6d7e8f90a1b2c3d4e5f60718293a");
/// let kept = TokenHash::of(&token, [7; 16])?;
/// assert!(kept.matches(&token));
/// assert!(!kept.matches(&Secret::new("another")));
/// assert_eq!(kept.to_string().parse(), Ok(kept));
/// # Ok::<(), homeostasis::core::port::TokenError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl TokenHash {
    /// A token has at least so many characters.
    pub const MIN_TOKEN: usize = 32;

    /// The hash of `token` with a salt that was drawn for it.
    ///
    /// # Errors
    /// If the token is shorter than [`MIN_TOKEN`](Self::MIN_TOKEN).
    pub fn of(token: &Secret, salt: [u8; 16]) -> Result<Self, TokenError> {
        let found = token.expose().chars().count();
        if found < Self::MIN_TOKEN {
            return Err(TokenError::TooShort { found });
        }
        let hash = hmac_sha256::HMAC::mac(token.expose(), salt);
        Ok(Self { salt, hash })
    }

    /// Whether it is the hash of `token`. Takes the same time for every token of one length.
    pub fn matches(&self, token: &Secret) -> bool {
        let shown = hmac_sha256::HMAC::mac(token.expose(), self.salt);
        let differing = shown
            .iter()
            .zip(&self.hash)
            .fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
        differing == 0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:")?;
        self.salt
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(":")?;
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({SCHEME})")
    }
}

impl FromStr for TokenHash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.split(':');
        let (Some(SCHEME), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        Ok(Self {
            salt: bytes(salt).ok_or(TokenError::Malformed)?,
            hash: bytes(hash).ok_or(TokenError::Malformed)?,
        })
    }
}

/// `N` bytes from twice as many hexadecimal digits.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Nobody known has this token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not authenticated: {reason}")]
pub struct NotAuthenticated {
    /// Why not. It says nothing about the token.
    pub reason: String,
}

impl NotAuthenticated {
    /// Asking again changes nothing.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }
}

/// Finds out who somebody is. Whatever it cannot tell is a no.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Whose token this is.
    async fn authenticate(&self, token: &Secret) -> Result<Principal, NotAuthenticated>;
}

const _: fn(&dyn Authenticator) = |_| {};

/// Principals and the hashes of their tokens. The default knows nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenTable {
    principals: Vec<(Principal, Vec<TokenHash>)>,
}

impl TokenTable {
    /// The same with one principal more. Several hashes let a token be replaced without a gap.
    pub fn with_principal(
        mut self,
        principal: Principal,
        tokens: impl IntoIterator<Item = TokenHash>,
    ) -> Self {
        let tokens = tokens.into_iter().collect();
        self.principals.push((principal, tokens));
        self
    }

    /// Those it knows, in the order in which they were added.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.principals.iter().map(|(principal, _)| principal)
    }

    /// Whether it knows nobody.
    pub fn is_empty(&self) -> bool {
        self.principals.is_empty()
    }
}

#[async_trait]
impl Authenticator for TokenTable {
    /// Tries every hash, whichever fits: the time does not say where one was found.
    async fn authenticate(&self, token: &Secret) -> Result<Principal, NotAuthenticated> {
        let (mut found, mut is_shared) = (None, false);
        for (principal, hashes) in &self.principals {
            for hash in hashes {
                if hash.matches(token) {
                    is_shared |= found.is_some_and(|other: &Principal| other != principal);
                    found = Some(principal);
                }
            }
        }
        let refused = |reason: &str| NotAuthenticated {
            reason: reason.to_owned(),
        };
        if is_shared {
            return Err(refused("several people have this token"));
        }
        found
            .cloned()
            .ok_or_else(|| refused("nobody has this token"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::Role;

    fn token(text: &str) -> Secret {
        Secret::new(text.repeat(32))
    }

    #[tokio::test]
    async fn a_token_is_its_owners_and_a_forged_one_is_nobodys() {
        let hash = |text, salt| TokenHash::of(&token(text), [salt; 16]).unwrap();
        let table = TokenTable::default()
            .with_principal(
                Principal::new("ada", [Role::Operator]),
                [hash("a", 1), hash("A", 2)],
            )
            .with_principal(Principal::new("bob", [Role::Viewer]), [hash("b", 3)]);
        for (text, name) in [("a", "ada"), ("A", "ada"), ("b", "bob")] {
            assert_eq!(table.authenticate(&token(text)).await.unwrap().name, name);
        }
        let stored = hash("a", 1).to_string();
        for forged in ["", "a", &"a".repeat(31), &"a".repeat(33), stored.as_str()] {
            let error = table.authenticate(&Secret::new(forged)).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "not authenticated: nobody has this token"
            );
        }
        let both = table.with_principal(Principal::new("eve", [Role::Admin]), [hash("a", 4)]);
        let error = both.authenticate(&token("a")).await.unwrap_err();
        assert_eq!(error.reason, "several people have this token");
        assert_eq!(both.authenticate(&token("b")).await.unwrap().name, "bob");
        let nobody = TokenTable::default();
        assert!(nobody.authenticate(&token("a")).await.is_err());
    }

    #[test]
    fn what_is_kept_holds_no_token_and_one_token_has_many_hashes() {
        let token = token("secret");
        let one = TokenHash::of(&token, [1; 16]).unwrap();
        let two = TokenHash::of(&token, [2; 16]).unwrap();
        assert_ne!(one.hash, two.hash);
        assert!(!one.to_string().contains("secret"));
        assert_eq!(format!("{one:?}"), "TokenHash(hmac-sha256)");
        // The same as any other HMAC-SHA-256 gives for the key of sixteen bytes 01.
        let plain = TokenHash::of(&Secret::new("a".repeat(32)), [1; 16]).unwrap();
        let (_, hash) = plain
            .to_string()
            .rsplit_once(':')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert_eq!(hash, KNOWN);
    }

    /// `python3 -c "import hmac;print(hmac.new(b'\1'*16, b'a'*32, 'sha256').hexdigest())"`
    const KNOWN: &str = "95d4b3339520b531bd5b531cb8f3f7703c536e20324f175b997e01daeee9c550";

    #[test]
    fn what_is_no_token_or_no_hash_is_refused_without_repeating_it() {
        let short = TokenHash::of(&Secret::new("hunter2"), [0; 16]).unwrap_err();
        assert_eq!(short, TokenError::TooShort { found: 7 });
        let whole = TokenHash::of(&token("a"), [9; 16]).unwrap().to_string();
        assert!(whole.parse::<TokenHash>().is_ok());
        for text in [
            "",
            "hunter2",
            "sha256:00:00",
            &whole[1..],
            &whole[..whole.len() - 1],
            &format!("{whole}:"),
            &whole.replace("09", "+9"),
        ] {
            let error = text.parse::<TokenHash>().unwrap_err();
            assert_eq!(error, TokenError::Malformed, "{text}");
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
    }
}
