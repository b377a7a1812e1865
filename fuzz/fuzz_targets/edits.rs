//! Edits of configuration files: a path up to the first NUL, then the file.
#![no_main]

use homeostasis::patch::{ConfigEdit, ConfigPath, Format};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = homeostasis_fuzz::text(data, homeostasis_fuzz::EDITS);
    let Some((path, source)) = text.split_once('\0') else {
        return;
    };
    let Ok(path) = path.parse::<ConfigPath>() else {
        return;
    };
    for format in ["x.yaml", "x.toml", "x.json"].map(|name| Format::from_path(name).unwrap()) {
        for edit in [
            ConfigEdit::set(path.clone(), 7),
            ConfigEdit::remove(path.clone()),
        ] {
            let _ = edit.apply(source, format);
        }
    }
});
