//! The words names are made of.

/// The words of a name in lower case: `userId` and `user_id` are `user`, `id`.
pub(super) fn name_words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            was_lower = false;
            words.push(String::new());
            continue;
        }
        if c.is_uppercase() && was_lower || words.is_empty() {
            words.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_ascii_digit();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_into_words_at_capitals_and_signs() {
        assert_eq!(name_words("userId"), ["user", "id"]);
        assert_eq!(name_words("__user-id_2"), ["user", "id", "2"]);
    }
}
