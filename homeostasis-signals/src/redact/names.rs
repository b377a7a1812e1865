//! The names of fields, headers, labels and parameters whose values are secret.

/// How sure a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// Whatever ends with it names a secret: `db_password`.
    Sure,
    /// It does as a whole word, and in free text only if the value looks drawn by chance.
    Weak,
}

/// Names of one kind of secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// What stands in the place of the value: `[redacted:kind]`.
    pub(super) kind: &'static str,
    /// For people.
    pub(super) what: &'static str,
    pub(super) strength: Strength,
    /// Spelled without separators, in small letters.
    pub(super) spellings: &'static [&'static str],
}

/// The first that fits counts.
#[rustfmt::skip]
pub(super) const NAMES: &[Names] = &[
    sure("password", "passwords and passphrases", &["password", "passwords", "passwd", "passwort", "passphrase", "passcode", "pwd", "passwordhash"]),
    sure("aws-secret-key", "AWS secret access key", &["secretaccesskey", "awssecretkey"]),
    sure("private-key", "private, signing and encryption keys", &["privatekey", "signingkey", "encryptionkey", "decryptionkey", "masterkey", "sshkey", "hmackey", "clientkeydata", "presharedkey"]),
    sure("api-key", "API and access keys", &["apikey", "apikeys", "accesskey", "accountkey", "storagekey", "sharedkey", "authkey", "appkey", "applicationkey", "subscriptionkey", "servicekey", "licensekey", "deploykey", "integrationkey", "ingestkey"]),
    sure("secret", "secrets of clients and services", &["secret", "secrets", "secretkey", "secretvalue", "clientsecret"]),
    sure("token", "tokens", &["token", "jwt"]),
    sure("authorization", "values of authorization headers", &["authorization", "proxyauthorization"]),
    sure("cookie", "cookies", &["cookie", "cookies", "setcookie"]),
    sure("credentials", "credentials", &["credentials", "credential", "creds"]),
    sure("otp-code", "one-time and recovery codes", &["otpcode", "totpcode", "mfacode", "recoverycode", "recoverycodes", "backupcode", "backupcodes", "otpseed", "totpseed", "pincode"]),
    sure("ssn", "social security numbers", &["ssn", "socialsecuritynumber"]),
    sure("card-code", "check codes of payment cards", &["cvv", "cvv2", "cvc", "cvc2", "cardcode"]),
    sure("session", "session ids", &["jsessionid", "phpsessid", "sessionkey", "connectsid", "sessionid"]),
    weak("session", "session ids", &["session", "sessid", "sid"]),
    weak("password", "passwords", &["pass"]),
    weak("otp-code", "one-time codes", &["otp", "pin"]),
    weak("secret", "keys and signatures", &["key", "auth", "signature"]),
];

/// Words of names that end like a secret and are none: `next_token` turns a page.
const INNOCENT: &[&str] = &[
    "nexttoken",
    "pagetoken",
    "continuationtoken",
    "paginationtoken",
    "canceltoken",
    "cancellationtoken",
    "fencingtoken",
    "resumetoken",
    "synctoken",
    "starttoken",
    "endtoken",
    "stoptoken",
    "eostoken",
    "bostoken",
    "padtoken",
    "unktoken",
    "firsttoken",
    "lasttoken",
    "pertoken",
    "unexpectedtoken",
    "oldpwd",
    "haspassword",
    "ispassword",
    "nopassword",
    "needspassword",
    "forgotpassword",
    "resetpassword",
    "changepassword",
    "publickey",
    "primarykey",
    "foreignkey",
    "partitionkey",
    "routingkey",
    "cachekey",
    "sortkey",
    "hotkey",
];

/// Words at the end of a name that say how the value is written, not what it is.
const WRAPPERS: &[&str] = &[
    "value",
    "plain",
    "plaintext",
    "cleartext",
    "raw",
    "text",
    "string",
    "str",
    "b64",
    "base64",
    "hex",
    "encoded",
    "old",
    "new",
    "current",
    "previous",
    "primary",
    "secondary",
    "backup",
    "prod",
    "production",
    "staging",
    "dev",
    "test",
    "header",
    "param",
    "base",
    "live",
    "sandbox",
    "db",
    "rw",
    "ro",
];

/// Names of more bytes are cut on the left: what counts stands at their end.
const LONGEST: usize = 64;

const fn sure(kind: &'static str, what: &'static str, spellings: &'static [&'static str]) -> Names {
    Names {
        kind,
        what,
        strength: Strength::Sure,
        spellings,
    }
}

const fn weak(kind: &'static str, what: &'static str, spellings: &'static [&'static str]) -> Names {
    Names {
        strength: Strength::Weak,
        ..sure(kind, what, spellings)
    }
}

/// A name in small letters without separators, with the beginnings of its words.
#[derive(Debug, Clone)]
pub(super) struct Normal {
    letters: [u8; LONGEST],
    len: usize,
    /// Bit `i`: a word begins at letter `i`.
    begins: u64,
}

