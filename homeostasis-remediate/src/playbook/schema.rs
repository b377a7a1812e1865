//! The JSON Schema of playbooks.

#![allow(dead_code, reason = "the types only say what a file looks like")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::lint::LintRule;
use super::read::{CATEGORIES, RADII, SEVERITIES};
use super::read_verification::{BASELINES, METHODS, TIERS};

/// What is done when, how success is recognized, and what must not happen.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Playbook")]
struct PlaybookEntry {
    /// Its id, unique among all playbooks.
    playbook_id: Name,
    /// For people.
    name: Text,
    /// As its author counts.
    version: Text,
    /// The shelf it stands on, for people.
    category: Option<Text>,
    /// How bad its author thinks the trouble is.
    severity: Option<SeverityName>,
    /// When it applies; everything that is given must hold.
    trigger: TriggerEntry,
    /// What must hold before anything is done; unknown does not hold. Default: nothing.
    pre_conditions: Option<Vec<PreConditionEntry>>,
    /// What is done, in order.
    #[schemars(length(min = 1, max = 64))]
    remediation_steps: Vec<StepEntry>,
    /// How the outcome is judged. Default: the anomalies must be gone.
    verification: Option<VerificationEntry>,
    /// What its author says about taking it back. Default: what the actions say.
    rollback: Option<RollbackEntry>,
    /// Whom to call when it does not work.
    escalation: Option<EscalationEntry>,
    /// What its author allows.
    safety: Option<SafetyEntry>,
    /// What the linter shall not find.
    lint: Option<LintEntry>,
    /// Whatever else its author notes; `success_rate` and `avg_execution_time` weigh in selection.
    metadata: Option<BTreeMap<String, serde_json::Value>>,
}

/// When it applies.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Trigger", extend(
    "anyOf" = [given("condition"), given("cause"), given("category"), given("service")],
    "if" = given("duration"),
    "then" = given("condition"),
))]
struct TriggerEntry {
    /// Over metrics, such as `disk_usage_percent > 85`.
    condition: Option<ConditionText>,
    /// How long the condition must last, at most 24 h. Default: 0.
    duration: Option<DurationText>,
    /// The diagnosed cause, such as `memory_leak`.
    cause: Option<Text>,
    /// The family of the diagnosed cause.
    category: Option<CategoryName>,
    /// The service at fault, or `service/instance`.
    service: Option<TargetText>,
}

/// What must hold before anything is done.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "PreCondition")]
enum PreConditionEntry {
    /// A condition over the metrics of the target, of the last 60 s.
    Condition(ConditionText),
    /// A check of the host, or a condition and how old its values may be.
    Asked(AskedEntry),
}

/// A check of the host, or a condition and how old its values may be.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "AskedFirst", extend(
    "oneOf" = [given("check"), given("condition")],
    "not" = {"allOf": [given("check"), given("within")]},
))]
struct AskedEntry {
    /// The name of a check of the host.
    check: Option<Text>,
    /// What must hold.
    condition: Option<ConditionText>,
    /// How old the condition's values may be: at least 1 s, at most 24 h. Default: 60 s.
    within: Option<DurationText>,
}

/// One step, or several at once.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Step")]
enum StepEntry {
    /// Several at once.
    Together(TogetherEntry),
    /// One.
    One(OneEntry),
}

/// Steps that begin at once; the next entry begins when all of them ended.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "StepsAtOnce")]
struct TogetherEntry {
    /// Its number; entries count from 1.
    #[schemars(range(min = 1, max = 64))]
    step: Option<u64>,
    /// The steps.
    #[schemars(length(min = 2, max = 16))]
    parallel: Vec<MemberEntry>,
}

/// One step. Every field that is not listed is a parameter of its action.
#[derive(JsonSchema)]
#[schemars(rename = "OneStep", extend("not" = {"required": ["parallel"]}))]
struct OneEntry {
    /// Its number; entries count from 1.
    #[schemars(range(min = 1, max = 64))]
    step: Option<u64>,
    #[schemars(flatten)]
    rest: StepFields,
}

