//! How much work something is, on a machine that does other work beside it.

use std::time::{Duration, Instant};

/// The processor time that `work` takes on this thread, and what it gives.
///
/// A busy machine makes a test wait but not work: bounds on this hold where bounds on the time that
/// passes do not. It is known to some milliseconds, and only on Linux; elsewhere it is the time that
/// passes.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use homeostasis::core::testing::processor_time;
///
/// let (sum, took) = processor_time(|| (0..1000_u64).sum::<u64>());
/// assert_eq!(sum, 499_500);
/// assert!(took < Duration::from_secs(10));
/// ```
pub fn processor_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "where nothing better is known")]
    let begun = Instant::now();
    let before = on_processor();
    let result = work();
    let took = match (before, on_processor()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => begun.elapsed(),
    };
    (result, took)
}

/// How long this thread has run so far.
fn on_processor() -> Option<Duration> {
    // Time on the processor, time in the queue, number of turns.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = told.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn work_counts_and_waiting_does_not() {
        let ((), waited) = processor_time(|| std::thread::sleep(Duration::from_millis(300)));
        let (_, worked) = processor_time(|| {
            let (mut turns, begun) = (0_u64, on_processor().unwrap());
            while on_processor().unwrap() < begun + Duration::from_millis(100) {
                turns += 1;
            }
            turns
        });
        assert!(waited < Duration::from_millis(100), "{waited:?}");
        assert!(worked >= Duration::from_millis(100), "{worked:?}");
    }
}
