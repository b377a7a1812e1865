//! What tells a secret from text that only has its shape.

use super::kinds::Check;

/// Whether `check` holds of `secret`.
pub(super) fn holds(check: Check, secret: &str) -> bool {
    match check {
        Check::None => true,
        Check::Random => looks_random(secret),
        Check::NoWord => !is_word(secret),
        Check::Jwt => is_jwt(secret),
        Check::UserPassword => is_user_password(secret),
    }
}

/// Whether `text` looks drawn by chance rather than written by people.
///
/// It has at least 16 characters, digits and letters, and at least 3 bits of entropy a character;
/// if it is longer than a hexadecimal digest needs, letters of both cases or only hexadecimal
/// digits. The entropy is that of Shannon over the characters of the text itself, so that short
/// texts have less than their alphabet allows.
pub(super) fn looks_random(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut digits, mut lower, mut upper, mut others) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut is_hex = true;
    for byte in bytes {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'z' => lower += 1,
            b'A'..=b'Z' => upper += 1,
            _ => others += 1,
        }
        is_hex &= byte.is_ascii_hexdigit();
    }
    if bytes.len() < 16 || digits == 0 || lower + upper == 0 || others * 5 > bytes.len() {
        return false;
    }
    let floor = if is_hex { 2.8 } else { 3.3 };
    let is_mixed = is_hex || (lower > 0 && upper > 0) || digits * 8 >= bytes.len();
    is_mixed && entropy(bytes) >= floor
}

/// Whether the letter before `i` is a part of `\n`, `\r` or `\t` within an escaped text.
pub(super) fn follows_escape(bytes: &[u8], i: usize) -> bool {
    matches!(bytes.get(..i), Some([.., b'\\', b'n' | b'r' | b't']))
}

/// Shannon entropy of the bytes in bits a byte; 0 of nothing.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let n = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / n;
            -share * share.log2()
        })
        .sum()
}

/// Whether `text` may be a word of a language: letters only, at most the first of them large.
pub(super) fn is_word(text: &str) -> bool {
    let text = text.trim_end_matches(['.', ',', '!', '?', ':', ';']);
    let mut letters = text.chars();
    letters
        .next()
        .is_none_or(|first| first.is_alphabetic() || first == '-')
        && letters.all(|letter| letter.is_lowercase() || letter == '-' || letter == '\'')
}

/// Whether the digits are the number of a payment card: length and beginning of a brand, and the
/// check digit of Luhn (ISO/IEC 7812-1).
pub(super) fn is_card(digits: &[u8]) -> bool {
    let head = digits
        .iter()
        .take(4)
        .fold(0_u32, |head, digit| head * 10 + u32::from(digit - b'0'));
    let brand = match digits.len() {
        14 => matches!(head, 3000..=3059 | 3600..=3699 | 3800..=3999),
        15 => matches!(head, 3400..=3499 | 3700..=3799),
        16 => {
            matches!(head, 2221..=2720 | 3528..=3589 | 4000..=4999 | 5100..=5599 | 6011 | 6440..=6599)
        }
        19 => matches!(head, 4000..=4999 | 6011 | 6200..=6299),
        _ => false,
    };
    brand && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_jwt(token: &str) -> bool {
    let head = token.split('.').next().unwrap_or_default();
    decode(head).is_some_and(|bytes| {
        let object: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_slice(&bytes).ok();
        object.is_some_and(|object| object.contains_key("alg") || object.contains_key("enc"))
    })
}

fn is_user_password(token: &str) -> bool {
    decode(token.trim_end_matches('='))
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|text| {
            let is_printable = !text.chars().any(char::is_control);
            is_printable
                && text
                    .split_once(':')
                    .is_some_and(|(_, word)| !word.is_empty())
        })
}

/// Decodes base64 without padding, in the common or the URL alphabet (RFC 4648).
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut n_bits) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push(u8::try_from(held >> n_bits & 0xFF).unwrap_or_default());
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_have_a_brand_and_a_check_digit() {
        assert!(is_card(b"4111111111111111"));
        assert!(is_card(b"378282246310005"));
        assert!(is_card(b"5555555555554444"));
        assert!(!is_card(b"4111111111111112"));
        assert!(!is_card(b"1700000000000000"));
        assert!(!is_card(b"1608999687919862906"));
    }

    #[test]
    fn random_texts_are_told_from_written_ones() {
        let random = [
            "wJalrXUtnFEMIK7MDENGbPxRfiCYEX1",
            "9f86d081884c7d659a2feaa0c55ad015",
        ];
        assert!(random.into_iter().all(looks_random));
        let written = [
            "AuthenticationFailedException",
            "org.apache.hadoop.Token",
            "short1",
            "00000000000000000000000000000001",
            "request-timeout-exceeded-today",
        ];
        for text in written {
            assert!(!looks_random(text), "{text}");
        }
        assert!(is_word("Invalid") && is_word("invalid.") && !is_word("hunter2"));
    }

    #[test]
    fn base64_is_decoded_in_both_alphabets() {
        assert_eq!(decode("dXNlcjpwYXNz").unwrap(), b"user:pass");
        assert_eq!(decode("-_-_").unwrap(), decode("+/+/").unwrap());
        assert!(decode("a b").is_none());
        assert!(is_user_password("dXNlcjpwYXNz") && !is_user_password("aGVsbG8="));
    }
}