impl Normal {
    /// Splits at separators and at humps: `X-Api-Key`, `x_api_key` and `xApiKey` are one.
    pub(super) fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let bytes = &bytes[bytes.len().saturating_sub(LONGEST)..];
        let mut normal = Self {
            letters: [0; LONGEST],
            len: 0,
            begins: 0,
        };
        let mut before = b' ';
        for (i, byte) in bytes.iter().enumerate() {
            if byte.is_ascii_alphanumeric() {
                let follows_small = before.is_ascii_lowercase() || before.is_ascii_digit();
                // `AWSSecret`: the last capital of a row begins the next word.
                let ends_row = before.is_ascii_uppercase()
                    && bytes.get(i + 1).is_some_and(u8::is_ascii_lowercase);
                let hump = byte.is_ascii_uppercase() && (follows_small || ends_row);
                if hump || !before.is_ascii_alphanumeric() {
                    normal.begins |= 1 << normal.len;
                }
                normal.letters[normal.len] = byte.to_ascii_lowercase();
                normal.len += 1;
            }
            before = *byte;
        }
        normal.strip_wrappers();
        normal
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.letters[..self.len]
    }

    pub(super) fn ends_with(&self, spelling: &str) -> bool {
        self.as_bytes().ends_with(spelling.as_bytes())
    }

    /// Whether it ends with `spelling`, and that begins one of its words.
    pub(super) fn ends_with_word(&self, spelling: &str) -> bool {
        self.ends_with(spelling) && self.begins >> (self.len - spelling.len()) & 1 == 1
    }

    fn strip_wrappers(&mut self) {
        loop {
            while self.len > 1 && self.letters[self.len - 1].is_ascii_digit() && !self.is_known() {
                self.len -= 1;
            }
            let wrapper = WRAPPERS
                .iter()
                .find(|word| self.len > word.len() && self.ends_with_word(word));
            match wrapper {
                Some(word) => self.len -= word.len(),
                None => return,
            }
        }
    }

    /// `cvv2` ends with its digit.
    fn is_known(&self) -> bool {
        NAMES
            .iter()
            .flat_map(|names| names.spellings)
            .any(|spelling| self.ends_with(spelling))
    }
}

/// What the shipped table says of a name.
pub(super) fn classify(name: &Normal) -> Option<&'static Names> {
    let found = NAMES.iter().find(|names| {
        names.spellings.iter().any(|spelling| match names.strength {
            Strength::Sure if spelling.len() <= 4 => name.ends_with_word(spelling),
            Strength::Sure => name.ends_with(spelling),
            Strength::Weak => name.ends_with_word(spelling),
        })
    })?;
    let innocent = INNOCENT.iter().any(|spelling| name.ends_with(spelling));
    (!innocent).then_some(found)
}

/// Literals one of which stands in every name of the table, in any case of letters: free text is
/// searched for them.
pub(super) const LITERALS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "authoriz",
    "cookie",
    "cred",
    "ssn",
    "social",
    "cvv",
    "cvc",
    "card",
    "sess",
    "sid",
    "signature",
    "jwt",
    "otp",
    "mfa",
    "recovery",
    "backup",
    "pin",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Option<&'static str> {
        classify(&Normal::of(name)).map(|names| names.kind)
    }

    #[test]
    fn every_spelling_of_a_secret_name_is_known() {
        let secret = [
            ("password", "password"),
            ("db.password", "password"),
            ("DB_PASSWORD", "password"),
            ("dbPassword", "password"),
            ("keystorepassword", "password"),
            ("PGPASSWORD", "password"),
            ("old-passwd", "password"),
            ("MYSQL_PWD", "password"),
            ("password2", "password"),
            ("DB_PASS", "password"),
            ("api_key", "api-key"),
            ("X-Api-Key", "api-key"),
            ("apiKeyValue", "api-key"),
            ("AWSSecretAccessKey", "aws-secret-key"),
            ("aws_secret_access_key", "aws-secret-key"),
            ("client_secret", "secret"),
            ("clientSecret", "secret"),
            ("authToken", "token"),
            ("X_TOKEN", "token"),
            ("access.token", "token"),
            ("Authorization", "authorization"),
            ("http.request.header.cookie", "cookie"),
            ("Set-Cookie", "cookie"),
            ("private_key", "private-key"),
            ("credentials", "credentials"),
            ("session", "session"),
            ("JSESSIONID", "session"),
            ("user.ssn", "ssn"),
            ("cvv2", "card-code"),
            ("PASSWORD_DB", "password"),
            ("api_key_live", "api-key"),
            ("GITHUB_TOKEN_RW", "token"),
        ];
        for (name, expected) in secret {
            assert_eq!(kind(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn names_that_only_look_like_it_are_left_alone() {
        let innocent = [
            "token_count",
            "password_policy",
            "secret_name",
            "author",
            "tokens_per_second",
            "max_tokens",
            "next_token",
            "nextPageToken",
            "public_key",
            "cache_key",
            "monkey",
            "compass",
            "session_count",
            "token_type",
            "cookie_domain",
            "key_id",
            "keyboard",
            "passed",
            "authority",
            "lesson",
            "pinned",
            "cwd",
            "OLDPWD",
            "mission",
            "classname",
            "",
            "é",
            "secretary",
            "tokenizer",
            "resid",
            "spin",
        ];
        for name in innocent {
            assert_eq!(kind(name), None, "{name}");
        }
    }

    #[test]
    fn every_spelling_holds_a_literal_and_is_found_as_it_is_written() {
        for names in NAMES {
            for spelling in names.spellings {
                assert!(
                    *spelling == "auth"
                        || LITERALS.iter().any(|literal| spelling.contains(literal)),
                    "{spelling}: in text `auth` alone says nothing"
                );
                assert_eq!(kind(spelling), Some(names.kind), "{spelling}");
            }
        }
    }
}
