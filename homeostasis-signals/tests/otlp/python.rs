//! Python and its packages, where the machine has them.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use homeostasis::core::testing::engine;

/// A Python that has `module`, ready to run `script`; `None` was told as a skip.
#[expect(clippy::disallowed_methods, reason = "the other side of a test")]
pub(crate) fn script(module: &str, script: &str) -> Option<Command> {
    let python = engine::find("python3", &["/usr/bin", "/usr/local/bin"])?;
    let mut folders: Vec<_> = std::env::var_os("HOMEOSTASIS_PYTHON_PATH")
        .into_iter()
        .collect();
    folders.extend(std::env::var_os("PYTHONPATH"));
    let path = folders.join(&OsString::from(":"));
    let command = |text: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", text]).env("PYTHONPATH", &path);
        command
    };
    let found = command(&format!("import {module}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        engine::missing(&format!("the Python module {module} is not installed"));
        return None;
    }
    Some(command(script))
}
