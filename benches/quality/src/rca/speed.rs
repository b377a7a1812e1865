//! How long a ranking takes by the number of series.

use std::time::Duration;

use homeostasis::core::{Rng, Timestamp};
use homeostasis::rca::{EvidenceBundle, EvidenceFusion, EvidenceSeries, SeriesKind, Worse};

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
    let round = |_| {
        let start = now();
        std::hint::black_box(EvidenceFusion.rank(std::hint::black_box(&bundle)));
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}
