//! Why a change is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $expected:literal;)+) => {
        /// Why a change is refused. The codes ([`RefusalReason::code`]) are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum RefusalReason {
            $($(#[$doc])* $name,)+
        }

        impl RefusalReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in documents: `swallowed_error`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What would have been accepted, in words.
            pub const fn expected(self) -> &'static str {
                match self { $(Self::$name => $expected,)+ }
            }
        }
    };
}

reasons! {
    /// The path leaves the project or is not its plainest spelling.
    PathEscape, "path_escape", "a plain relative path inside the project";
    /// The file belongs to the build, the tests, the deployment or the healer.
    ProtectedFile, "protected_file", "a source or configuration file that is not protected";
    /// A file would be created, deleted, renamed, linked, made binary or get another mode.
    FileKind, "file_kind", "a change of the content of an existing text file";
    /// The diff names more than one file.
    TooManyFiles, "too_many_files", "a change of one file";
    /// The diff cannot be read.
    UnreadableDiff, "unreadable_diff", "a unified diff that fits the source";
    /// The source is not the one the change was made for.
    Drifted, "drifted", "the source the patch was made for";
    /// Nothing changes.
    Unchanged, "unchanged", "a change";
    /// More lines are added or removed than allowed.
    TooManyLines, "too_many_lines", "a smaller change";
    /// The change has more hunks than allowed.
    TooManyHunks, "too_many_hunks", "a change in fewer places";
    /// A text is larger than allowed.
    TooLarge, "too_large", "a smaller file";
    /// The language of the file is not understood, so the change cannot be judged.
    UnknownLanguage, "unknown_language", "Rust, Python, JavaScript, TypeScript, Go, Java, TOML, YAML or JSON";
    /// The new text has more syntax errors than the old one.
    SyntaxError, "syntax_error", "text that parses";
    /// Characters that are not seen, or that change the direction of what is seen.
    HiddenCharacter, "hidden_character", "visible characters in their plain spelling";
    /// Letters of one script that look like those of another.
    ConfusableCharacter, "confusable_character", "words in the letters of one script";
    /// A credential.
    Secret, "secret", "no credential in the text";
    /// A process is started or signaled.
    Process, "process", "no new process";
    /// Text is run as a program, or a module is loaded by name.
    Evaluation, "evaluation", "no text run as code";
    /// Data is turned into arbitrary objects.
    Deserialization, "deserialization", "no new deserialization of objects";
    /// The network is used, or another host is talked to.
    Network, "network", "no new network access";
    /// Native code, the linker, or the contents of other files at build time.
    ForeignCode, "foreign_code", "no new native code";
    /// What the compiler cannot check.
    UnsafeCode, "unsafe_code", "no new unsafe code";
    /// Names are looked up at run time, or the interpreter is inspected.
    Reflection, "reflection", "names written out";
    /// The process is ended.
    Exit, "exit", "no new end of the process";
    /// The environment of the process is changed.
    Environment, "environment", "an unchanged environment";
    /// Files are deleted or cut.
    Destruction, "destruction", "no new deletion of files";
    /// An assertion, or the error of a guard, is gone or always passes.
    RemovedCheck, "removed_check", "the check, as strict as before";
    /// A test is gone.
    RemovedTest, "removed_test", "the test";
    /// A test is skipped.
    SkippedTest, "skipped_test", "the test run";
    /// A check of identity or permission is gone or always passes.
    RemovedAuthorization, "removed_authorization", "the check of permission";
    /// A warning of a tool is turned off.
    SuppressedLint, "suppressed_lint", "the warning heeded";
    /// An error is dropped and nothing done in its place.
    SwallowedError, "swallowed_error", "the error handled or passed on";
    /// A handler catches more than it can know.
    BroadenedCatch, "broadened_catch", "a handler of the errors meant, or one that passes them on";
    /// A time limit is longer or gone.
    WiderTimeLimit, "wider_time_limit", "a time limit as short as before";
    /// Certificates or signatures are not verified.
    UnverifiedTls, "unverified_tls", "verification on";
    /// A file of the machine's accounts, keys or processes is named.
    SensitivePath, "sensitive_path", "no path of accounts, keys or processes";
    /// A cipher, a hash or a source of chance that protects less.
    WeakCryptography, "weak_cryptography", "an algorithm as strong as before";
    /// Everybody may write.
    OpenPermissions, "open_permissions", "no write permission for everybody";
    /// Every origin may call.
    OpenCors, "open_cors", "named origins";
    /// Errors are no longer logged.
    SilencedLog, "silenced_log", "the error logged as before";
    /// Debugging is switched on.
    DebugMode, "debug_mode", "debugging off";
    /// Every host or interface is accepted.
    WildcardHost, "wildcard_host", "named hosts";
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_serde_writes() {
        for reason in RefusalReason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.code());
        }
    }
}
