//! What kinds of bytes a word is made of.

/// A set of kinds.
pub(super) type Kinds = u16;

pub(super) const SPACE: Kinds = 1;
/// Parts the words of a sentence from its punctuation.
pub(super) const SEPARATOR: Kinds = 1 << 1;
pub(super) const DIGIT: Kinds = 1 << 2;
pub(super) const DOT: Kinds = 1 << 3;
pub(super) const SLASH: Kinds = 1 << 4;
pub(super) const BACKSLASH: Kinds = 1 << 5;
pub(super) const LETTER: Kinds = 1 << 6;
pub(super) const AT: Kinds = 1 << 7;
pub(super) const COLON: Kinds = 1 << 8;
/// Neither a letter nor a digit, and part of a word all the same: `-`, `_`, `$`, `%` …
pub(super) const MARK: Kinds = 1 << 9;
/// Beyond ASCII.
pub(super) const FOREIGN: Kinds = 1 << 10;
pub(super) const HEX: Kinds = 1 << 11;

const KINDS: [Kinds; 256] = table();

const fn table() -> [Kinds; 256] {
    let mut all = [0; 256];
    let mut i = 0_usize;
    let mut byte = 0_u8;
    loop {
        all[i] = match byte {
            b' ' | 9..=13 | 28..=31 => SPACE,
            b'0'..=b'9' => DIGIT | HEX,
            b'a'..=b'f' | b'A'..=b'F' => LETTER | HEX,
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'.' => DOT,
            b'/' => SLASH,
            b'\\' => BACKSLASH,
            b'@' => AT | SEPARATOR,
            b':' => COLON | SEPARATOR,
            b'=' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'"' | b'\'' | b'<'
            | b'>' | b'|' | b'#' | b'&' | b'?' | b'!' | b'`' => SEPARATOR,
            128..=255 => FOREIGN,
            _ => MARK,
        };
        if byte == u8::MAX {
            return all;
        }
        byte += 1;
        i += 1;
    }
}

/// The kinds of one byte.
pub(super) fn kinds(byte: u8) -> Kinds {
    KINDS[usize::from(byte)]
}

pub(super) fn is(byte: u8, wanted: Kinds) -> bool {
    kinds(byte) & wanted != 0
}

/// The kinds of all bytes of a text together.
pub(super) fn kinds_of(text: &[u8]) -> Kinds {
    text.iter().fold(0, |all, byte| all | kinds(*byte))
}

/// Whether every byte of `text` is of one of these kinds.
pub(super) fn all(text: &[u8], wanted: Kinds) -> bool {
    text.iter().all(|byte| is(*byte, wanted))
}

/// A letter, a digit, `_`, or beyond ASCII.
pub(super) fn is_wordy(byte: u8) -> bool {
    byte == b'_' || is(byte, LETTER | DIGIT | FOREIGN)
}

/// Up to eight bytes as one number, in order, the rest zero.
pub(super) fn pack(text: &[u8]) -> u64 {
    let four = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&text[at..at + 4]);
        u64::from(u32::from_le_bytes(bytes))
    };
    match text.len() {
        0 => 0,
        1..=3 => {
            let last = text.len() - 1;
            let middle = last / 2;
            u64::from(text[0])
                | (u64::from(text[middle]) << (8 * middle))
                | (u64::from(text[last]) << (8 * last))
        }
        // The two halves overlap where there are fewer than eight.
        4..=7 => four(0) | (four(text.len() - 4) << (8 * (text.len() - 4))),
        _ => four(0) | (four(4) << 32),
    }
}

/// A finalizer with full avalanche (Stafford's variant 13 of the mixer of `MurmurHash3`).
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The hash of a word; never 0, which stands for a variable.
pub(super) fn hash(word: &[u8]) -> u64 {
    let n = word.len();
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n as u64 + 1);
    if n > 8 {
        for chunk in word.chunks_exact(8) {
            hash = (hash ^ pack(chunk)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            hash ^= hash >> 32;
        }
        hash ^= pack(&word[n - 8..]);
    } else {
        hash ^= pack(word);
    }
    mix(hash) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_byte_in_its_place() {
        for n in 0..=8 {
            let text = &b"abcdefgh"[..n];
            let expected = text
                .iter()
                .rev()
                .fold(0, |all, byte| (all << 8) | u64::from(*byte));
            assert_eq!(pack(text), expected, "{n}");
        }
        assert_eq!(pack(b"abcdefghi"), pack(b"abcdefgh"));
    }

    #[test]
    fn words_that_differ_in_one_byte_differ_in_their_hash() {
        let long = b"a word of more than sixteen bytes".to_vec();
        for n in 1..long.len() {
            for at in 0..n {
                let mut other = long[..n].to_vec();
                other[at] ^= 1;
                assert_ne!(hash(&long[..n]), hash(&other), "{n} {at}");
            }
        }
        assert_ne!(hash(b""), 0);
        assert_ne!(hash(b"ab"), hash(b"ab\0"));
    }
}
