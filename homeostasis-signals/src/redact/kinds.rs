//! The kinds of secrets that are known by how they look: data, one row a kind.

/// How the start of a match is found from the literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The literal begins the match, and no letter, digit or `_` stands before it.
    Word,
    /// The literal begins the match, whatever stands before it.
    Anywhere,
    /// Up to this many decimal digits stand before the literal.
    Digits(usize),
    /// Up to this many hexadecimal digits stand before the literal.
    Hex(usize),
    /// Up to this many letters, digits, `_`, `~` or `.` stand before the literal.
    Token(usize),
    /// The literal begins the match, and the last `@` of its run ends it; a run has no blanks and
    /// no quotes. Without an `@` there is no match.
    Login,
    /// Up to this many bytes of the literal's run stand before it.
    Run(usize),
}

/// What else must hold of what the expression found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing.
    None,
    /// It looks drawn by chance: see [`looks_random`](super::check::looks_random).
    Random,
    /// It is no word: it holds a digit, or letters of both cases.
    NoWord,
    /// Its first part decodes to a JSON object with `alg`.
    Jwt,
    /// It decodes to `name:password`.
    UserPassword,
}

/// One kind of secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// What stands in its place: `[redacted:name]`.
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// Literals one of which every match holds, in any case of letters.
    pub(super) literals: &'static [&'static str],
    /// Where the match begins.
    pub(super) reach: Reach,
    /// What is matched from there; only the group `secret` is replaced if there is one. It never
    /// runs on without success: an open repetition stands at the end only.
    pub(super) regex: &'static str,
    /// What else must hold.
    pub(super) check: Check,
}

const fn word(
    name: &'static str,
    what: &'static str,
    literals: &'static [&'static str],
    regex: &'static str,
) -> Kind {
    Kind {
        name,
        what,
        literals,
        reach: Reach::Word,
        regex,
        check: Check::None,
    }
}

const fn anywhere(
    name: &'static str,
    what: &'static str,
    literals: &'static [&'static str],
    regex: &'static str,
) -> Kind {
    Kind {
        reach: Reach::Anywhere,
        ..word(name, what, literals, regex)
    }
}

impl Kind {
    const fn reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    const fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }
}