/// One of several steps at once: a step without a number.
#[derive(JsonSchema)]
#[schemars(rename = "StepAtOnce", extend("not" = {
    "anyOf": [{"required": ["parallel"]}, given("step")]
}))]
struct MemberEntry {
    #[schemars(flatten)]
    rest: StepFields,
}

#[derive(JsonSchema)]
struct StepFields {
    /// For people. Default: the action's name.
    name: Option<Text>,
    /// A registered action.
    action: Text,
    /// On what, when it is not the plan's target.
    target: Option<StepTargetText>,
    /// For one attempt. Default: the action's.
    timeout: Option<DurationText>,
    /// When it is tried again.
    retry: Option<RetryEntry>,
    /// What its author expects of it, for people.
    expected_recovery: Option<serde_json::Value>,
}

/// When a failed step is tried again.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Retry")]
struct RetryEntry {
    /// In all. Default: 3.
    #[schemars(range(min = 1, max = 20))]
    attempts: Option<u32>,
    /// The wait before the second attempt; it doubles, with full jitter. Default: 500 ms.
    backoff: Option<DurationText>,
    /// The wait never exceeds this. Default: 30 s.
    max_backoff: Option<DurationText>,
}

/// How the outcome is judged.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Verification", extend(
    "anyOf" = [
        given("check"),
        given("health"),
        given("health_tiers"),
        given("scenarios"),
        given("comparison"),
    ],
    "not" = {"allOf": [given("retry"), given("watch")]},
    "dependentRequired" = {"min_pass_rate": ["scenarios"], "stability_interval": ["stability"]},
))]
struct VerificationEntry {
    /// What must hold, over the metrics of the target.
    check: Option<ConditionText>,
    /// Before the first look. Default: 5 s.
    wait_time: Option<DurationText>,
    /// Watch for so many wait times; instead of `watch`.
    #[schemars(range(min = 0, max = 1000))]
    retry: Option<u32>,
    /// How far apart two looks are. Default: 1 s.
    interval: Option<DurationText>,
    /// How long to look at most. Default: 120 s.
    watch: Option<DurationText>,
    /// How many looks in a row must hold. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    consecutive: Option<u32>,
    /// How old a value may be. Default: 60 s.
    window: Option<DurationText>,
    /// The share of health checks that must pass. Default: not judged.
    health: Option<RatioValue>,
    /// The same for the checks of one tier each.
    #[schemars(length(min = 1, max = 3))]
    health_tiers: Option<Vec<TierEntry>>,
    /// What the service must still be able to do.
    #[schemars(length(min = 1, max = 16))]
    scenarios: Option<Vec<ScenarioEntry>>,
    /// The share of scenarios that must pass. Default: all.
    min_pass_rate: Option<RatioValue>,
    /// Comparisons with another time.
    #[schemars(length(max = 62))]
    comparison: Option<Vec<ComparisonEntry>>,
    /// What must hold at once, before anything else is judged. Default: nothing.
    immediate: Option<ImmediateEntry>,
    /// How long what holds must go on holding; comparisons are judged at its end. Default: no longer.
    stability: Option<DurationText>,
    /// How far apart two looks are meanwhile. Default: 60 s.
    stability_interval: Option<DurationText>,
}

/// What must hold at once.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Immediate", extend("anyOf" = [
    {"required": ["check"]},
    {"required": ["health"]},
]))]
struct ImmediateEntry {
    /// What must hold, over the metrics of the target.
    check: Option<ConditionText>,
    /// The share of health checks that must pass.
    health: Option<RatioValue>,
    /// How old a value may be, and over how long health is judged. Default: 10 s.
    window: Option<DurationText>,
    /// How soon after the remedy. Default: 30 s.
    within: Option<DurationText>,
}

/// The health checks of one tier.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "HealthTierCheck")]
struct TierEntry {
    /// Which.
    tier: TierName,
    /// The share of them that must pass. Default: 100 %, and 95 % of comprehensive ones.
    pass_rate: Option<RatioValue>,
    /// Over how long. Default: 2 min, 5 min and 10 min.
    window: Option<DurationText>,
}

