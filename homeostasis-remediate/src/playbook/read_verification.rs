//! Reading how a playbook judges its outcome.

use std::time::Duration;

use homeostasis_core::document::{
    Fields, boolean, duration, float, integer, list, map_of, nested, non_empty_string, one_of,
    ratio, raw,
};
use homeostasis_core::record::{
    Baseline, Comparison, Expected, Scenario, ScenarioCall, ScenarioStep, VerificationSpec,
};
use homeostasis_core::signal::HealthTier;
use serde_json::Value;

use super::definition::{ComparisonCheck, ImmediateCheck, TierCheck, VerificationCheck};
use super::read::{DAY, HOUR, SECOND, condition, target};

pub(super) const TIERS: &[(&str, HealthTier)] = &[
    ("shallow", HealthTier::Shallow),
    ("deep", HealthTier::Deep),
    ("comprehensive", HealthTier::Comprehensive),
];

pub(super) const BASELINES: &[(&str, Baseline)] = &[
    ("before_incident", Baseline::BeforeIncident),
    ("same_time_yesterday", Baseline::Yesterday),
    ("last_24h_at_same_time", Baseline::Yesterday),
    ("same_time_last_week", Baseline::LastWeek),
];

pub(super) const METHODS: &[(&str, &str)] = &[
    ("GET", "GET"),
    ("HEAD", "HEAD"),
    ("OPTIONS", "OPTIONS"),
    ("POST", "POST"),
    ("PUT", "PUT"),
    ("PATCH", "PATCH"),
    ("DELETE", "DELETE"),
];

/// What a verification can judge by.
const CRITERIA: [&str; 5] = ["check", "health", "health_tiers", "scenarios", "comparison"];

pub(super) fn verification(d: &mut Fields<'_>) -> Option<VerificationCheck> {
    let check = d.optional("check", condition());
    let wait = d.default("wait_time", duration(Duration::ZERO..=HOUR), 5 * SECOND);
    let retry = d.optional("retry", integer(0..=1000_u32));
    let interval = d.default(
        "interval",
        duration(Duration::from_millis(10)..=HOUR),
        SECOND,
    );
    let watch = d.optional("watch", duration(SECOND..=DAY));
    let consecutive = d.default("consecutive", integer(1..=1000_u32), 1);
    let window = d.default("window", duration(SECOND..=DAY), Duration::from_secs(60));
    let health = d.optional("health", ratio(0.0..=1.0));
    let comparisons = d.default(
        "comparison",
        list(nested(comparison)).at_most(62),
        Vec::new(),
    );
    let health_tiers = d.default(
        "health_tiers",
        list(nested(tier_check)).at_least(1).at_most(3),
        Vec::new(),
    );
    let scenarios = d.default(
        "scenarios",
        list(nested(scenario)).at_least(1).at_most(16),
        Vec::new(),
    );
    let min_pass_rate = d.default("min_pass_rate", ratio(0.0..=1.0), 1.0);
    let immediate = d.optional("immediate", nested(immediate));
    let stability = d.default("stability", duration(SECOND..=DAY), Duration::ZERO);
    let stability_interval = d.default(
        "stability_interval",
        duration(Duration::from_millis(10)..=HOUR),
        Duration::from_secs(60),
    );
    if !CRITERIA.iter().any(|name| d.has(name)) {
        let names: Vec<_> = CRITERIA.iter().map(|name| format!("`{name}`")).collect();
        d.reject_all(format!("one of {}", names.join(", ")));
    }
    for (name, other) in [
        ("min_pass_rate", "scenarios"),
        ("stability_interval", "stability"),
    ] {
        if d.has(name) && !d.has(other) {
            d.reject(name, format!("`{other}` beside it"));
        }
    }
    if d.has("retry") && d.has("watch") {
        d.reject(
            "retry",
            "either `retry` or `watch`: both say how long to look",
        );
    }
    let (wait, retry) = (wait?, retry?);
    let looks = wait.max(SECOND).saturating_mul(retry.unwrap_or_default());
    if looks > DAY {
        d.reject("retry", "`wait_time` times `retry` of at most 24h");
    }
    let (window, health, health_tiers) = (window?, health?, health_tiers?);
    let longest = health_tiers.iter().map(|tier| tier.window).max();
    // Health is judged over whole windows, so by default it is watched as long.
    let of_health = health.map(|_| window);
    let default = Duration::from_secs(120).max(longest.max(of_health).unwrap_or_default());
    let watch = watch?.unwrap_or(if retry.is_some() {
        looks.max(SECOND)
    } else {
        default
    });
    let check = VerificationCheck {
        condition: check?,
        consecutive: consecutive?,
        window,
        health,
        health_tiers,
        scenarios: scenarios?,
        min_pass_rate: min_pass_rate?,
        comparisons: comparisons?,
        immediate: immediate?,
        wait,
        watch,
        interval: interval?,
        stability: stability?,
        stability_interval: stability_interval?,
    };
    if let Some(longest) = longest.filter(|longest| *longest > wait + watch) {
        let expected =
            format!("`wait_time` and `watch` of at least {longest:?}, the window of a tier");
        d.reject("watch", expected);
    }
    if check.n_criteria() > VerificationSpec::MAX_CRITERIA {
        d.reject_all(format!(
            "at most {} criteria in all",
            VerificationSpec::MAX_CRITERIA
        ));
    }
    Some(check)
}

