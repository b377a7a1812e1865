//! A third party's kernel goes from its conformance suite into a detector of every series.
//!
//! Run it: `cargo run --example custom_kernel`. It needs no network and takes a second.
//!
//! [`my_plugin`] stands for somebody else's crate: it depends on `homeostasis-core` alone. The rest is the host. The
//! program ends with 0 only if the kernel and the detector made of it keep their contracts, and the fault is found in time.
#![expect(
    clippy::print_stdout,
    reason = "an example talks to the person who runs it"
)]

use std::process::ExitCode;
use std::time::Duration;

use homeostasis::core::Timestamp;
use homeostasis::core::stage::SeriesDetector;
use homeostasis::core::testing::{detector, kernel};
use homeostasis::detect::{PerSeries, Selector};

use my_plugin::Frozen;

/// The plug-in: one file.
mod my_plugin {
    use std::time::Duration;

    use homeostasis_core::record::{Direction, Expectation};
    use homeostasis_core::stage::{DetectError, KernelScore, SeriesDetector};
    use homeostasis_core::{Score, Timestamp};
    use serde_json::{Value, json};

    /// Finds a gauge that no longer moves: its exporter hangs and repeats the last number it knew.
    #[derive(Debug, Clone)]
    pub(crate) struct Frozen {
        longest: Duration,
        run: Option<Run>,
    }

    /// The present value, since when it is repeated, and when it was last seen.
    type Run = (f64, Timestamp, Timestamp);

    impl Frozen {
        /// A kernel for gauges that repeat a value for at most `longest`.
        pub(crate) fn new(longest: Duration) -> Self {
            Self { longest, run: None }
        }

        /// For how many times `longest` the value is repeated.
        fn ratio(&self, since: Timestamp, at: Timestamp) -> f64 {
            at.since(since).as_secs_f64() / self.longest.as_secs_f64()
        }
    }

    impl SeriesDetector for Frozen {
        fn update(&mut self, at: Timestamp, value: Option<f64>) -> KernelScore {
            let expected = Expectation::Words("a value that moves".to_owned());
            // NaN and infinities are missing values, as `None` is.
            let Some(value) = value.filter(|value| value.is_finite()) else {
                return KernelScore::normal(expected);
            };
            let since = match self.run {
                Some((repeated, since, _)) if repeated == value => since,
                _ => at,
            };
            // What is not later than the last sample is scored and not learned.
            if self.run.is_none_or(|(_, _, last)| at > last) {
                self.run = Some((value, since, at));
            }
            let square = self.ratio(since, at).powi(2);
            KernelScore {
                // 0 for none, one half at the limit, never above 1.
                score: Score::saturating(square / (1.0 + square)),
                surprise: square.ln_1p(),
                direction: Direction::Other,
                expected,
            }
        }

        fn explain(&self) -> Option<String> {
            let (value, since, last) = self.run?;
            let minutes = last.since(since).as_secs() / 60;
            let is_frozen = self.ratio(since, last) > 1.0;
            is_frozen.then(|| format!("repeats {value} for {minutes} minutes"))
        }

        fn save(&self) -> Option<Value> {
            Some(json!({ "run": self.run }))
        }

        fn load(&mut self, state: &Value) -> Result<(), DetectError> {
            let invalid = |why: String| DetectError::invalid("state of frozen", why);
            let run = state
                .get("run")
                .ok_or_else(|| invalid("expected `run`".to_owned()))?;
            self.run =
                serde_json::from_value(run.clone()).map_err(|error| invalid(error.to_string()))?;
            Ok(())
        }
    }
}

/// For how long a gauge may stand still.
const LONGEST: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    // The contract of kernels. It panics with what was expected and what was found if the kernel breaks it. A constant
    // is what this kernel is there for, so it need not be silent on any.
    kernel::Suite::new(|| Frozen::new(LONGEST))
        .constants(&[])
        .finds_something()
        .run();
    println!("kernel    frozen keeps the contract of kernels");

    // Lifted, it watches every series, with alerting, and must keep the contract of detectors. What that suite shows
    // always moves, so nothing need be found.
    detector::conformance(|| {
        let make = |_: &_| Frozen::new(LONGEST);
        PerSeries::new("frozen", Selector::all(), make).expect("a name that is not empty")
    });
    println!("detector  frozen keeps the contract of detectors");

    // A temperature that stops moving after two hours.
    let mut frozen = Frozen::new(LONGEST);
    for minute in 0..180_u32 {
        let celsius = 40.0 + f64::from(minute.min(120) * 7 % 13) / 4.0;
        let at = Timestamp::from_secs(60 * i64::from(minute));
        let judged = frozen.update(at, Some(celsius));
        if judged.score.get() > 0.5 {
            let said = frozen.explain().unwrap_or_default();
            println!("minute    {minute}: the temperature {said}");
            return if minute == 131 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
    }
    println!("FAILED    a gauge that stood still for an hour was not found");
    ExitCode::FAILURE
}
