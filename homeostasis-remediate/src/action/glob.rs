//! Names with `*` and `?`.

/// The longest pattern, and the longest name of a file on Linux.
const MAX_BYTES: usize = 255;

/// A pattern for names: `*` stands for any characters, `?` for one, everything else for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Vec<char>);

impl Glob {
    /// What a pattern is, in words.
    pub(crate) const EXPECTED: &str = "a pattern for names such as `*.tmp` (`*` any characters, `?` one), without `/`, control characters, `.` or `..` alone, at most 255 bytes";

    /// `None` if it is empty, too long, or could match no name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let good = !text.is_empty()
            && text.len() <= MAX_BYTES
            && !matches!(text, "." | "..")
            && !text.chars().any(|c| c == '/' || c.is_control());
        good.then(|| Self(text.chars().collect()))
    }

    /// Whether all of `name` fits. Takes time of the product of both lengths at most.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut in_name) = (0, 0);
        // Where the last star stood, and up to where it has eaten.
        let mut star = None;
        while in_name < name.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, in_name));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[in_name] => {
                    at += 1;
                    in_name += 1;
                }
                _ => {
                    let Some((star_at, eaten)) = star else {
                        return false;
                    };
                    star = Some((star_at, eaten + 1));
                    (at, in_name) = (star_at + 1, eaten + 1);
                }
            }
        }
        self.0[at..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let check = |pattern: &str, name: &str| Glob::parse(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("*", ""),
            ("*", "a"),
            ("*.log", ".log"),
            ("app-*.log", "app-1.log"),
            ("a*b*c", "aXbbYbc"),
            ("?", "é"),
            ("a?c*", "abc"),
            ("[x]", "[x]"),
        ] {
            assert!(check(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.log", "a.log.gz"),
            ("a", "A"),
            ("a*b", "abc"),
            ("?", ""),
            ("??", "é"),
            ("x", "[x]"),
        ] {
            assert!(!check(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_ruins_backtrackers_is_quick_here() {
        let pattern = Glob::parse(&"a*".repeat(100)).unwrap();
        assert!(!pattern.matches(&("a".repeat(99) + &"b".repeat(10_000))));
    }

    #[test]
    fn what_is_no_pattern_for_names_is_refused() {
        for text in ["", ".", "..", "a/b", "../*", "a\nb", "a\0b"] {
            assert_eq!(Glob::parse(text), None, "{text:?}");
        }
        assert_eq!(Glob::parse(&"x".repeat(256)), None);
    }
}
