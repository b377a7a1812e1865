//! `set_unit_limits`: what a unit of systemd may use.

use homeostasis_core::record::{EffectClass, Inverse, RiskLevel};
use serde_json::{Map, Value, json};

use super::names::Allowed;
use super::systemd::{property, show, unit};
use super::tool::{Argv, Tool, ToolAction, Verb, argv};
use crate::action::{ActionCall, ActionError, ActionSpec, ArgumentProblem, Param, ParamKind};

/// Parameter, the property that is set, the property that is shown.
const LIMITS: [(&str, &str, &str); 4] = [
    ("memory_max_bytes", "MemoryMax", "MemoryMax"),
    ("memory_high_bytes", "MemoryHigh", "MemoryHigh"),
    ("tasks_max", "TasksMax", "TasksMax"),
    ("cpu_percent", "CPUQuota", "CPUQuotaPerSecUSec"),
];

/// A hundredth of a percent of a CPU, in microseconds of each second.
const MICROS_PER_PERMYRIAD: u64 = 100;

pub(super) fn action(tool: &Tool, units: Allowed) -> ToolAction {
    let count = |min, max| ParamKind::Integer { min, max };
    let spec = ActionSpec::new("limit what a unit of systemd may use, until the next boot")
        .with_params([
            Param::required("unit", ParamKind::Text, "which unit"),
            Param::optional(
                "memory_max_bytes",
                count(1 << 20, 1 << 50),
                "more is refused",
            ),
            Param::optional(
                "memory_high_bytes",
                count(1 << 20, 1 << 50),
                "more is slowed down",
            ),
            Param::optional("tasks_max", count(1, 4_194_304), "processes and threads"),
            Param::optional("cpu_percent", count(1, 100_000), "of one CPU"),
        ])
        .with_effect(EffectClass::Idempotent)
        .with_risk(RiskLevel::Medium)
        .with_inverse(Inverse::Captured("the limits before".to_owned()));
    ToolAction::new("set_unit_limits", spec, tool, SetLimits { units })
}

#[derive(Debug)]
struct SetLimits {
    units: Allowed,
}

/// The limits a call gives.
fn given<'a>(
    call: &'a ActionCall<'_>,
) -> impl Iterator<Item = (&'static (&'static str, &'static str, &'static str), u64)> + 'a {
    LIMITS
        .iter()
        .filter_map(|limit| Some((limit, call.args.get(limit.0)?.as_u64()?)))
}

impl SetLimits {
    fn set(
        &self,
        call: &ActionCall<'_>,
        values: impl Iterator<Item = String>,
    ) -> Result<Vec<Argv>, ActionError> {
        let unit = unit(&self.units).of(call)?;
        let mut all = argv(["--no-ask-password", "--runtime", "set-property", "--", unit]);
        all.extend(values);
        Ok(vec![all])
    }
}

/// What is set so that `show` then says `shown`, of what `show` said before.
fn setting(set: &str, shown: &Value) -> String {
    match (set, shown.as_u64()) {
        ("CPUQuota", Some(micros)) => {
            let permyriads = micros / MICROS_PER_PERMYRIAD;
            format!("CPUQuota={}.{:02}%", permyriads / 100, permyriads % 100)
        }
        // Nothing is no quota.
        ("CPUQuota", None) => "CPUQuota=".to_owned(),
        (set, Some(limit)) => format!("{set}={limit}"),
        (set, None) => format!("{set}=infinity"),
    }
}

/// A limit as `show` prints it: a number, a span of time in microseconds, or null for none.
fn limit(property: &str, text: &str) -> Result<Value, String> {
    let parsed = match text {
        "infinity" => return Ok(Value::Null),
        _ if property == "CPUQuotaPerSecUSec" => micros(text),
        _ => text.parse().ok(),
    };
    let expected = || format!("expected a number or `infinity` for {property}, found {text:?}");
    parsed.map(Value::from).ok_or_else(expected)
}

/// A span as systemd prints it, such as `1s 500ms` or `333.300ms`.
fn micros(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    for part in text.split_whitespace() {
        let (number, unit) = part.split_at(part.find(|c: char| c.is_ascii_alphabetic())?);
        let scale: u64 = match unit {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "min" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = u32::try_from(fraction.len()).ok().filter(|n| *n <= 6)?;
        let fraction: u64 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().ok()?
        };
        let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
        total = total
            .checked_add(whole)?
            .checked_add(fraction.checked_mul(scale)? / 10_u64.pow(digits))?;
    }
    (!text.trim().is_empty()).then_some(total)
}

impl Verb for SetLimits {
    fn problems(&self, args: &Map<String, Value>) -> Vec<ArgumentProblem> {
        let mut problems: Vec<_> = unit(&self.units).problem(args).into_iter().collect();
        let is_given = |limit: &(&str, &str, &str)| args.get(limit.0).is_some_and(|v| !v.is_null());
        if !LIMITS.iter().any(is_given) {
            let names = LIMITS.map(|limit| format!("`{}`", limit.0)).join(", ");
            problems.push(ArgumentProblem::new("", format!("at least one of {names}")));
        }
        problems
    }