/// Steps that must answer as expected, one after another. It may be done more than once.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Scenario")]
struct ScenarioEntry {
    /// For people.
    name: Text,
    /// The steps.
    #[schemars(length(min = 1, max = 16))]
    steps: Vec<ScenarioStepEntry>,
}

/// A request or a function of the host, and what it must answer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "ScenarioStep", extend(
    "oneOf" = [
        {"required": ["url"], "not": {"required": ["args"]}},
        {"required": ["function"], "not": {"anyOf": [
            {"required": ["method"]}, {"required": ["body"]}, {"required": ["status"]},
        ]}},
    ],
    "if" = {"properties": {"method": {"enum": ["POST", "PUT", "PATCH", "DELETE"]}}, "required": ["method"]},
    "then" = {"properties": {"side_effects": {"const": true}}, "required": ["side_effects"]},
))]
struct ScenarioStepEntry {
    /// For people.
    name: Text,
    /// Where to; its origin must be one the host allows.
    #[schemars(regex(pattern = r"^https?://[^/\s$][^\s$]*$"))]
    url: Option<String>,
    /// Default: `GET`.
    method: Option<MethodName>,
    /// Sent as JSON.
    body: Option<serde_json::Value>,
    /// A function the host registered.
    function: Option<Text>,
    /// What it is given.
    args: Option<BTreeMap<String, serde_json::Value>>,
    /// The statuses that are expected. Default: any 2xx.
    #[schemars(length(min = 1), inner(range(min = 100, max = 599)))]
    status: Option<Vec<u16>>,
    /// A text the answer contains.
    contains: Option<Text>,
    /// By JSON pointer (`/items/0/id`), the values that stand there.
    #[schemars(extend("propertyNames" = {"pattern": "^(/.*)?$"}))]
    json: Option<BTreeMap<String, serde_json::Value>>,
    /// How long the answer may take. Default: as long as `timeout`.
    within: Option<DurationText>,
    /// When it is given up. Default: 5 s, at most 1 min.
    timeout: Option<DurationText>,
    /// Whether it changes anything; it may be done more than once. Default: false.
    side_effects: Option<bool>,
}

/// One metric compared with what it was at another time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Comparison", extend(
    "oneOf" = [given("at_most"), given("at_least")],
))]
struct ComparisonEntry {
    /// Which.
    metric: Text,
    /// In multiples of the baseline.
    #[schemars(range(min = 0.0, max = 1e6))]
    at_most: Option<f64>,
    /// In multiples of the baseline.
    #[schemars(range(min = 0.0, max = 1e6))]
    at_least: Option<f64>,
    /// How long the compared stretches are. Default: 60 s.
    window: Option<DurationText>,
    /// Whose metric. Default: the plan's target.
    target: Option<TargetText>,
    /// With which time. Default: `before_incident`.
    baseline: Option<BaselineName>,
}

/// What its author says about taking it back.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Rollback", extend(
    "if" = {"properties": {"available": {"const": false}}},
    "then" = given("reason"),
))]
struct RollbackEntry {
    /// `false` makes every step irreversible.
    available: bool,
    /// Why, if not.
    reason: Option<String>,
}

/// Whom to call when it does not work.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Escalation")]
struct EscalationEntry {
    /// Whether to call at all. Default: true.
    on_failure: Option<bool>,
    /// Whom.
    notify: Option<Vec<Text>>,
    /// Whether to open an incident in the host's own system. Default: false.
    create_incident: Option<bool>,
}

/// What its author allows.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Safety")]
struct SafetyEntry {
    /// No step is tried again more often.
    #[schemars(range(min = 0, max = 19))]
    max_retries: Option<u32>,
    /// People must approve whatever the policy says. Default: false.
    require_approval: Option<bool>,
    /// A plan that reaches further needs approval.
    blast_radius: Option<RadiusName>,
}

