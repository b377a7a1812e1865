//! The JSON Schema of rule files.

#![allow(dead_code, reason = "the types only say what a file looks like")]

use schemars::JsonSchema;

/// A file of rules.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Rules")]
struct RuleFile {
    /// At least one.
    #[schemars(length(min = 1))]
    rules: Vec<RuleEntry>,
}

/// One rule: what the text of an error says about its cause.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Rule", extend("anyOf" = [
    {"required": ["pattern"]},
    {"required": ["patterns"]},
    {"required": ["kind"]},
    {"required": ["message"]},
    {"required": ["template"]},
]))]
struct RuleEntry {
    /// Its name, unique among all rules.
    id: Name,
    /// One sentence for people: what is the matter.
    title: Text,
    /// Matches in an error line, or in its message alone.
    pattern: Option<PatternText>,
    /// One of these, with `pattern`, matches in an error line, or in its message alone.
    patterns: Option<Vec<PatternText>>,
    /// Matches in the type of the error in that line.
    kind: Option<PatternText>,
    /// Matches in the message of that line.
    message: Option<PatternText>,
    /// Matches in one of the frames.
    frame: Option<PatternText>,
    /// Matches in the template of the log message.
    template: Option<PatternText>,
    /// Matches in other lines of the same service make it surer.
    root_cause_indicators: Option<Vec<PatternText>>,
    /// What must hold: false drops the rule, unknown halves its weight.
    context_requirements: Option<Vec<RequirementEntry>>,
    /// The family of the cause.
    category: CategoryName,
    /// The cause, in the vocabulary of playbooks.
    cause: Name,
    /// Who is ill: the writer, or whom it calls. Default: self.
    blames: Option<BlamesName>,
    /// How bad it is if the rule is right. Default: medium.
    criticality: Option<CriticalityName>,
    /// How often the cause is there when the line is.
    #[schemars(range(min = 0.5, max = 0.99))]
    confidence: f64,
    /// Any other rule that matches comes before it. Default: false.
    fallback: Option<bool>,
    /// Languages it is for. Default: any.
    languages: Option<Vec<Text>>,
    /// A record that tells no language is held against it. Default: false.
    only_in_languages: Option<bool>,
    /// Systems it is for. Default: any.
    applies_to: Option<Vec<Text>>,
    /// Services it is for. Default: any.
    services: Option<Vec<Text>>,
    /// Texts that it must match; tried when it is loaded.
    #[schemars(length(min = 1))]
    examples: Vec<Text>,
    /// Texts that it must not match; tried when it is loaded.
    counter_examples: Option<Vec<Text>>,
    /// Where the message is documented.
    references: Option<Vec<Url>>,
    /// More for people: what usually lies behind it, where to look.
    explanation: Option<Text>,
}

/// A condition on the error's environment and the service's metrics, or a field of the record.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Requirement")]
enum RequirementEntry {
    /// Such as `process_open_fds > 900`.
    Condition(Text),
    /// A field of the record and what it looks like.
    Field(FieldEntry),
}

/// A field of the record and what it looks like.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Field")]
struct FieldEntry {
    /// Its name, or `component`, `correlation` or `level`.
    field: Text,
    /// What it looks like.
    matches: PatternText,
}

/// A text of at least one character.
#[derive(JsonSchema)]
#[schemars(rename = "Text")]
struct Text(#[schemars(length(min = 1))] String);

/// A name of a-z, 0-9, _ and dots.
#[derive(JsonSchema)]
#[schemars(rename = "Name")]
struct Name(#[schemars(regex(pattern = "^[a-z0-9_.]+$"))] String);

/// A regular expression that does not match the empty text.
#[derive(JsonSchema)]
#[schemars(rename = "Pattern")]
struct PatternText(#[schemars(length(min = 1, max = 4000))] String);

/// An address.
#[derive(JsonSchema)]
#[schemars(rename = "Url")]
struct Url(
    #[schemars(regex(pattern = "^https://\\S+$"))]
    String,
);

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", rename = "Category")]
enum CategoryName {
    ResourceExhaustion,
    Network,
    ApplicationError,
    Configuration,
    DependencyFailure,
    DataValidation,
    Concurrency,
    Security,
    Unknown,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", rename = "Blames")]
enum BlamesName {
    #[schemars(rename = "self")]
    Itself,
    Dependency,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case", rename = "Criticality")]
enum CriticalityName {
    Low,
    Medium,
    High,
    Critical,
}

/// The JSON Schema (draft 2020-12) of rule files, YAML or JSON.
///
/// The one of this version is `docs/schema/rules.schema.json` in the repository. A file may fit it
/// and still not load: patterns that do not parse and examples that do not match are found by
/// [`RuleSet`](crate::RuleSet) alone.
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub fn rule_schema() -> serde_json::Value {
    schemars::schema_for!(RuleFile).to_value()
}
