//! Values of every kind and lines of a template, by chance that is the same on every machine.

use super::systems::System;

/// Chance, the same on every machine (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn hex(&mut self, n: usize) -> String {
        (0..n)
            .map(|_| char::from(b"0123456789abcdef"[self.below(16)]))
            .collect()
    }

    /// A name that may be anything: one of many, and some of them new.
    fn name(&mut self) -> String {
        const PARTS: &[&str] = &[
            "an", "be", "cor", "da", "el", "fi", "gus", "ha", "ir", "jo", "ka", "li", "mo", "na",
            "ol", "pe", "qui", "ro", "sa", "ti", "ul", "vi", "wen", "xa", "yo", "ze",
        ];
        let n = 2 + self.below(2);
        (0..n).map(|_| self.pick(PARTS)).collect()
    }

    fn class(&mut self) -> String {
        const PACKAGES: &[&str] = &[
            "com.shop.cart",
            "org.acme.billing.core",
            "io.grid.net",
            "java.util",
        ];
        const FIRST: &[&str] = &[
            "Order", "Cart", "Http", "Async", "Local", "Remote", "Default", "Lazy",
        ];
        const LAST: &[&str] = &[
            "Exception",
            "Handler",
            "Service",
            "Factory",
            "Manager",
            "Proxy",
        ];
        format!(
            "{}.{}{}",
            self.pick(PACKAGES),
            self.pick(FIRST),
            self.pick(LAST)
        )
    }

    fn int(&mut self) -> usize {
        let digits = self.below(6);
        self.below(10_usize.pow(u32::try_from(digits).unwrap_or(0) + 1))
    }

    fn ip(&mut self) -> String {
        format!(
            "{}.{}.{}.{}",
            1 + self.below(223),
            self.below(256),
            self.below(256),
            self.below(256)
        )
    }

    fn path(&mut self) -> String {
        const ROOTS: &[&str] = &["/var/lib", "/srv", "/data/store", "/home", "/opt/app"];
        format!(
            "{}/{}/{}.{}",
            self.pick(ROOTS),
            self.name(),
            self.name(),
            self.pick(&["log", "db", "csv", "tmp"])
        )
    }

    /// A value of this kind.
    #[expect(clippy::too_many_lines, reason = "a table of kinds")]
    fn value(&mut self, kind: &str) -> String {
        const HOSTS: &[&str] = &[
            "example.com",
            "shop.internal",
            "corp.example.net",
            "cdn.example.org",
        ];
        match kind {
            "int" => self.int().to_string(),
            "small" => self.below(10).to_string(),
            "float" => format!("{}.{:03}", self.int(), self.below(1000)),
            "sci" => format!(
                "{}.{}e-0{}",
                self.below(10),
                self.below(1000),
                1 + self.below(8)
            ),
            "signed" => format!("{}{}", self.pick(&["-", "", "+"]), self.int() + 1),
            "pct" => format!("{}.{}%", self.below(100), self.below(10)),
            "ip" => self.ip(),
            "ipport" => format!("{}:{}", self.ip(), 1024 + self.below(60_000)),
            "ip6" => format!("fe80::{}:{}", self.hex(4), self.hex(4)),
            "ip6p" => format!("[2001:db8::{}]:{}", self.hex(3), 1024 + self.below(60_000)),
            "mac" => (0..6).map(|_| self.hex(2)).collect::<Vec<_>>().join(":"),
            "uuid" => format!(
                "{}-{}-{}-{}-{}",
                self.hex(8),
                self.hex(4),
                self.hex(4),
                self.hex(4),
                self.hex(12)
            ),
            "guid" => format!("\\\\?\\Volume{{{}-{}}}", self.hex(8), self.hex(12)),
            "hex8" => self.hex(8),
            "hex10" => self.hex(10).to_uppercase(),
            "hex16" => self.hex(16),
            "hex32" => self.hex(32),
            "sha" => self.hex(64),
            "ptr" => {
                let n = 1 + self.below(12);
                format!("0x{}", self.hex(n))
            }
            "lsn" => format!("{}/{}", self.below(10), self.hex(8).to_uppercase()),
            "b64" => (0..27)
                .map(|_| self.pick(&["A", "b", "C", "d", "Q", "x", "z", "7", "0", "3"]))
                .collect(),
            "path" => self.path(),
            "winpath" => format!("C:\\Program Files\\{}\\{}.dll", self.name(), self.name()),
            "uri" => format!("/{}/{}?page={}", self.name(), self.int(), self.below(50)),
            "url" => format!(
                "https://{}.{}/{}/{}",
                self.name(),
                self.pick(HOSTS),
                self.name(),
                self.int()
            ),
            "host" => format!("{}.{}", self.name(), self.pick(HOSTS)),
            "hostname" => format!("{}-laptop", self.name()),
            "email" => format!("{}@{}", self.name(), self.pick(HOSTS)),
            "user" | "word" | "proc" | "hostword" => self.name(),
            "unit" => format!(
                "{}-{}",
                self.name(),
                self.pick(&["agent", "daily", "proxy"])
            ),
            "snake" => format!("{}_{}", self.name(), self.name()),
            "camel" => {
                let n = self.name();
                format!("{}{}Mgr", n[..1].to_uppercase(), &n[1..])
            }
            "group" => format!("{}-consumers", self.name()),
            "topic" => format!("{}.{}.events", self.name(), self.name()),
            "job" => format!("{}-nightly", self.name()),
            "pymod" => format!("{}.{}.{}", self.name(), self.name(), self.name()),
            "pkg" => format!("com.{}.{}.{}", self.name(), self.name(), self.name()),
            "class" => self.class(),
            "thread" => format!("http-nio-8080-exec-{}", self.below(64)),
            "exe" => format!("{}.exe", self.name()),
            "ver" => format!(
                "{}.{}.{}.{}",
                self.below(12),
                self.below(9),
                self.below(9),
                self.below(9999)
            ),
            "pod" => format!("{}-{}-{}", self.name(), self.hex(9), self.hex(5)),
            "image" => format!(
                "registry.example.com/{}/{}:v{}.{}",
                self.name(),
                self.name(),
                self.below(9),
                self.below(20)
            ),
            "iso" => format!(
                "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                1 + self.below(12),
                1 + self.below(28),
                self.below(24),
                self.below(60),
                self.below(60),
                self.below(1000)
            ),
            "clf" => format!(
                "{:02}/{}/2026:{:02}:{:02}:{:02} +0000",
                1 + self.below(28),
                self.pick(&["Jan", "Feb", "Mar", "Oct", "Dec"]),
                self.below(24),
                self.below(60),
                self.below(60)
            ),
            "hms" => self
                .pick(&["00:01", "<1 sec", "01:22:07", "00:17"])
                .to_owned(),
            "dur" => match self.below(4) {
                0 => format!("{}h{}m{}s", self.below(24), self.below(60), self.below(60)),
                1 => format!("{}ms", self.below(1000)),
                2 => format!("{}.{}s", self.below(60), self.below(1000)),
                _ => format!("{}m{}.{}s", self.below(60), self.below(60), self.below(100)),
            },
            "ms" => format!(
                "{}.{}{}",
                self.below(500),
                self.below(1000),
                self.pick(&["ms", "us", "µs", "s"])
            ),
            "size" => format!(
                "{}.{} {}",
                self.below(1000),
                self.below(100),
                self.pick(&["KB", "MB", "GB", "KiB", "MiB"])
            ),
            "disk" => format!(
                "sd{}{}",
                self.pick(&["a", "b", "c", "d"]),
                1 + self.below(8)
            ),
            "bus" => format!(
                "{}-{}.{}",
                1 + self.below(4),
                1 + self.below(4),
                1 + self.below(4)
            ),
            "pci" => format!("0000:{}:{}.{}", self.hex(2), self.hex(2), self.below(8)),
            "bool" => self.pick(&["true", "false"]).to_owned(),
            "nums" => {
                let n = 1 + self.below(6);
                (0..n)
                    .map(|_| self.int().to_string())
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            "words" => {
                let n = 1 + self.below(4);
                (0..n)
                    .map(|_| format!("'{}{}'", self.name(), self.below(100)))
                    .collect::<Vec<_>>()
                    .join(", ")
            }
            "geo" => format!(
                "{}.{}N {}.{}E",
                self.below(90),
                self.below(1000),
                self.below(180),
                self.below(1000)
            ),
            "hms2" => format!(
                "{}:{:02}:{:02}",
                self.below(9),
                self.below(60),
                self.below(60)
            ),
            "host1" | "node" => format!(
                "{}-{}",
                self.pick(&["rb", "es-data", "es-master"]),
                self.below(5)
            ),
            "clock" => format!(
                "{}:{:02}:{:02}",
                self.below(24),
                self.below(60),
                self.below(60)
            ),
            "date" => format!("2026.{:02}.{:02}", 1 + self.below(12), 1 + self.below(28)),
            "gb" => format!("{}.{}gb", self.below(500), self.below(10)),
            "short" => format!("{}..{}", self.hex(6), self.hex(6)),
            "ver2" => format!("geth/v1.{}.{}-stable", self.below(14), self.below(9)),
            "signedf" => format!(
                "{}{}.{}",
                self.pick(&["-", ""]),
                self.below(3000),
                self.below(10)
            ),
            "revdns" => "com.acme.power".to_owned(),
            "name4" => format!("{}{}", self.name().to_uppercase(), self.below(9)),
            "hex5" => self.hex(5),
            "hex7" => self.hex(7),
            "hexs" => {
                let n = 1 + self.below(8);
                self.hex(n)
            }
            "hex40" => self.hex(40),
            "giturl" => format!("git@git.example.com:{}/{}.git", self.name(), self.name()),
            other => panic!("no kind of value is called {other:?}"),
        }
    }

    /// A line of this template.
    pub(crate) fn line(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            rest = &rest[open..];
            let close = rest.find('}').unwrap_or(rest.len() - 1);
            let kind = &rest[1..close];
            if !kind.is_empty()
                && kind
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            {
                out.push_str(&self.value(kind));
                rest = &rest[close + 1..];
            } else {
                out.push('{');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out.replace('⟨', "{").replace('⟩', "}")
    }
}

/// `n` lines of a system with their labels.
pub(crate) fn lines(system: &System, n: usize, seed: u64) -> Vec<(usize, String)> {
    let (name, templates) = system;
    let mut dice = Dice(
        name.bytes()
            .fold(seed, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b))),
    );
    let weights: Vec<usize> = (0..templates.len())
        .map(|rank| 10_000 / (rank + 1))
        .collect();
    let total: usize = weights.iter().sum();
    let mut out = Vec::with_capacity(n);
    for i in 0..n {
        let label =
            if i % (n / templates.len()).max(1) == 0 && i * templates.len() / n < templates.len() {
                i * templates.len() / n
            } else {
                let mut left = dice.below(total);
                weights
                    .iter()
                    .position(|w| {
                        let hit = left < *w;
                        left = left.saturating_sub(*w);
                        hit
                    })
                    .unwrap_or(0)
            };
        out.push((label, dice.line(templates[label])));
    }
    out
}
