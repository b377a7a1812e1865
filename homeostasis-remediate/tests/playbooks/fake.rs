//! A program that records what it is given and answers as a script of the test says.

use std::fs;
use std::path::PathBuf;

use homeostasis_remediate::action::{Program, Tool};

pub(crate) struct Fake(tempfile::TempDir);

impl Fake {
    /// `script` runs in a shell, in a folder with these files; the arguments are recorded before.
    pub(crate) fn new(script: &str, files: &[(&str, &str)]) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            fs::write(fake.path(name), content).unwrap();
        }
        let record = "cd \"$(dirname \"$0\")\" || exit 99\nprintf '%s\\037' \"$@\" >> calls\nprintf '\\n' >> calls\n";
        fs::write(fake.path("script"), format!("{record}{script}\n")).unwrap();
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A shell reads the script: nothing new is executed, so nobody finds it busy.
    pub(crate) fn tool(&self) -> Tool {
        Tool::at("/bin/sh")
            .unwrap()
            .arg(self.path("script").display().to_string())
    }

    pub(crate) fn program(&self) -> Program {
        let mut program = Program::new("/bin/sh");
        program
            .fixed_args
            .push(self.path("script").display().to_string());
        program
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// Each call since this was asked last; the arguments are told apart by `|`, which none holds.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        fs::write(self.path("calls"), "").unwrap();
        assert!(!calls.contains('|'));
        let calls = calls.lines().map(|call| call.trim_end_matches('\u{1f}'));
        calls.map(|call| call.replace('\u{1f}', "|")).collect()
    }
}
