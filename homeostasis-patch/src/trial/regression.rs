//! A test that keeps a mended fault from coming back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Level, TrialFile, TrialTest};
use crate::sandbox::SandboxCommand;

/// How the fault was made to show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailingCall {
    /// A program of the project, run at its top, that fails.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// A function of Python and what it was called with, such as captured from a traceback.
    Python {
        /// The module: `shop.prices`.
        module: String,
        /// The function, or class and static method, in it: `total` or `Basket.total`.
        function: String,
        /// Its arguments by position, as JSON.
        arguments: Vec<Value>,
        /// Its arguments by name, as JSON.
        keywords: serde_json::Map<String, Value>,
        /// The exception it raised: `KeyError`.
        raised: String,
    },
    /// A call of Rust that panicked, as an expression over the public items of the crate:
    /// `shop::total(&[], 3)`.
    Rust {
        /// The expression.
        expression: String,
    },
    /// Only a message and frames are known.
    Unknown,
}

/// Why no test can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no regression test: {0}")]
pub struct CannotGenerate(pub String);

/// A test in the language of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegressionTest {
    /// The file, which the project does not have yet.
    pub file: TrialFile,
    /// How it is run at the top of the project.
    pub argv: Vec<String>,
}

impl RegressionTest {
    /// Writes a test called `name` that fails as long as `call` does.
    ///
    /// A test of Python needs `unittest` only. It asks that nothing is raised, or that the program ends
    /// with status 0: what the right answer is, nobody told. Have a person add it.
    ///
    /// Whether the test holds what it promises is seen by making it a trigger
    /// ([`as_trigger`](Self::as_trigger)): a trial asks that it fails without the patch.
    ///
    /// # Errors
    /// The call is not known, a name is not one of the language, or an argument has no literal.
    pub fn generate(name: &str, call: &FailingCall) -> Result<Self, CannotGenerate> {
        let refuse = |why: String| Err(CannotGenerate(why));
        if !is_identifier(name) {
            return refuse(format!(
                "name {name:?}, expected letters, digits and underscores"
            ));
        }
        let (body, imports) = match call {
            FailingCall::Command { argv } if argv.is_empty() => {
                return refuse("the command is empty".to_owned());
            }
            FailingCall::Command { argv } => (command_body(argv), "import subprocess\n"),
            FailingCall::Python {
                module,
                function,
                arguments,
                keywords,
                raised,
            } => {
                let names = [
                    ("module", module),
                    ("function", function),
                    ("exception", raised),
                ];
                if let Some((what, bad)) = names.iter().find(|(_, name)| !is_dotted(name)) {
                    return refuse(format!("{what} {bad:?}, expected a dotted name"));
                }
                if let Some(bad) = keywords.keys().find(|name| !is_identifier(name)) {
                    return refuse(format!("keyword {bad:?}, expected a name"));
                }
                (
                    python_body(module, function, arguments, keywords, raised),
                    "import importlib\nimport json\n",
                )
            }
            FailingCall::Rust { expression } => return rust(name, expression),
            FailingCall::Unknown => {
                return refuse("the failing call is not known, only where it failed".to_owned());
            }
        };
        let path = format!("test_regression_{name}.py");
        let text = format!(
            "\"\"\"Keeps a mended fault from coming back.\"\"\"\n\n{imports}import unittest\n\n\n\
             class Regression(unittest.TestCase):\n    def test_{name}(self):\n{body}\n\n\
             if __name__ == \"__main__\":\n    unittest.main()\n"
        );
        Ok(Self {
            argv: ["/usr/bin/python3", &path].map(str::to_owned).to_vec(),
            file: TrialFile { path, text },
        })
    }

    /// This test as a trigger, whose file goes into [`TrialPlan::files`](super::TrialPlan::files).
    pub fn as_trigger(&self) -> TrialTest {
        let command = SandboxCommand::new(self.argv.iter().cloned());
        TrialTest::new(&self.file.path, Level::Trigger, command)
    }
}

fn command_body(argv: &[String]) -> String {
    let argv: Vec<String> = argv.iter().map(|argument| literal(argument)).collect();
    format!(
        "        done = subprocess.run([{}], capture_output=True, text=True, timeout=60)\n        \
         self.assertEqual(done.returncode, 0, done.stderr)\n",
        argv.join(", ")
    )
}

fn python_body(
    module: &str,
    function: &str,
    arguments: &[Value],
    keywords: &serde_json::Map<String, Value>,
    raised: &str,
) -> String {
    let arguments = literal(&Value::from(arguments.to_vec()).to_string());
    let keywords = literal(&Value::from(keywords.clone()).to_string());
    let attributes: Vec<String> = function
        .split('.')
        .map(|name| format!("        called = getattr(called, {})\n", literal(name)))
        .collect();
    let attributes = attributes.concat();
    format!(
        "        called = importlib.import_module({})\n{attributes}        \
         # It raised {raised}.\n        \
         called(*json.loads({arguments}), **json.loads({keywords}))\n",
        literal(module)
    )
}

fn rust(name: &str, expression: &str) -> Result<RegressionTest, CannotGenerate> {
    let bare = expression.trim();
    if bare.is_empty() || bare.contains([';', '\n', '{', '}']) || !bare.ends_with(')') {
        return Err(CannotGenerate(format!(
            "expression {bare:?}, expected one call on one line"
        )));
    }
    let path = format!("tests/regression_{name}.rs");
    let text = format!(
        "//! Keeps a mended fault from coming back.\n\n#[test]\nfn {name}() {{\n    \
         // It panicked.\n    let _ = {bare};\n}}\n"
    );
    let argv = ["cargo", "test", "--offline", "--test"].map(str::to_owned);
    let argv = argv.into_iter().chain([format!("regression_{name}")]);
    Ok(RegressionTest {
        argv: argv.collect(),
        file: TrialFile { path, text },
    })
}

/// A string as a literal of Python: the escapes of JSON are among its own, but for pairs of surrogates,
/// which JSON leaves as characters.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_dotted(name: &str) -> bool {
    name.split('.').all(is_identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_refused_with_the_reason() {
        let refused = |name: &str, call: &FailingCall| {
            RegressionTest::generate(name, call)
                .unwrap_err()
                .to_string()
        };
        assert!(refused("a b", &FailingCall::Unknown).contains("\"a b\""));
        assert!(refused("a", &FailingCall::Unknown).contains("not known"));
        let injected = FailingCall::Python {
            module: "os; import sys".to_owned(),
            function: "f".to_owned(),
            arguments: Vec::new(),
            keywords: serde_json::Map::new(),
            raised: "KeyError".to_owned(),
        };
        assert!(refused("a", &injected).contains("module"));
        for bad in ["", "let x", "f(); g()", "f({})"] {
            let call = FailingCall::Rust {
                expression: bad.to_owned(),
            };
            assert!(refused("a", &call).contains("one call"), "{bad}");
        }
    }

    #[test]
    fn a_call_of_rust_becomes_a_test_of_its_own() {
        let call = FailingCall::Rust {
            expression: "shop::total(&[], 3)".to_owned(),
        };
        let test = RegressionTest::generate("total_of_nothing", &call).unwrap();
        assert_eq!(test.file.path, "tests/regression_total_of_nothing.rs");
        assert!(
            test.file
                .text
                .contains("    let _ = shop::total(&[], 3);\n")
        );
        assert_eq!(test.argv.last().unwrap(), "regression_total_of_nothing");
    }
}
