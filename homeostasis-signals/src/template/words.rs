//! The few words that mean the same in every log.

use std::sync::LazyLock;

use super::bytes::{mix, pack};

/// What is known of a word.
pub(super) type Sense = u8;

/// A unit of measurement: part of the number before it.
pub(super) const UNIT: Sense = 1;
/// A weekday, a month, a time zone: part of the time beside it.
pub(super) const CALENDAR: Sense = 1 << 1;
/// Stands in place of a value.
pub(super) const NOTHING: Sense = 1 << 2;
/// What follows is the name of somebody.
pub(super) const PERSON: Sense = 1 << 3;
/// The last label of a host's name.
pub(super) const DOMAIN: Sense = 1 << 4;
/// The first label of the name of a package: `com.shop.Cart` is no host.
pub(super) const PACKAGE: Sense = 1 << 5;
/// A noun with a digit in it.
pub(super) const NOUN: Sense = 1 << 6;
/// The last label of a host's name even after one other.
pub(super) const COMMON_DOMAIN: Sense = 1 << 7;

const WORDS: [(Sense, &str); 8] = [
    (
        UNIT,
        "b kb mb gb tb pb kib mib gib tib ms us µs ns s sec secs second seconds min mins \
         minute minutes hr hrs hour hours msec usec mhz ghz khz hz kbps mbps",
    ),
    (
        CALENDAR,
        "mon tue wed thu fri sat sun jan feb mar apr may jun jul aug sep oct nov dec monday \
         tuesday wednesday thursday friday saturday sunday january february march april june \
         july august september october november december utc gmt am pm pst pdt mst mdt est edt \
         cst cdt cet cest bst ist jst",
    ),
    (NOTHING, "null nil nan"),
    (PERSON, "user"),
    (
        DOMAIN,
        "com net org edu gov mil int info biz local lan io co uk de fr jp cn tw kr ru br mx pl it \
         es nl be se fi dk cz hu ro ar cl au nz ca us ch at gr pt tr il hk sg th my vn ph za ua \
         arpa eu tv cc internal localdomain",
    ),
    (COMMON_DOMAIN, "com net org edu gov local"),
    (PACKAGE, "com org net java javax android sun edu io de"),
    (
        NOUN,
        "ipv4 ipv6 md5 sha1 sha256 sha512 utf8 utf-8 utf16 base64 ext2 ext3 ext4 x86 x86_64 amd64 \
         i386 i686 win32 win64 oauth2 log4j slf4j http2 s3 ec2 k8s l1 l2 l3 p2p i18n ssh2",
    ),
];

const SLOTS: usize = 1024;
const LONGEST: usize = 12;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// The beginning and the rest of the word; a free place has neither.
    word: (u64, u64),
    sense: Sense,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut table = vec![Entry::default(); SLOTS];
    for (sense, words) in WORDS {
        for word in words.split_whitespace() {
            let word = lower(word.as_bytes());
            let slot = slot(&table, word);
            table[slot].word = word;
            table[slot].sense |= sense;
        }
    }
    table
});

fn lower(word: &[u8]) -> (u64, u64) {
    // Sets a bit that letters in lower case and digits have already.
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let rest = word.get(8..).unwrap_or_default();
    (pack(word) | LOWER, pack(rest) | LOWER)
}

/// Where the word is, or would be.
fn slot(table: &[Entry], word: (u64, u64)) -> usize {
    let hash = mix(word.0 ^ word.1.rotate_left(24)) >> 54;
    let mut slot = usize::try_from(hash).unwrap_or(0) % SLOTS;
    while table[slot].word != word && table[slot].word != (0, 0) {
        slot = (slot + 1) % SLOTS;
    }
    slot
}

/// What is known of `word`, in any case; 0 for nothing.
pub(super) fn sense(word: &[u8]) -> Sense {
    if word.is_empty() || word.len() > LONGEST {
        return 0;
    }
    TABLE[slot(&TABLE, lower(word))].sense
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_any_case_and_others_are_not() {
        let mut n = 0;
        for (wanted, words) in WORDS {
            for word in words.split_whitespace() {
                assert!(word.len() <= LONGEST, "{word}");
                assert_ne!(sense(word.as_bytes()) & wanted, 0, "{word}");
                assert_ne!(
                    sense(word.to_ascii_uppercase().as_bytes()) & wanted,
                    0,
                    "{word}"
                );
                n += 1;
            }
        }
        assert!(n * 3 < SLOTS, "{n} words crowd the table");
        for word in ["", "users", "septembe", "jand", "localdomains", "x86_6"] {
            assert_eq!(sense(word.as_bytes()), 0, "{word}");
        }
        assert_eq!(sense(b"com"), DOMAIN | COMMON_DOMAIN | PACKAGE);
    }
}
