//! Secrets: taken out once and for all, and nothing else is touched.
#![no_main]

use std::borrow::Cow;
use std::sync::LazyLock;

use homeostasis::core::port::Redactor;
use homeostasis::signals::SecretRedactor;
use libfuzzer_sys::fuzz_target;

static REDACTOR: LazyLock<SecretRedactor> = LazyLock::new(SecretRedactor::default);

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::REDACTION);
    let once = REDACTOR.text(&text);
    let twice = REDACTOR.text(&once);
    assert_eq!(once, twice, "redacting twice changes nothing");
    if let Cow::Borrowed(same) = &once {
        assert_eq!(*same, text);
    }
    let value = REDACTOR.field("password", &text);
    assert_eq!(REDACTOR.field("password", &value), value);
    let _ = REDACTOR.field(&text, "value");
});
