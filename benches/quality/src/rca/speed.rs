//! How long a ranking takes by the number of series.

use std::time::Duration;

use homeostasis::core::{Rng, Timestamp};
use homeostasis::rca::{
    EvidenceBundle, EvidenceChange, EvidenceFusion, EvidenceSeries, SeriesKind, Worse,
};

use super::now;

const CALM: u32 = 1000;
const SINCE: i64 = 10;
const ROUNDS: u32 = 5;

/// Milliseconds to rank `n_series` series, four for each service, with a thousand values of calm; of
/// five rounds the fastest, since others on the machine only slow it down.
pub(crate) fn milliseconds(n_series: u32) -> f64 {
    let mut rng = Rng::from_seed(7);
    let onset = Timestamp::from_secs(600_000);
    let mut bundle = EvidenceBundle::new(onset, onset + Duration::from_secs(600));
    for idx in 0..n_series {
        let points = (0..SINCE).map(|i| (Timestamp::from_secs(600_000 + 60 * i), 2.0 + rng.unit()));
        let points = points.collect();
        bundle.series.push(EvidenceSeries {
            service: format!("service-{}", idx / 4),
            callee: None,
            metric: format!("metric_{}", idx % 4),
            kind: [
                SeriesKind::Cpu,
                SeriesKind::Memory,
                SeriesKind::Latency,
                SeriesKind::Errors,
            ][usize::try_from(idx % 4).unwrap_or_default()],
            worse: Worse::Up,
            calm: (0..CALM).map(|_| rng.unit()).collect(),
            points,
        });
    }
    fastest(&bundle)
}

/// Milliseconds to rank what is meant to take long: 400 series with 20,000 values of calm and
/// extremes since, and a change of two lines of a megabyte each and of a hundred thousand short ones.
pub(crate) fn hostile_milliseconds() -> f64 {
    let onset = Timestamp::from_secs(600_000);
    let mut bundle = EvidenceBundle::new(onset, onset + Duration::from_secs(600));
    for idx in 0..400 {
        let extreme = if idx % 2 == 0 { f64::MAX } else { f64::MIN };
        let points = (0..SINCE).map(|i| (Timestamp::from_secs(600_000 + 60 * i), extreme));
        bundle.series.push(EvidenceSeries {
            service: format!("service-{idx}"),
            callee: (idx % 4 == 0).then(|| format!("service-{}", idx + 1)),
            metric: "cpu".to_owned(),
            kind: SeriesKind::Cpu,
            worse: Worse::Either,
            calm: (0..20_000).map(|i| f64::from(i % 7)).collect(),
            points: points.collect(),
        });
    }
    let (long, nines) = ("x".repeat(1 << 20), "9".repeat(1 << 20));
    let short = "-keep(1)\n+keep(100)\n".repeat(50_000);
    bundle.changes.push(EvidenceChange {
        id: "huge".to_owned(),
        at: onset,
        service: "service-1".to_owned(),
        summary: String::new(),
        files: Vec::new(),
        diff: format!("-{long}\n+{nines}\n{short}"),
    });
    fastest(&bundle)
}

fn fastest(bundle: &EvidenceBundle) -> f64 {
    let round = |_| {
        let start = now();
        std::hint::black_box(EvidenceFusion.rank(std::hint::black_box(bundle)));
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