/// What the linter shall not find.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Lint")]
struct LintEntry {
    /// Rules that it is knowingly against.
    #[schemars(length(min = 1))]
    allow: Vec<RuleName>,
}

/// That a field is there: as for the reader, `null` is not.
fn given(field: &str) -> serde_json::Value {
    serde_json::json!({"required": [field], "properties": {field: {"not": {"type": "null"}}}})
}

/// A text with something other than white space in it.
#[derive(JsonSchema)]
#[schemars(rename = "Text")]
struct Text(#[schemars(regex(pattern = r"\S"))] String);

/// A name of letters, digits, `.`, `_` and `-` that begins with a letter or digit.
#[derive(JsonSchema)]
#[schemars(rename = "Name")]
struct Name(
    #[schemars(
        length(max = 128),
        regex(pattern = r"^(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]*$")
    )]
    String,
);

/// A condition, such as `disk_usage_percent > 85`; the reader checks its grammar.
#[derive(JsonSchema)]
#[schemars(rename = "Condition")]
struct ConditionText(#[schemars(regex(pattern = r"\S"))] String);

/// `service` or `service/instance`: 1 to 128 characters each, no control characters, no white space
/// around them.
#[derive(JsonSchema)]
#[schemars(rename = "Target")]
struct TargetText(
    #[schemars(regex(
        pattern = r"^[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]{0,126}[^\s/\x00-\x1f\x7f-\x9f])?(/[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]{0,126}[^\s/\x00-\x1f\x7f-\x9f])?)?$"
    ))]
    String,
);

/// `service` or `service/instance`; placeholders stand in parameters only.
#[derive(JsonSchema)]
#[schemars(rename = "StepTarget")]
struct StepTargetText(
    #[schemars(regex(
        pattern = r"^(?!.*\$\{)[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]{0,126}[^\s/\x00-\x1f\x7f-\x9f])?(/[^\s/\x00-\x1f\x7f-\x9f]([^/\x00-\x1f\x7f-\x9f]{0,126}[^\s/\x00-\x1f\x7f-\x9f])?)?$"
    ))]
    String,
);

/// A duration such as `300ms`, `30s`, `5m`, `7_days`.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Duration")]
enum DurationText {
    Text(#[schemars(regex(pattern = r"^\s*[0-9]"))] String),
    Zero(#[schemars(range(min = 0, max = 0))] u64),
}

/// A share: `5%` or `0.05`.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "Ratio")]
enum RatioValue {
    Number(#[schemars(range(min = 0.0, max = 1.0))] f64),
    Percent(#[schemars(regex(pattern = r"^\s*[0-9.]+\s*%\s*$"))] String),
}

macro_rules! one_of {
    ($($(#[$doc:meta])* $name:ident = $title:literal, $words:expr;)+) => {
        $(
            struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> std::borrow::Cow<'static, str> {
                    $title.into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    let words: Vec<&str> = $words.collect();
                    json_schema!({"type": "string", "enum": words})
                }
            }
        )+
    };
}

one_of! {
    SeverityName = "Severity", SEVERITIES.iter().map(|(word, _)| *word);
    CategoryName = "Category", CATEGORIES.iter().map(|(word, _)| *word);
    RadiusName = "BlastRadius", RADII.iter().map(|(word, _)| *word);
    TierName = "HealthTier", TIERS.iter().map(|(word, _)| *word);
    BaselineName = "Baseline", BASELINES.iter().map(|(word, _)| *word);
    MethodName = "Method", METHODS.iter().map(|(word, _)| *word);
    RuleName = "LintRule", LintRule::ALL.iter().map(|rule| rule.name());
}

/// The JSON Schema (draft 2020-12) of playbooks, YAML or JSON.
///
/// The one of this version is `docs/schema/playbook.schema.json` in the repository. A file may fit it
/// and still not load: which actions and checks exist, what their parameters are, and the grammar of
/// conditions are known to the reader alone.
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub fn playbook_schema() -> serde_json::Value {
    schemars::schema_for!(PlaybookEntry).to_value()
}
