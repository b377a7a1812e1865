use proptest::prelude::*;

use super::super::pattern::Pattern;
use super::*;

/// What becomes of a line by its look alone.
fn template(line: &str) -> String {
    let mut scanner = Scanner::default();
    scanner.scan(line);
    Pattern::of(line, &scanner).text
}

/// Whether two lines have the same key.
fn are_alike(one: &str, other: &str) -> bool {
    let words = |line| {
        let mut scanner = Scanner::default();
        scanner.scan(line);
        scanner
            .tokens
            .iter()
            .map(|token| token.word)
            .collect::<Vec<_>>()
    };
    words(one) == words(other)
}

#[test]
fn values_of_every_kind_are_variables_and_words_are_not() {
    for (line, expected) in [
        ("order 17 booked", "order <*> booked"),
        ("took 1.5ms, 3e-5 or -7 of +2.1E9", "took <*> or <*> of <*>"),
        (
            "uptime 1h2m3s at 45 % of 12 GiB",
            "uptime <*> at <*> of <*>",
        ),
        (
            "from 10.0.0.7:8080 to fe80::1:2%eth0/64 now",
            "from <*> to <*> now",
        ),
        (
            "at [2001:db8::aa2]:23822 and 00:1b:44:11:3a:b7 and aa-bb-cc-dd-ee-ff",
            "at [<*> and <*> and <*>",
        ),
        ("bind=fe80::1:2 mac=aa:bb:cc:dd:ee:ff", "bind=<*> mac=<*>"),
        (
            "id 550e8400-e29b-41d4-a716-446655440000 sha deadbeefcafe",
            "id <*> sha <*>",
        ),
        (
            "block blk_-5627 of container_e01_17 gone",
            "block <*> of <*> gone",
        ),
        (
            "open /var/log/a.log, ~/b and C:\\Temp\\x y",
            "open <*> and <*> y",
        ),
        (
            "see https://a.example.com/b?c=d: refused",
            "see <*>: refused",
        ),
        (
            "mail to ann@example.com and <bob@shop.internal>: sent",
            "mail to <*> and <<*>>: sent",
        ),
        (
            "host db-1.shop.internal and cdn.example.org down",
            "host <*> and <*> down",
        ),
        (
            "class com.shop.cart.Order and java.util.List",
            "class com.shop.cart.Order and java.util.List",
        ),
        (
            "at 2026-11-22T01:00:00.123Z or Mon, 22 Nov 2026 01:00:00 GMT",
            "at <*> or <*>",
        ),
        (
            "file main.rs:42 and sshd[123] and work(7)",
            "file <*> and <*> and <*>",
        ),
        ("name=\"Ann Lee\" tag='x y' left", "name=<*> tag=<*> left"),
        (
            "level=info msg=\"disk full\" took=3",
            "level=info msg=\"disk full\" took=<*>",
        ),
        ("got Rect{a=1, b={c=2}} twice", "got <*> twice"),
        ("sent 1190 bytes (1.16 KB) now", "sent <*> bytes <*> now"),
        ("eth0 up, 3 users", "eth<*> up, <*> users"),
        ("sha256 and ipv4 over x86_64", "sha256 and ipv4 over x86_64"),
        ("invalid user bob from here", "invalid user <*> from here"),
        ("was null, is nil", "was <*>, is <*>"),
        ("rows [1, 2, 3] and []", "rows [<*>] and []"),
        ("loading... **** done", "loading... **** done"),
        ("на диске 97 % занято", "на диске <*> занято"),
        ("\n  first 1\nsecond 2", "first <*>"),
        ("", ""),
    ] {
        assert_eq!(template(line), expected, "{line:?}");
    }
}

#[test]
fn punctuation_lists_units_and_annotations_do_not_part_lines() {
    for (one, other) in [
        ("rows [1, 2, 3] left", "rows [7] left"),
        ("took 5 ms", "took 2 seconds"),
        ("sent 5 bytes now", "sent 1190 bytes (1.16 KB) now"),
        ("a - b", "a b"),
        ("lifetime 00:02", "lifetime <1 sec"),
        (
            "disks 'sda1', 'sdb2' gone",
            "disks 'sdc3' 'sdd9' 'sde1' gone",
        ),
        ("at Mon Jan 5 10:00:00", "at 2026-01-05"),
    ] {
        assert!(are_alike(one, other), "{one:?} {other:?}");
    }
    for (one, other) in [
        ("link up", "link down"),
        ("is true", "is false"),
        ("eth0 up", "wlan0 up"),
        ("may fail", "march on"),
    ] {
        assert!(!are_alike(one, other), "{one:?} {other:?}");
    }
}

#[test]
fn long_lines_are_cut_where_a_character_ends() {
    let mut scanner = Scanner::default();
    scanner.scan(&"é".repeat(MAX_BYTES));
    assert_eq!(scanner.tokens.len(), 1);
    assert_eq!(scanner.tokens[0].end as usize, MAX_BYTES);
    scanner.scan(&"x y ".repeat(1000));
    assert!(scanner.tokens.len() <= MAX_TOKENS + 1);
}

proptest! {
    /// No text is too strange, tokens are in order and apart, and the number in a line is no part of its key.
    #[test]
    fn any_text_is_read(text in "\\PC{0,120}", number in 0_u32..1_000_000) {
        let mut scanner = Scanner::default();
        scanner.scan(&text);
        let mut from = 0;
        for token in &scanner.tokens {
            prop_assert!(from <= token.start && token.start < token.end);
            prop_assert!(text.get(token.start as usize..token.end as usize).is_some());
            from = token.end;
        }
        let with = |number: u32| format!("{number} of {text}");
        prop_assert!(are_alike(&with(number), &with(7)));
        Pattern::of(&text, &scanner);
    }

    #[test]
    fn any_bytes_of_the_alphabet_of_logs_are_read(text in "[a-f0-9A-Z=:,;(){}\\[\\]\"'<>|#@&?!`./\\\\ %_*~+-]{0,200}") {
        let mut scanner = Scanner::default();
        scanner.scan(&text);
        let pattern = Pattern::of(&text, &scanner);
        prop_assert_eq!(pattern.tokens.len(), scanner.tokens.len());
        for (start, end) in pattern.variables(&text, &scanner) {
            prop_assert!(text.get(start as usize..end as usize).is_some());
        }
    }
}
