//! Evidence: saved files as texts, and bundles of any shape, calls in circles among them.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use homeostasis::{Homeostasis, IncidentEvidence};
use homeostasis::core::Timestamp;
use homeostasis::rca::{EvidenceBundle, EvidenceFusion, EvidenceSeries, SeriesKind, Worse};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

const SERVICES: [&str; 5] = ["a", "b", "c", "d", "e"];
const METRICS: [&str; 5] = ["cpu", "memory", "latency_p99", "error_ratio", "rows"];

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
});

fn value(u: &mut Unstructured<'_>) -> Result<f64> {
    Ok(match u.arbitrary::<u8>()? {
        0..=9 => u.arbitrary()?,
        small => f64::from(small) / 8.0,
    })
}

fn bundle(u: &mut Unstructured<'_>) -> Result<EvidenceBundle> {
    let at = |secs: u8| Timestamp::from_secs(1_000 + i64::from(secs));
    let mut bundle = EvidenceBundle::new(at(u.arbitrary()?), at(u.arbitrary()?));
    for _ in 0..u.int_in_range(0..=12)? {
        let metric = *u.choose(&METRICS)?;
        let callee = u.arbitrary::<bool>()?.then(|| u.choose(&SERVICES)).transpose()?;
        let calm = (0..u.int_in_range(0..=12)?).map(|_| value(u)).collect::<Result<_>>()?;
        let mut points = Vec::new();
        for _ in 0..u.int_in_range(0..=12)? {
            points.push((at(u.arbitrary()?), value(u)?));
        }
        bundle.series.push(EvidenceSeries {
            service: (*u.choose(&SERVICES)?).to_owned(),
            callee: callee.map(|callee| (*callee).to_owned()),
            metric: metric.to_owned(),
            kind: SeriesKind::of_metric(metric),
            worse: *u.choose(&[Worse::Up, Worse::Down, Worse::Either])?,
            calm,
            points,
        });
    }
    for _ in 0..u.int_in_range(0..=9)? {
        let (caller, callee) = (*u.choose(&SERVICES)?, *u.choose(&SERVICES)?);
        let callees = bundle.calls.entry(caller.to_owned()).or_default();
        callees.insert(callee.to_owned());
    }
    Ok(bundle)
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(read) = IncidentEvidence::from_json(&text) {
        let again = read.to_json().expect("what was read can be written");
        assert_eq!(IncidentEvidence::from_json(&again).expect("and read"), read);
        let looked = RUNTIME.block_on(Homeostasis::empty().diagnose(&read));
        let _ = looked.expect("nobody who could fail looked at it");
    }
    let _ = EvidenceBundle::from_json(&text).map(|bundle| EvidenceFusion.rank(&bundle));
    if let Ok(bundle) = bundle(&mut Unstructured::new(data)) {
        let ranking = EvidenceFusion.rank(&bundle);
        assert_eq!(ranking, EvidenceFusion.rank(&bundle), "the same evidence, the same answer");
        assert!(ranking.suspects.len() <= SERVICES.len());
    }
});
