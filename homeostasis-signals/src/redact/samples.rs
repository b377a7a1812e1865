//! One secret of every kind, in the surroundings it is met in; made when it is asked for, so that
//! the repository holds nothing that looks like a secret.
//!
//! The planted-secret test of the facade uses this file too, so it needs nothing but the standard
//! library.

/// A secret in a text.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// What it is redacted as.
    pub(crate) kind: &'static str,
    /// What must not be read any more.
    pub(crate) secret: String,
    /// Where it stands.
    pub(crate) text: String,
}

impl Sample {
    /// What must not be read: the parts of the secret that are long enough to be told from chance.
    pub(crate) fn needles(&self) -> Vec<&str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+/_.$-".contains(c);
        let parts = self.secret.split(|c| !is_part(c));
        let parts: Vec<_> = parts.filter(|part| part.len() >= 12).collect();
        if parts.is_empty() {
            vec![&self.secret]
        } else {
            parts
        }
    }
}

const DIGITS: &str = "0123456789";
const HEX: &str = "0123456789abcdef";
const SMALL: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const LARGE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ALL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Draws characters; the same each time.
struct Urn(u64);

impl Urn {
    fn draw(&mut self, alphabet: &str, n: usize) -> String {
        let letters: Vec<_> = alphabet.chars().collect();
        let mut next = || {
            // Marsaglia's xorshift64.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let idx = usize::try_from(self.0 >> 33).unwrap() % letters.len();
            letters[idx]
        };
        (0..n).map(|_| next()).collect()
    }

    fn all(&mut self, n: usize) -> String {
        // A digit, a small and a large letter are in it for sure.
        let drawn = self.draw(ALL, n.saturating_sub(3));
        format!("k7Q{drawn}")
    }

    fn hex(&mut self, n: usize) -> String {
        self.draw(HEX, n)
    }
}

