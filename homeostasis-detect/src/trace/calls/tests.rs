use super::*;
use homeostasis_core::Rng;
use std::time::Duration;

fn model() -> OperationCalls {
    OperationCalls::new(OperationCallsConfig::default()).unwrap()
}

/// A window of 40 executions, each with the calls `made` gives.
fn window(
    model: &mut OperationCalls,
    minute: i64,
    mut made: impl FnMut() -> Vec<&'static str>,
) -> OperationScore {
    let at = Timestamp::from_secs(60 * minute);
    for _ in 0..40 {
        let calls: Vec<Arc<str>> = made().into_iter().map(Arc::from).collect();
        model.take(&SpanRecord::new(at, Duration::ZERO, "op"), &calls);
    }
    model.close(at)
}

/// Always `stock`, half of the time `cache`, now and then `mail`.
fn usual(rng: &mut Rng) -> Vec<&'static str> {
    let mut made = vec!["stock"];
    for (call, share) in [("cache", 0.5), ("mail", 0.03)] {
        if rng.unit() < share {
            made.push(call);
        }
    }
    made
}

fn trained() -> OperationCalls {
    let (mut model, mut rng) = (model(), Rng::from_seed(6));
    for minute in 0..500 {
        let judged = window(&mut model, minute, || usual(&mut rng));
        // `mail` comes into view when the first hundred executions are over, at the latest.
        assert!(
            judged.score.get() <= 0.5 || minute < 30,
            "{minute}: {:?}",
            model.explain()
        );
    }
    model
}

#[test]
fn a_new_call_is_news_for_a_while() {
    let mut model = trained();
    let seen: Vec<bool> = (500..540)
        .map(|minute| window(&mut model, minute, || vec!["stock", "cache", "fraud check"]))
        .map(|judged| judged.score.get() > 0.5)
        .collect();
    // The first window brings it, the next ones repeat it.
    assert!(
        seen[..20].iter().all(|new| *new) && !seen[25..].contains(&true),
        "{seen:?}"
    );
}

#[test]
fn a_missing_call_is_missed_until_it_is_back() {
    let mut model = trained();
    for minute in 500..510 {
        let judged = window(&mut model, minute, || vec!["cache"]);
        assert!(
            judged.score.get() > 0.5 && judged.direction == Direction::Low,
            "{judged:?}"
        );
        let finding = model.explain();
        assert!(
            finding
                .text
                .starts_with("does not call stock any more: 0 of 40 executions, expected 9"),
            "{}",
            finding.text
        );
        assert_eq!(
            finding
                .weights
                .iter()
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap()
                .0,
            "stock"
        );
    }
    let judged = window(&mut model, 510, || vec!["stock", "cache"]);
    assert!(judged.score.get() < 0.5, "{judged:?}");
}

#[test]
fn a_loop_of_single_queries_is_found() {
    let mut model = trained();
    let judged = window(&mut model, 500, || vec!["stock"; 30]);
    assert!(
        judged.score.get() > 0.9 && judged.direction == Direction::High,
        "{judged:?}"
    );
    let text = model.explain().text;
    assert!(
        text.starts_with("calls stock 30 times in each of 40 executions, expected at most"),
        "{text}"
    );
}

#[test]
fn calls_that_ended_late_count_and_a_flood_of_names_is_bounded() {
    let mut model = model();
    for i in 0..1000 {
        model.take_late_call(&format!("call {i}").into());
    }
    assert_eq!((model.made.len(), model.n_refused()), (64, 936));
    // Without an execution there is no window.
    assert_eq!(model.close(Timestamp::EPOCH), OperationScore::NORMAL);
    window(&mut model, 1, Vec::new);
    assert!(model.known().count() <= 64);
}

#[test]
fn what_is_out_of_range_is_named_and_another_bound_refuses_a_state() {
    let error = OperationCalls::new(OperationCallsConfig {
        warm_up: 0,
        history: f64::NAN,
        new_for: 0,
        min_share: 2.0,
        limit: 0.0,
        min_increase: 0.0,
        max_calls: 0,
    })
    .unwrap_err();
    assert_eq!(error.violations().len(), 7, "{error}");
    let config = OperationCallsConfig {
        max_calls: 1,
        ..OperationCallsConfig::default()
    };
    let mut small = OperationCalls::new(config).unwrap();
    assert!(small.load(&trained().save().unwrap()).is_err());
}
