//! The shipped classifier is what the committed corpus teaches.

#![cfg(feature = "classifier")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use homeostasis_rca::{ClassifierTrainer, ErrorClassifier, Evaluation, LabeledError, RuleSet};

fn corpus() -> Vec<LabeledError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let of = |name: &str| {
        let path = folder.join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        LabeledError::read_lines(name, &text).unwrap()
    };
    [of("python.jsonl"), of("rust.jsonl")].concat()
}

/// `HOMEOSTASIS_BLESS=1` trains and writes it, with its cross-validation.
#[test]
fn the_shipped_model_is_learned_from_the_corpus() {
    let rows = corpus();
    if std::env::var_os("HOMEOSTASIS_BLESS").is_some() {
        let model = ClassifierTrainer::new().train(&rows).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/classifier/shipped.json");
        std::fs::write(path, model.to_json() + "\n").unwrap();
        let by_family = ClassifierTrainer::new().evaluate_by_family(&rows).unwrap();
        let (accuracy, macro_f1) = (by_family.accuracy, by_family.macro_f1);
        eprintln!("families held back: accuracy {accuracy:.3}, macro-F1 {macro_f1:.3}");
        return;
    }
    let shipped = ErrorClassifier::shipped().unwrap();
    let trained = ClassifierTrainer::new().folds(0).train(&rows).unwrap();
    assert_eq!(
        trained.training(),
        shipped.training(),
        "the corpus changed: train it anew"
    );
    assert_eq!(trained.classes(), shipped.classes());
    assert_eq!(trained.n_features(), shipped.n_features());
    for row in &rows {
        let (ours, theirs) = (
            trained.predict(&row.text).unwrap(),
            shipped.predict(&row.text).unwrap(),
        );
        // Another machine's linear algebra may round the last steps of the fit another way.
        if theirs.confidence() > 0.5 {
            assert_eq!(ours.category(), theirs.category(), "{:?}", row.text);
        }
    }
}

#[test]
fn the_shipped_model_answers_only_what_it_is_sure_of() {
    let shipped = ErrorClassifier::shipped().unwrap();
    let evaluation = shipped.evaluation();
    assert!(evaluation.rows >= 600, "{}", evaluation.rows);
    assert!(evaluation.accuracy > 0.75, "{}", evaluation.accuracy);
    let mut n_refused = 0;
    for row in corpus() {
        let found = shipped.predict(&row.text).unwrap();
        let is_sure = found.confidence() >= shipped.threshold();
        let answer = is_sure.then(|| (found.category(), found.confidence()));
        assert_eq!(shipped.answer(&row.text), answer);
        n_refused += usize::from(!is_sure);
    }
    assert!(n_refused > 0);
}

/// A confidence is its author's judgement; this holds it against the corpus, tenth by tenth. Rules
/// were written with the corpus in view: it shows mistakes, not how good they are elsewhere.
#[test]
fn rules_that_are_sure_are_right_on_the_corpus() {
    let rules = RuleSet::shipped().unwrap();
    let answers = corpus().into_iter().map(|row| {
        let best = rules.best(&row.text).map(|found| found.rule);
        (
            row.category,
            best.map(|rule| (rule.category, rule.confidence.get())),
        )
    });
    let found = Evaluation::of(&answers.collect::<Vec<_>>());
    for bin in &found.reliability {
        let (from, n, precision) = (bin.from, bin.answers, bin.precision);
        eprintln!("confidence from {from:.1}: {n} errors, {precision:.3} right");
    }
    let sure: Vec<_> = found
        .reliability
        .iter()
        .filter(|bin| bin.from >= 0.8)
        .collect();
    assert!(
        sure.iter().map(|bin| bin.answers).sum::<usize>() >= 100,
        "{sure:?}"
    );
    assert!(sure.iter().all(|bin| bin.precision >= 0.95), "{sure:?}");
}