    fn questions(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let unit = unit(&self.units).of(call)?;
        let shown = LIMITS.map(|limit| limit.2).join(",");
        Ok(vec![show(&format!("LoadState,{shown}"), unit)])
    }

    fn state(&self, _: &ActionCall<'_>, answers: &[String]) -> Result<Value, String> {
        let answer = answers.concat();
        let load = property(&answer, "LoadState")?;
        if load != "loaded" {
            return Err(format!("expected a unit that is loaded, it is {load:?}"));
        }
        let mut state = json!({});
        for (name, _, shown) in LIMITS {
            state[name] = limit(shown, property(&answer, shown)?)?;
        }
        Ok(state)
    }

    fn doing(&self, call: &ActionCall<'_>) -> Result<Vec<Argv>, ActionError> {
        let settings = given(call).map(|((name, set, _), value)| match *name {
            "cpu_percent" => format!("{set}={value}%"),
            _ => format!("{set}={value}"),
        });
        self.set(call, settings)
    }

    fn is_done(&self, call: &ActionCall<'_>, now: &Value) -> Option<bool> {
        let is_set = |(limit, value): (&(&str, &str, &str), u64)| match limit.0 {
            "cpu_percent" => now[limit.0] == value * 100 * MICROS_PER_PERMYRIAD,
            name => now[name] == value,
        };
        Some(given(call).all(is_set))
    }

    fn undoing(&self, call: &ActionCall<'_>, now: &Value) -> Result<Vec<Argv>, ActionError> {
        let changed = given(call).filter(|((name, ..), _)| call.captured[*name] != now[*name]);
        let settings: Vec<_> = changed
            .map(|((name, set, _), _)| setting(set, &call.captured[*name]))
            .collect();
        if settings.is_empty() {
            return Ok(Vec::new());
        }
        self.set(call, settings.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::super::systemd::Systemctl;
    use super::super::testing::{Fake, refusal};
    use super::*;
    use crate::action::laws;

    /// A systemd that keeps properties in files and shows a quota as a span.
    const SYSTEMD: &str = r#"
        case "$*" in
            *set-property*)
                for setting; do case $setting in
                    CPUQuota=) echo infinity > CPUQuotaPerSecUSec;;
                    CPUQuota=20%) echo 200ms > CPUQuotaPerSecUSec;;
                    CPUQuota=150.50%) echo 1.505s > CPUQuotaPerSecUSec;;
                    *=*) echo "${setting#*=}" > "${setting%%=*}";;
                esac; done;;
            *) echo LoadState=loaded
               for name in MemoryMax MemoryHigh TasksMax CPUQuotaPerSecUSec; do echo $name=$(cat $name); done;;
        esac"#;

    #[tokio::test]
    async fn limits_are_set_and_put_back_to_what_they_were() {
        let args = json!({"unit": "web.service", "cpu_percent": 20, "tasks_max": 50, "memory_max_bytes": 1 << 30});
        for quota in ["infinity", "1.505s"] {
            let files = [
                ("MemoryMax", "infinity"),
                ("MemoryHigh", "123456789"),
                ("TasksMax", "4915"),
                ("CPUQuotaPerSecUSec", quota),
            ];
            let fake = Fake::new(SYSTEMD, &files);
            let action = Systemctl::new(fake.tool(), ["*"])
                .unwrap()
                .set_unit_limits();
            let observe = || files.map(|(name, _)| fake.read(name).trim().to_owned());
            laws::repeat_and_undo(&action, &args, observe).await;
            let doing: Vec<_> = fake
                .calls()
                .into_iter()
                .filter(|args| args[1] == "--runtime")
                .collect();
            let first = "--no-ask-password --runtime set-property -- web.service MemoryMax=1073741824 TasksMax=50 CPUQuota=20%";
            assert_eq!(doing[0].join(" "), first);
            assert_eq!(
                doing.len(),
                2,
                "a second attempt and a second undo find their work done"
            );
        }
    }

    #[tokio::test]
    async fn no_limit_and_a_strange_answer_are_errors() {
        let fake = Fake::new(
            "echo LoadState=loaded; for n in MemoryMax MemoryHigh TasksMax CPUQuotaPerSecUSec; do echo $n=lots; done",
            &[],
        );
        let action = Systemctl::new(fake.tool(), ["*"])
            .unwrap()
            .set_unit_limits();
        let nothing = fake.perform(&action, &json!({"unit": "a.service"})).await;
        assert!(refusal(nothing).contains("`cpu_percent`"));
        let strange = fake
            .perform(&action, &json!({"unit": "a.service", "tasks_max": 5}))
            .await;
        assert!(refusal(strange).contains("\"lots\""));
    }

    #[test]
    fn spans_of_systemd_are_read() {
        let cases = [
            ("200ms", Some(200_000)),
            ("1s 500ms", Some(1_500_000)),
            ("333.300ms", Some(333_300)),
            ("1min", Some(60_000_000)),
            ("", None),
            ("5", None),
            ("5 parsecs", None),
            ("-1s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(micros(text), expected, "{text}");
        }
        assert_eq!(setting("CPUQuota", &json!(333_300)), "CPUQuota=33.33%");
    }
}
