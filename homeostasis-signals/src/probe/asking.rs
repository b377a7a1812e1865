//! Asks one probe: within its time limit, again if it fails, and whatever it does.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use homeostasis_core::signal::Signal;
use homeostasis_core::{Context, Rng, Timestamp, timeout};

use super::probing::{Missed, Probe};
use super::reading::Reading;

/// The longest pause before a probe that failed is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks `probe` once, with its time limit, and whatever happens gives a reading whose reports are
/// of the probe's tier.
///
/// This is what a schedule does at each attempt; verifiers use it to ask now.
pub async fn ask(probe: &dyn Probe, cx: &Context) -> Reading {
    let limit = probe.timeout();
    let within = cx.clone().within(limit);
    let asked = timeout(&**cx.clock(), limit, no_panic(probe.probe(&within))).await;
    let mut reading = match asked {
        Ok(Ok(reading)) => reading,
        Ok(Err(message)) => missed(probe, cx, &Missed::Panicked(message)),
        Err(_) => missed(probe, cx, &Missed::TimedOut(limit)),
    };
    let (tier, interval) = (probe.tier(), probe.interval());
    for report in reading.reports_mut() {
        (report.tier, report.interval) = (tier, Some(interval));
    }
    reading
}

/// As [`ask`], but a failure is asked about again, as often as the probe says and as `until` allows:
/// no attempt begins whose time limit would end later.
///
/// Of an attempt that was not the last, only log records, spans and changes are kept.
pub(super) async fn ask_until_sure(
    probe: &dyn Probe,
    cx: &Context,
    rng: &mut Rng,
    until: Timestamp,
) -> Reading {
    let longest = (probe.interval() / 10).min(LONGEST_PAUSE);
    let mut records: Vec<Signal> = Vec::new();
    let mut attempts = 1;
    let mut reading = ask(probe, cx).await;
    while reading.is_failure() && attempts <= probe.retries() {
        let pause = longest / 2 + rng.jitter(longest / 2);
        if cx.now() + pause + probe.timeout() > until {
            break;
        }
        cx.clock().sleep(pause).await;
        records.extend(reading.into_records());
        reading = ask(probe, cx).await;
        attempts += 1;
    }
    for report in reading.reports_mut() {
        report.attempts = attempts;
    }
    reading.signals.splice(0..0, records);
    reading
}

fn missed(probe: &dyn Probe, cx: &Context, why: &Missed) -> Reading {
    let missed = AssertUnwindSafe(|| probe.missed(cx.now(), why));
    catch_unwind(missed).unwrap_or_default()
}

/// A future whose `Drop` may panic: dropped at its time limit, or after a panic, it must not take the
/// schedule with it.
struct Guarded<F>(Option<Pin<Box<F>>>);

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        let future = self.0.take();
        // The panic hook has told of it; the reading stays what it is.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
    }
}

/// Runs `future`; a panic in it becomes its message, and one in its `Drop` ends here.
async fn no_panic<F: Future>(future: F) -> Result<F::Output, String> {
    let mut guarded = Guarded(Some(Box::pin(future)));
    poll_fn(move |cx| {
        // Only its drop empties it.
        let Some(future) = guarded.0.as_mut() else {
            return Poll::Pending;
        };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(message_of(&*payload))),
        }
    })
    .await
}

/// What a panic says.
pub(super) fn message_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a payload that is not text".to_owned())
}