/// What must hold at once.
fn immediate(d: &mut Fields<'_>) -> Option<ImmediateCheck> {
    let check = d.optional("check", condition());
    let health = d.optional("health", ratio(0.0..=1.0));
    let window = d.default("window", duration(SECOND..=HOUR), 10 * SECOND);
    let within = d.default("within", duration(SECOND..=HOUR), 30 * SECOND);
    if !d.has("check") && !d.has("health") {
        d.reject_all("one of `check`, `health`");
    }
    let immediate = ImmediateCheck {
        condition: check?,
        health: health?,
        window: window?,
        within: within?,
    };
    if immediate.health.is_some() && immediate.window > immediate.within {
        d.reject(
            "window",
            "at most `within`: health is judged over the whole window",
        );
    }
    Some(immediate)
}

/// One tier; the pass rates and windows of the source document are the defaults.
fn tier_check(d: &mut Fields<'_>) -> Option<TierCheck> {
    let tier = d.required("tier", one_of(TIERS));
    let (rate, minutes) = match tier.unwrap_or_default() {
        HealthTier::Shallow => (1.0, 2),
        HealthTier::Deep => (1.0, 5),
        HealthTier::Comprehensive => (0.95, 10),
    };
    let pass_rate = d.default("pass_rate", ratio(0.0..=1.0), rate);
    let window = d.default("window", duration(SECOND..=DAY), 60 * minutes * SECOND);
    Some(TierCheck {
        tier: tier?,
        pass_rate: pass_rate?,
        window: window?,
    })
}

fn scenario(d: &mut Fields<'_>) -> Option<Scenario> {
    let name = d.required("name", non_empty_string());
    let steps = list(nested(scenario_step))
        .at_least(1)
        .at_most(Scenario::MAX_STEPS);
    let steps = d.required("steps", steps);
    Some(Scenario {
        name: name?,
        steps: steps?,
    })
}

fn scenario_step(d: &mut Fields<'_>) -> Option<ScenarioStep> {
    let name = d.required("name", non_empty_string());
    let url = d.optional("url", non_empty_string());
    let method = d.default("method", one_of(METHODS), "GET");
    let body = d.optional("body", raw());
    let function = d.optional("function", non_empty_string());
    let args = d.optional("args", raw());
    let status = list(integer(100..=599_u16)).at_least(1);
    let status = d.default("status", status, Vec::new());
    let contains = d.optional("contains", non_empty_string());
    let json = d.default("json", map_of(raw()), std::collections::BTreeMap::new());
    let within = d.optional("within", duration(Duration::from_millis(1)..=60 * SECOND));
    let timeout = d.default(
        "timeout",
        duration(Duration::from_millis(1)..=60 * SECOND),
        5 * SECOND,
    );
    let side_effects = d.default("side_effects", boolean(), false);
    if d.has("url") == d.has("function") {
        d.reject_all("either `url` or `function`");
    }
    for name in ["method", "body", "status"] {
        if d.has(name) && d.has("function") {
            d.reject(name, "a `url` beside it instead of a `function`");
        }
    }
    if d.has("args") && !d.has("function") {
        d.reject("args", "a `function` beside it");
    }
    let json = json?;
    if let Some(pointer) = json
        .keys()
        .find(|it| !it.is_empty() && !it.starts_with('/'))
    {
        d.reject(
            "json",
            format!("JSON pointers such as /status instead of {pointer:?}"),
        );
    }
    let args = match args?.map(|args| args.to_json()) {
        None => Some(serde_json::Map::new()),
        Some(Value::Object(args)) => Some(args),
        Some(_) => {
            d.reject("args", "a mapping");
            None
        }
    };
    let call = match (url?, function?) {
        (Some(url), _) => {
            if !is_url(&url) {
                d.reject(
                    "url",
                    "one such as http://127.0.0.1:8080/, without placeholders",
                );
            }
            ScenarioCall::Http {
                method: method?.to_owned(),
                url,
                json: body?.map(|body| body.to_json()),
            }
        }
        (None, Some(name)) => ScenarioCall::Function { name, args: args? },
        (None, None) => return None,
    };
    let step = ScenarioStep {
        name: name?,
        call,
        expect: Expected {
            status: status?,
            contains: contains?,
            json: json
                .into_iter()
                .map(|(at, raw)| (at, raw.to_json()))
                .collect(),
            within: within?,
        },
        timeout: timeout?,
        side_effects: side_effects?,
    };
    if !step.is_safe() && !step.side_effects {
        d.reject(
            "side_effects",
            "true for a request that may change something",
        );
    }
    if step
        .expect
        .within
        .is_some_and(|within| within > step.timeout)
    {
        d.reject("within", "at most `timeout`");
    }
    Some(step)
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|b| b.is_ascii_graphic())
        && !text.contains("${")
}

fn comparison(d: &mut Fields<'_>) -> Option<ComparisonCheck> {
    let metric = d.required("metric", non_empty_string());
    let at_most = d.optional("at_most", float(0.0..=1e6));
    let at_least = d.optional("at_least", float(0.0..=1e6));
    let window = d.default("window", duration(SECOND..=DAY), Duration::from_secs(60));
    let on = d.optional("target", target());
    let baseline = d.default("baseline", one_of(BASELINES), Baseline::BeforeIncident);
    let comparison = match (at_most?, at_least?) {
        (Some(times), None) => Comparison::AtMost(times),
        (None, Some(times)) => Comparison::AtLeast(times),
        _ => {
            d.reject_all("either `at_most` or `at_least`, in multiples of the baseline");
            return None;
        }
    };
    Some(ComparisonCheck {
        metric: metric?,
        target: on?,
        comparison,
        window: window?,
        baseline: baseline?,
    })
}