/// Base64 (RFC 4648) with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let held = chunk
            .iter()
            .fold(0_usize, |held, byte| held << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = ALPHABET[held >> (18 - 6 * place) & 63];
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

/// The secret alone, after a prefix that is a part of it, in three surroundings by turns.
fn token(samples: &mut Vec<Sample>, kind: &'static str, secret: String) {
    let text = match samples.len() % 4 {
        0 => format!("using {secret} for the upload"),
        1 => format!("{{\"detail\":\"{secret}\",\"n\":1}}"),
        2 => format!("request failed: x={secret}&y=2"),
        _ => format!("({secret})"),
    };
    samples.push(Sample { kind, secret, text });
}

/// A secret within surroundings that stay; `{}` is its place.
fn within(samples: &mut Vec<Sample>, kind: &'static str, around: &str, secret: String) {
    let text = around.replacen("{}", &secret, 1);
    samples.push(Sample { kind, secret, text });
}

/// One or more for every kind.
pub(crate) fn samples() -> Vec<Sample> {
    let mut urn = Urn(0x9E37_79B9_7F4A_7C15);
    let mut all = Vec::new();
    let s = &mut all;
    clouds(s, &mut urn);
    forges(s, &mut urn);
    messages(s, &mut urn);
    payment(s, &mut urn);
    services(s, &mut urn);
    operations(s, &mut urn);
    keys(s, &mut urn);
    protocols(s, &mut urn);
    named(s, &mut urn);
    all
}

#[rustfmt::skip]
fn clouds(s: &mut Vec<Sample>, u: &mut Urn) {
    for head in ["AKIA", "ASIA"] {
        token(s, "aws-access-key", head.to_owned() + &u.draw(LARGE, 16));
    }
    token(s, "aws-session-token", "IQoJb3Jp".to_owned() + "Z2lu" + &u.all(120));
    token(s, "aws-mws-token", format!("amzn{}mws.{}-{}-{}-{}-{}", '.', u.hex(8), u.hex(4), u.hex(4), u.hex(4), u.hex(12)));
    within(s, "aws-signature", "GET https://b.s3.amazonaws.com/o?X-Amz-Date=20251122T000000Z&X-Amz-Signature={} 403", u.hex(64));
    token(s, "aws-bedrock-key", "ABSK".to_owned() + &u.all(110));
    token(s, "google-api-key", "AIza".to_owned() + &u.all(35));
    token(s, "google-oauth-token", "ya29".to_owned() + "." + &u.all(60));
    token(s, "google-refresh-token", "1//".to_owned() + "0" + &u.all(60));
    token(s, "google-client-secret", "GOCSPX".to_owned() + "-" + &u.all(28));
    within(s, "azure-storage-key", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core.windows.net", u.all(86) + "==");
    within(s, "azure-shared-access-key", "Endpoint=sb://a.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={}", u.all(43) + "=");
    within(s, "azure-sas-signature", "https://a.blob.core.windows.net/c?sv=2022-11-02&sp=r&sig={}&se=2026", u.all(43) + "%3D");
    token(s, "azure-client-secret", u.draw(ALL, 3) + "8Q" + "~" + &u.all(34));
    within(s, "azure-function-key", "POST https://a.azurewebsites.net/api/f?code={}&n=1", u.all(54) + "==");
    token(s, "digitalocean-token", "dop".to_owned() + "_v1_" + &u.hex(64));
    token(s, "alibaba-access-key", "LTAI".to_owned() + &u.all(20));
    token(s, "tencent-secret-id", "AKID".to_owned() + &u.all(32));
    token(s, "cloudflare-origin-key", format!("v1{}0-{}-{}", '.', u.hex(24), u.hex(146)));
    token(s, "heroku-key", "HRKU".to_owned() + "-" + &u.all(60));
    token(s, "fly-token", "fo1".to_owned() + "_" + &u.all(43));
    token(s, "databricks-token", "dapi".to_owned() + &u.hex(32));
    token(s, "planetscale-token", "pscale".to_owned() + "_tkn_" + &u.all(43));
    token(s, "supabase-token", "sbp".to_owned() + "_" + &u.hex(40));
    token(s, "tailscale-key", "tskey".to_owned() + "-auth-" + &u.all(17) + "-" + &u.all(32));
}

#[rustfmt::skip]
fn forges(s: &mut Vec<Sample>, u: &mut Urn) {
    for head in ["ghp", "gho", "ghs"] {
        token(s, "github-token", head.to_owned() + "_" + &u.all(36));
    }
    token(s, "github-fine-grained-token", "github".to_owned() + "_pat_" + &u.all(22) + "_" + &u.all(59));
    token(s, "gitlab-token", "glpat".to_owned() + "-" + &u.all(20));
    token(s, "bitbucket-token", "ATBB".to_owned() + &u.all(32));
    token(s, "atlassian-token", "ATATT3".to_owned() + &u.all(180) + "=" + &u.draw(LARGE, 8));
    token(s, "npm-token", "npm".to_owned() + "_" + &u.all(36));
    token(s, "pypi-token", "pypi".to_owned() + "-AgEIcHlwaS5vcmc" + &u.all(80));
    token(s, "crates-io-token", "cio".to_owned() + &u.all(32));
    token(s, "rubygems-key", "rubygems".to_owned() + "_" + &u.hex(48));
    token(s, "nuget-key", "oy2".to_owned() + &u.draw(SMALL, 43));
    token(s, "docker-token", "dckr".to_owned() + "_pat_" + &u.all(27));
    let login = base64(format!("deployer:{}", u.all(20)).as_bytes());
    within(s, "docker-auth", r#"{"auths":{"registry.example.com":{"auth":"{}"}}}"#, login);
    token(s, "sourcegraph-token", "sgp".to_owned() + "_" + &u.hex(40));
    token(s, "sonar-token", "squ".to_owned() + "_" + &u.hex(40));
    token(s, "buildkite-token", "bkua".to_owned() + "_" + &u.hex(40));
    token(s, "circleci-token", "CCIPAT".to_owned() + "_" + &u.all(22) + "_" + &u.hex(40));
}

#[rustfmt::skip]
fn messages(s: &mut Vec<Sample>, u: &mut Urn) {
    token(s, "slack-token", format!("xoxb{}{}-{}-{}", '-', u.draw(DIGITS, 12), u.draw(DIGITS, 12), u.all(24)));
    token(s, "slack-token", format!("xapp{}1-A{}-{}", '-', u.draw(DIGITS, 10), u.hex(64)));
    within(s, "slack-webhook", "POST https://hooks.slack.com/services/{} 200", format!("T{}/B{}/{}", u.draw(LARGE, 8), u.draw(LARGE, 8), u.all(24)));
    within(s, "discord-webhook", "https://discord.com/api/webhooks/{}", u.draw("123456789", 18) + "/" + &u.all(68));
    within(s, "teams-webhook", "https://a.webhook.office.com/webhookb2/{}", format!("{}-{}-{}-{}-{}@{}/IncomingWebhook/{}", u.hex(8), u.hex(4), u.hex(4), u.hex(4), u.hex(12), u.hex(32), u.hex(32)));
    token(s, "telegram-bot-token", u.draw("123456789", 10) + ":" + "AA" + &u.all(33));
    token(s, "sendgrid-key", "SG".to_owned() + "." + &u.all(22) + "." + &u.all(43));
    token(s, "mailgun-key", "key".to_owned() + "-" + &u.draw(SMALL, 32));
    token(s, "mailchimp-key", u.hex(32) + "-us" + "14");
    token(s, "brevo-key", "xkeysib".to_owned() + "-" + &u.hex(64) + "-" + &u.all(16));
    token(s, "twilio-key", "SK".to_owned() + &u.hex(32));
}

#[rustfmt::skip]
fn payment(s: &mut Vec<Sample>, u: &mut Urn) {
    token(s, "stripe-key", "sk".to_owned() + "_live_" + &u.all(24));
    token(s, "stripe-key", "rk".to_owned() + "_live_" + &u.all(24));
    token(s, "stripe-webhook-secret", "whsec".to_owned() + "_" + &u.all(32));
    token(s, "square-token", "sq0atp".to_owned() + "-" + &u.all(22));
    token(s, "braintree-token", format!("access_token{}production{}{}${}", '$', '$', u.draw(SMALL, 16), u.hex(32)));
    token(s, "razorpay-key", "rzp".to_owned() + "_live_" + &u.all(14));
    token(s, "shopify-token", "shpat".to_owned() + "_" + &u.hex(32));
    token(s, "easypost-key", "EZAK".to_owned() + &u.all(54));
    for head in ["411111", "555555", "601111"] {
        let digits = head.to_owned() + &u.draw(DIGITS, 9);
        // The check digit of Luhn over the fifteen before it.
        let sum: u32 = digits.bytes().enumerate().map(|(i, byte)| {
            let value = u32::from(byte - b'0') * if i % 2 == 0 { 2 } else { 1 };
            if value > 9 { value - 9 } else { value }
        }).sum();
        within(s, "payment-card", "charging {} failed: declined", format!("{digits}{}", (10 - sum % 10) % 10));
    }
}

#[rustfmt::skip]
fn services(s: &mut Vec<Sample>, u: &mut Urn) {
    token(s, "ai-service-key", "sk".to_owned() + "-" + &u.all(48));
    token(s, "ai-service-key", "sk".to_owned() + "-proj-" + &u.all(80));
    token(s, "huggingface-token", "hf".to_owned() + "_" + &u.draw(LETTERS, 34));
    token(s, "replicate-token", "r8".to_owned() + "_" + &u.all(37));
    token(s, "airtable-token", "pat".to_owned() + &u.all(14) + "." + &u.hex(64));
    token(s, "notion-token", "ntn".to_owned() + "_" + &u.all(46));
    token(s, "linear-key", "lin".to_owned() + "_api_" + &u.all(40));
    token(s, "figma-token", "figd".to_owned() + "_" + &u.all(40));
    token(s, "postman-key", "PMAK".to_owned() + "-" + &u.hex(24) + "-" + &u.hex(34));
    token(s, "contentful-token", "CFPAT".to_owned() + "-" + &u.all(43));
    token(s, "mapbox-token", "sk".to_owned() + ".eyJ" + &u.all(60) + "." + &u.all(22));
    token(s, "facebook-token", "EAAC".to_owned() + &u.all(100));
    token(s, "twitter-bearer", "A".repeat(22) + &u.all(80));
}

#[rustfmt::skip]
fn operations(s: &mut Vec<Sample>, u: &mut Urn) {
    token(s, "vault-token", "hvs".to_owned() + "." + &u.all(90));
    token(s, "terraform-token", u.all(14) + ".atlasv1" + "." + &u.all(67));
    token(s, "pulumi-token", "pul".to_owned() + "-" + &u.hex(40));
    token(s, "doppler-token", "dp".to_owned() + ".pt." + &u.all(43));
    token(s, "onepassword-token", "ops".to_owned() + "_eyJ" + &u.all(200));
    within(s, "datadog-key", "datadog agent key: {}", u.hex(32));
    token(s, "newrelic-key", "NRAK".to_owned() + "-" + &u.draw(LARGE, 27));
    within(s, "sentry-dsn", "reporting to https://{}@o1.ingest.sentry.io/42", u.hex(32));
    token(s, "sentry-token", "sntrys".to_owned() + "_" + &u.all(80));
    token(s, "grafana-token", "glsa".to_owned() + "_" + &u.all(32) + "_" + &u.hex(8));
    token(s, "dynatrace-token", format!("dt0c01{}{}.{}", '.', u.draw(LARGE, 24), u.draw(LARGE, 64)));
    within(s, "okta-token", "trying SSWS {} again", u.all(42));
    token(s, "launchdarkly-key", format!("sdk{}{}-{}-4{}-8{}-{}", '-', u.hex(8), u.hex(4), u.hex(3), u.hex(3), u.hex(12)));
}

#[rustfmt::skip]
fn keys(s: &mut Vec<Sample>, u: &mut Urn) {
    let lines = |u: &mut Urn, end: &str| (0..4).map(|_| u.all(64) + end).collect::<String>();
    for name in ["RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""] {
        let (head, tail) = (format!("-----BEGIN {name}PRIVATE"), format!("-----END {name}PRIVATE"));
        within(s, "private-key", &format!("{head} KEY-----\n{{}}{tail} KEY-----\n"), lines(u, "\n"));
    }
    within(s, "private-key", &format!("{{\"type\":\"service_account\",\"private_key\":\"-----BEGIN {}\\n{{}}-----END {}\\n\"}}", "PRIVATE KEY-----", "PRIVATE KEY-----"), lines(u, "\\n"));
    within(s, "ssh2-private-key", "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{}---- END SSH2 ENCRYPTED PRIVATE KEY ----", lines(u, "\n"));
    within(s, "putty-private-key", "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 2\n{}\nPrivate-MAC: 0", u.all(64) + "\n" + &u.all(40));
    token(s, "age-secret-key", "AGE-SECRET".to_owned() + "-KEY-1" + &u.draw(LARGE, 58));
    let head = base64(br#"{"alg":"HS256","typ":"JWT"}"#).replace('=', "");
    let body = base64(br#"{"sub":"7","name":"a"}"#).replace('=', "");
    token(s, "jwt", format!("{head}.{body}.{}", u.all(43)));
    token(s, "password-hash", format!("$2y{}10${}", '$', u.all(53)));
    token(s, "password-hash", format!("$6{}{}${}", '$', u.all(12), u.all(86)));
    token(s, "password-hash", format!("$argon2id{}v=19$m=65536,t=3,p=4${}${}", '$', u.all(22), u.all(43)));
    token(s, "password-hash", format!("$apr1{}{}${}", '$', u.all(8), u.all(22)));
    let line = u.all(64);
    s.push(Sample { kind: "key-material", secret: line.clone(), text: line });
}

#[rustfmt::skip]
fn protocols(s: &mut Vec<Sample>, u: &mut Urn) {
    within(s, "url-password", "cannot reach postgres://shop:{}@db.internal:5432/orders?sslmode=require", u.all(14));
    within(s, "url-password", "redis://:{}@cache:6379/0 refused", u.all(14));
    within(s, "url-password", "git clone ssh://git:{}@example.com/a.git", u.all(14));
    within(s, "oracle-password", "jdbc:oracle:thin:scott/{}@//db:1521/orcl", u.all(12));
    within(s, "bearer-token", "curl -H 'x: Bearer {}'", u.all(40));
    let login = base64(format!("operator:{}", u.all(16)).as_bytes());
    within(s, "basic-credentials", "sent Basic {} to the proxy", login);
    within(s, "digest-response", "Digest username=\"a\", realm=\"r\", uri=\"/\", response=\"{}\"", u.hex(32));
    within(s, "otp-seed", "otpauth://totp/shop:ann?secret={}&issuer=shop", u.draw(LARGE, 32));
    within(s, "curl-user", "+ curl -s -u deploy:{} https://repo/x", u.all(14));
    within(s, "sshpass-password", "+ sshpass -p {} ssh root@host", u.all(14));
    within(s, "mysql-password", "+ mysqldump -u root -p{} orders", u.all(14));
    within(s, "sql-password", "CREATE USER shop@'%' IDENTIFIED BY '{}'", u.all(14));
    within(s, "sql-password", "alter user a identified with caching_sha2_password by '{}'", u.all(14));
}

#[rustfmt::skip]
fn named(s: &mut Vec<Sample>, u: &mut Urn) {
    for around in [
        "login password={} user=ann", "{\"user\":\"ann\",\"password\":\"{}\"}", "{\\\"db\\\":{\\\"password\\\":\\\"{}\\\"}}",
        "db:\n  password: {}\n", "run --password {} --force", "host=db port=5432 user=shop password={} dbname=orders",
        "Server=db;Database=orders;User Id=sa;Password={};Encrypt=yes", "jdbc:postgresql://db/orders?user=a&password={}&ssl=true",
        "export PGPASSWORD='{}'", "<password>{}</password>", "Config { user: \"a\", password: \"{}\" }", "ERROR wrong password: {}",
        "passphrase => {}", "MYSQL_PWD={} mysqladmin ping", "DB_PASS={}",
    ] {
        within(s, "password", around, u.all(13));
    }
    within(s, "aws-secret-key", "AWS_SECRET_ACCESS_KEY={}", u.all(40));
    within(s, "private-key", "[Interface]\nPrivateKey = {}\n", u.all(43) + "=");
    within(s, "api-key", "GET /v1/items?api_key={}&page=2", u.draw(SMALL, 24));
    within(s, "api-key", "X-Api-Key: {}", u.draw(SMALL, 24));
    within(s, "secret", "client_secret={}&grant_type=client_credentials", u.all(24));
    within(s, "token", "export X_TOKEN={}", u.draw(SMALL, 24));
    within(s, "token", "{\"access_token\":\"{}\",\"expires_in\":3600}", u.all(30));
    within(s, "authorization", "> Authorization: {}\n> Accept: */*", format!("Token {}", u.all(30)));
    within(s, "authorization", "{\"authorization\":\"{}\"}", format!("Digest username=\\\"a\\\", nonce=\\\"{}\\\"", u.all(20)));
    within(s, "cookie", "Cookie: {}\nHost: a", format!("sid={}; theme=dark", u.all(24)));
    within(s, "cookie", "Set-Cookie: {}", format!("id={}; HttpOnly", u.all(24)));
    within(s, "credentials", "credentials={} loaded", u.all(24));
    within(s, "otp-code", "recovery_code={}", u.draw(SMALL, 16));
    within(s, "ssn", "ssn=\"{}\"", format!("{}-{}-{}", u.draw("12345", 3), u.draw("12345", 2), u.draw(DIGITS, 4)));
    within(s, "card-code", "{\"cvv\":\"{}\"}", u.draw("123456789", 3) + "x" + &u.draw(DIGITS, 3));
    within(s, "session", "JSESSIONID={}", u.draw(HEX, 32));
    within(s, "high-entropy", "using access key {} for the bucket", u.all(40));
}