/// The table. Sources are the vendors' own descriptions of their formats.
#[rustfmt::skip]
pub(super) const KINDS: &[Kind] = &[
    // Clouds.
    word("aws-access-key", "AWS access key id", &["AKIA", "ASIA", "ABIA", "ACCA"], r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    word("aws-session-token", "AWS session token", &["IQoJb3JpZ2lu", "FwoGZXIvYXdz"], r"(?:IQoJb3JpZ2lu|FwoGZXIvYXdz)[A-Za-z0-9+/=%]{60,}"),
    word("aws-mws-token", "Amazon marketplace token", &["amzn.mws."], r"amzn\.mws\.[0-9a-f-]{36}"),
    word("aws-signature", "signature of a presigned AWS request", &["X-Amz-Signature="], r"(?i)X-Amz-Signature=(?P<secret>[0-9a-f]{64})"),
    word("aws-bedrock-key", "AWS Bedrock API key", &["ABSK"], r"ABSK[A-Za-z0-9+/]{100,}={0,2}"),
    word("google-api-key", "Google API key", &["AIza"], r"AIza[0-9A-Za-z_-]{35}"),
    word("google-oauth-token", "Google OAuth access token", &["ya29."], r"ya29\.[0-9A-Za-z_.-]{20,}"),
    word("google-refresh-token", "Google OAuth refresh token", &["1//0"], r"1//0[0-9A-Za-z_-]{30,}"),
    word("google-client-secret", "Google OAuth client secret", &["GOCSPX-"], r"GOCSPX-[0-9A-Za-z_-]{20,}"),
    word("azure-storage-key", "Azure storage account key", &["AccountKey="], r"(?i)AccountKey=(?P<secret>[A-Za-z0-9+/]{40,}={0,2})"),
    word("azure-shared-access-key", "Azure service bus, event hub or IoT key", &["SharedAccessKey="], r"(?i)SharedAccessKey=(?P<secret>[A-Za-z0-9+/]{40,}={0,2})"),
    word("azure-sas-signature", "signature of an Azure shared access URL", &["sig="], r"sig=(?P<secret>[A-Za-z0-9%+/_-]{40,}=*)"),
    word("azure-client-secret", "Azure application secret", &["Q~"], r"[0-9A-Za-z_~.]{3}[0-9]Q~[0-9A-Za-z_~.-]{31,}").reach(Reach::Token(4)),
    anywhere("azure-function-key", "Azure function key", &["?code=", "&code="], r"[?&]code=(?P<secret>[0-9A-Za-z/+_-]{40,}={0,2})"),
    word("digitalocean-token", "DigitalOcean token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"do[opr]_v1_[a-f0-9]{64}"),
    word("alibaba-access-key", "Alibaba Cloud access key id", &["LTAI"], r"LTAI[0-9A-Za-z]{12,30}\b"),
    word("tencent-secret-id", "Tencent Cloud secret id", &["AKID"], r"AKID[0-9A-Za-z]{32}\b"),
    word("cloudflare-origin-key", "Cloudflare origin CA key", &["v1.0-"], r"v1\.0-[a-f0-9]{24}-[a-f0-9]{146}"),
    word("heroku-key", "Heroku API key", &["HRKU-"], r"HRKU-[0-9A-Za-z_-]{36,}"),
    word("fly-token", "Fly.io token", &["FlyV1 ", "fo1_"], r"(?:FlyV1 fm[0-9]_[0-9A-Za-z+/=,_-]{40,}|fo1_[0-9A-Za-z_-]{40,})"),
    word("databricks-token", "Databricks token", &["dapi"], r"dapi[a-f0-9]{32}(?:-[0-9])?\b"),
    word("planetscale-token", "PlanetScale token or password", &["pscale_"], r"pscale_(?:tkn|pw|oauth)_[0-9A-Za-z_.=-]{32,}"),
    word("supabase-token", "Supabase token", &["sbp_", "sb_secret_"], r"(?:sbp_[a-f0-9]{40}|sb_secret_[0-9A-Za-z_-]{20,})"),
    word("tailscale-key", "Tailscale key", &["tskey-"], r"tskey-[a-z]+-[0-9A-Za-z_-]{16,}"),

    // Source forges and registries.
    word("github-token", "GitHub token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"gh[pousr]_[0-9A-Za-z]{36,}"),
    word("github-fine-grained-token", "GitHub fine-grained token", &["github_pat_"], r"github_pat_[0-9A-Za-z_]{50,}"),
    word("gitlab-token", "GitLab token", &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glft-", "glimt-", "glsoat-", "gloas-", "glagent-"], r"gl(?:pat|dt|rt|ptt|cbt|ft|imt|soat|oas|agent)-[0-9A-Za-z_.-]{20,}"),
    word("bitbucket-token", "Bitbucket token", &["ATBB", "ATCTT3"], r"(?:ATBB[0-9A-Za-z]{24,}|ATCTT3[0-9A-Za-z_=-]{40,})"),
    word("atlassian-token", "Atlassian token", &["ATATT3"], r"ATATT3[0-9A-Za-z_=-]{40,}"),
    word("npm-token", "npm token", &["npm_"], r"npm_[0-9A-Za-z]{36}\b"),
    word("pypi-token", "PyPI token", &["pypi-AgE"], r"pypi-AgE[0-9A-Za-z_-]{50,}"),
    word("crates-io-token", "crates.io token", &["cio"], r"cio[0-9A-Za-z]{32}\b").check(Check::Random),
    word("rubygems-key", "RubyGems key", &["rubygems_"], r"rubygems_[a-f0-9]{48}"),
    word("nuget-key", "NuGet key", &["oy2"], r"oy2[a-z0-9]{43}\b"),
    word("docker-token", "Docker Hub token", &["dckr_pat_", "dckr_oat_"], r"dckr_[po]at_[0-9A-Za-z_-]{20,}"),
    anywhere("docker-auth", "registry credentials of a dockerconfig", &["\"auth\"", "auth\\\""], r#"(?i)\\?"?auth\\?"[ \t]*:[ \t]*\\?"(?P<secret>[A-Za-z0-9+/]{8,}={0,2})"#).check(Check::UserPassword),
    word("sourcegraph-token", "Sourcegraph token", &["sgp_"], r"sgp_(?:[0-9A-Za-z]{16}_|local_)?[a-f0-9]{40}\b"),
    word("sonar-token", "SonarQube token", &["squ_", "sqp_", "sqa_"], r"sq[upa]_[a-f0-9]{40}\b"),
    word("buildkite-token", "Buildkite token", &["bkua_"], r"bkua_[a-f0-9]{40}\b"),
    word("circleci-token", "CircleCI token", &["CCIPAT_", "CCIPRJ_"], r"CCIP(?:AT|RJ)_[0-9A-Za-z]{22}_[a-f0-9]{40}"),

    // Messages and mail.
    word("slack-token", "Slack token", &["xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xoxc-", "xoxd-", "xapp-"], r"(?:xox[abceoprsd]|xoxe\.xox[bp]|xapp)-[0-9A-Za-z%-]{10,}"),
    anywhere("slack-webhook", "Slack webhook", &["hooks.slack.com/"], r"(?i)hooks\.slack\.com/(?:services|workflows|triggers)/(?P<secret>[0-9A-Za-z_/-]{20,})"),
    anywhere("discord-webhook", "Discord webhook", &["/api/webhooks/"], r"/api/webhooks/(?P<secret>[0-9]{15,22}/[0-9A-Za-z_-]{40,})"),
    anywhere("teams-webhook", "Microsoft Teams webhook", &["webhook.office.com/"], r"(?i)webhook\.office\.com/webhookb2/(?P<secret>[0-9a-z@/-]{40,})"),
    word("telegram-bot-token", "Telegram bot token", &[":AA"], r"[0-9]{6,12}:AA[0-9A-Za-z_-]{32,}").reach(Reach::Digits(12)),
    word("sendgrid-key", "SendGrid key", &["SG."], r"SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{16,}"),
    word("mailgun-key", "Mailgun key", &["key-"], r"key-[0-9a-z]{32}\b").check(Check::Random),
    word("mailchimp-key", "Mailchimp key", &["-us"], r"[0-9a-f]{32}-us[0-9]{1,2}\b").reach(Reach::Hex(32)),
    word("brevo-key", "Brevo key", &["xkeysib-", "xsmtpsib-"], r"x(?:key|smtp)sib-[a-f0-9]{64}-[0-9A-Za-z]{16}"),
    word("twilio-key", "Twilio API key", &["SK"], r"SK[0-9a-f]{32}\b"),

    // Payment and shops.
    word("stripe-key", "Stripe key", &["sk_live_", "sk_test_", "rk_live_", "rk_test_"], r"[sr]k_(?:live|test)_[0-9A-Za-z]{10,}"),
    word("stripe-webhook-secret", "Stripe webhook secret", &["whsec_"], r"whsec_[0-9A-Za-z+/=]{24,}"),
    word("square-token", "Square token", &["sq0atp-", "sq0csp-", "EAAA"], r"(?:sq0(?:atp|csp)-[0-9A-Za-z_-]{22,}|EAAA[0-9A-Za-z_-]{60})"),
    word("braintree-token", "PayPal Braintree token", &["access_token$"], r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    word("razorpay-key", "Razorpay key", &["rzp_live_", "rzp_test_"], r"rzp_(?:live|test)_[0-9A-Za-z]{14,}"),
    word("shopify-token", "Shopify token", &["shpat_", "shpca_", "shppa_", "shpss_"], r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"),
    word("easypost-key", "EasyPost key", &["EZAK", "EZTK"], r"EZ[AT]K[0-9A-Za-z]{54}"),

    // Models and data services.
    word("ai-service-key", "key of a language model service", &["sk-", "xai-", "pplx-", "gsk_"], r"(?:sk-|xai-|pplx-|gsk_)[0-9A-Za-z_-]{20,}").check(Check::Random),
    word("huggingface-token", "Hugging Face token", &["hf_", "api_org_"], r"(?:hf|api_org)_[A-Za-z]{34}\b"),
    word("replicate-token", "Replicate token", &["r8_"], r"r8_[0-9A-Za-z]{37}\b"),
    word("airtable-token", "Airtable token", &["pat"], r"pat[0-9A-Za-z]{14}\.[0-9a-f]{64}\b"),
    word("notion-token", "Notion token", &["ntn_", "secret_"], r"(?:ntn_[0-9A-Za-z]{40,}|secret_[0-9A-Za-z]{43}\b)"),
    word("linear-key", "Linear key", &["lin_api_", "lin_oauth_"], r"lin_(?:api|oauth)_[0-9A-Za-z]{40,}"),
    word("figma-token", "Figma token", &["figd_"], r"figd_[0-9A-Za-z_-]{40,}"),
    word("postman-key", "Postman key", &["PMAK-"], r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    word("contentful-token", "Contentful token", &["CFPAT-"], r"CFPAT-[0-9A-Za-z_-]{40,}"),
    word("mapbox-token", "Mapbox secret token", &["sk.eyJ"], r"sk\.eyJ[0-9A-Za-z_-]{20,}\.[0-9A-Za-z_-]{20,}"),
    word("facebook-token", "Facebook access token", &["EAAC", "EAAB", "EAAG"], r"EAA[BCG][0-9A-Za-z]{40,}"),
    word("twitter-bearer", "X (Twitter) bearer token", &["AAAAAAAAAAAAAAAAAAAA"], r"A{20,24}[0-9A-Za-z%]{40,}"),

    // Operations.
    word("vault-token", "HashiCorp Vault token", &["hvs.", "hvb.", "hvr."], r"hv[sbr]\.[0-9A-Za-z_-]{24,}"),
    word("terraform-token", "Terraform Cloud token", &[".atlasv1."], r"[0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_=-]{50,}").reach(Reach::Token(14)),
    word("pulumi-token", "Pulumi token", &["pul-"], r"pul-[a-f0-9]{40}\b"),
    word("doppler-token", "Doppler token", &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."], r"dp\.(?:pt|st|ct|sa)\.[0-9A-Za-z_.-]{40,}"),
    word("onepassword-token", "1Password service account token", &["ops_eyJ"], r"ops_eyJ[0-9A-Za-z+/=_-]{60,}"),
    word("datadog-key", "Datadog key beside its name", &["datadog", "dd-api-key", "dd-application-key"], r"(?i)(?:datadog|dd-(?:api|application)-key)[0-9a-z_ .:='\x22-]{0,32}?[ :='\x22](?P<secret>[0-9a-f]{40}|[0-9a-f]{32})\b"),
    word("newrelic-key", "New Relic key", &["NRAK-", "NRJS-", "NRAA-", "NRRA-", "NRBR-", "NRII-"], r"NR(?:AK|JS|AA|RA|BR|II)-[0-9A-Za-z_-]{19,}"),
    anywhere("sentry-dsn", "Sentry DSN", &["://", r":\/\/"], r":(?://|\\/\\/)(?P<secret>[0-9a-f]{32}(?::[0-9a-f]{32})?)@[0-9A-Za-z.:-]{1,253}\\?/[0-9A-Za-z/\\]*[0-9]+"),
    word("sentry-token", "Sentry token", &["sntrys_", "sntryu_"], r"sntry[su]_[0-9A-Za-z+/=_-]{40,}"),
    word("grafana-token", "Grafana token", &["glsa_", "glc_"], r"(?:glsa_[0-9A-Za-z]{32}_[0-9a-fA-F]{8}|glc_[0-9A-Za-z+/=]{32,})"),
    word("dynatrace-token", "Dynatrace token", &["dt0c01.", "dt0s01.", "dt0s16."], r"dt0[cs](?:01|16)\.[0-9A-Z]{24}\.[0-9A-Z]{64}"),
    word("okta-token", "Okta token", &["SSWS "], r"SSWS (?P<secret>[0-9A-Za-z_-]{30,})"),
    word("launchdarkly-key", "LaunchDarkly key", &["sdk-", "api-"], r"(?:sdk|api)-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b"),

    // Keys.
    anywhere("private-key", "PEM, OpenSSH or PGP private key, also with escaped line ends", &["-----BEGIN"], r"-----BEGIN [0-9A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?P<secret>[^-]+(?:-[^-]+){0,64})"),
    anywhere("ssh2-private-key", "SSH2 private key", &["---- BEGIN SSH2"], r"---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----(?P<secret>[^-]+(?:-[^-]+){0,64})"),
    word("putty-private-key", "private part of a PuTTY key", &["Private-Lines:"], r"Private-Lines: ?[0-9]{1,4}(?P<secret>(?:(?:\r?\n|\\n|\\r)[0-9A-Za-z+/=]{4,})+)"),
    word("age-secret-key", "age secret key", &["AGE-SECRET-KEY-1"], r"(?i)AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    word("jwt", "JSON web token", &["eyJ"], r"eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{2,}\.[0-9A-Za-z_-]*").check(Check::Jwt),
    anywhere("password-hash", "bcrypt, crypt(3), Argon2, scrypt, yescrypt, PBKDF2 or htpasswd hash", &["$2a$", "$2b$", "$2x$", "$2y$", "$1$", "$5$", "$6$", "$7$", "$y$", "$apr1$", "$argon2", "pbkdf2_sha", "{SSHA", "{SHA}"], r"(?:\$2[abxy]\$[0-9]{2}\$[0-9A-Za-z./]{53}|\$(?:[1567y]|apr1)\$(?:[0-9A-Za-z./=,]{1,40}\$){1,3}[0-9A-Za-z./]{16,}|\$argon2(?:id|i|d)\$[0-9A-Za-z=,$+/]{40,}|pbkdf2_sha[0-9]{1,3}\$[0-9]+\$[0-9A-Za-z]+\$[0-9A-Za-z+/=]{20,}|\{S?SHA[0-9]{0,3}\}[0-9A-Za-z+/=]{20,})"),

    // Credentials in protocols and commands.
    // What begins as a port does is one unless something else than a path follows.
    anywhere("url-password", "password in a URL", &["://", r":\/\/"], r#":(?://|\\/\\/)[^ \t\r\n:/?#@"'<>\[\]\\]*:(?P<secret>[0-9]*[^0-9/\\@?#][^\r\n]*|[0-9]+(?:@[^\r\n]*)?)@"#).reach(Reach::Login),
    anywhere("url-password", "password in a data source name", &["@tcp(", "@unix("], r#"(?:[0-9a-z+]{1,16}://)?[^ :@]{0,128}:(?P<secret>[^ \t\r\n"']+)@(?:tcp|unix)\("#).reach(Reach::Run(256)),
    word("oracle-password", "password of an Oracle thin URL", &["jdbc:oracle:"], r#"(?i)jdbc:oracle:[0-9a-z]{1,8}:[^ \t\r\n/@"':]{1,64}/(?P<secret>[^ \t\r\n/@"']+)@"#),
    word("bearer-token", "bearer token", &["bearer"], r"(?i)bearer[ \t]{1,4}(?P<secret>[0-9A-Za-z._~+/-]{8,}=*)").check(Check::NoWord),
    word("basic-credentials", "credentials of HTTP basic authentication", &["basic "], r"(?i)basic[ \t]{1,4}(?P<secret>[0-9A-Za-z+/]{6,}={0,2})").check(Check::UserPassword),
    word("digest-response", "response of HTTP digest authentication", &["digest "], r#"(?i)digest[ \t]{1,4}username=[^\r\n]{1,400}?response=\\?"?(?P<secret>[0-9a-f]{32,64})"#),
    word("otp-seed", "seed of one-time passwords", &["otpauth://"], r"(?i)otpauth://[^ \t\r\n\x22']{0,300}?secret=(?P<secret>[A-Z2-7]{8,}=*)"),
    word("curl-user", "password given to curl", &["curl"], r#"curl\b[^\r\n|;]{0,200}?[ \t](?:-u|--user|--proxy-user)[ =]?["']?[^ \t\r\n:"'|;]{1,64}:(?P<secret>[^ \t\r\n"']+)"#),
    word("sql-password", "password of a SQL user (`IDENTIFIED BY`)", &["identified by", "identified with"], r#"(?i)identified (?:with [0-9a-z_]{1,40} )?(?:by|as) (?:password )?\\?['"](?P<secret>[^'"\\\r\n]+)"#),
    word("sshpass-password", "password given to sshpass", &["sshpass"], r#"sshpass[ \t]+-p[ \t]*["']?(?P<secret>[^ \t\r\n"']+)"#),
    word("mysql-password", "password given to a MySQL client", &["mysql", "mariadb"], r#"(?:mysql|mariadb)[a-z-]{0,12}\b[^\r\n|;]{0,200}?[ \t]-p(?P<secret>[^ \t\r\n"'-][^ \t\r\n"']*)"#),
];
