//! Whatever happens to the file and the reader, each line counts once.

use proptest::prelude::*;

use super::*;

/// What happens to a log and to the one who reads it.
#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    /// Without the end of the line, which the next one brings.
    AppendHalf,
    Rename,
    CopyTruncate,
    Poll,
    PollAndCommit,
    Crash,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6_u8).prop_map(Step::Append),
        1 => Just(Step::AppendHalf),
        2 => Just(Step::Rename),
        2 => Just(Step::CopyTruncate),
        3 => Just(Step::Poll),
        4 => Just(Step::PollAndCommit),
        2 => Just(Step::Crash),
        2 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_line_counts_exactly_once_whatever_rotates_and_crashes(
        steps in steps(),
        is_dated in any::<bool>(),
        max_poll_bytes in prop_oneof![Just(4096_usize), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(exactly_once(steps, is_dated, max_poll_bytes));
    }
}

async fn exactly_once(steps: Vec<Step>, is_dated: bool, max_poll_bytes: usize) {
    let log = Log::new();
    let config = || LogTailConfig {
        max_poll_bytes,
        ..log.config()
    };
    let (mut n_written, mut n_rotated, mut is_half) = (0_u32, 0_u32, false);
    // The first poll is what makes a position: a log that nobody looked at has no past.
    log.append(format!("{}\n", line(0)));
    n_written += 1;
    let mut tail = log.open(config());
    let (mut counted, mut taken) = (Vec::new(), Vec::new());
    let mut committed: Option<TailPosition> = None;
    let mut last_id = None;
    let drain = [
        Step::Wait,
        Step::Poll,
        Step::Wait,
        Step::Poll,
        Step::Wait,
        Step::PollAndCommit,
    ];
    let steps = std::iter::once(Step::PollAndCommit)
        .chain(steps)
        .chain([Step::Append(1)])
        .chain(drain.into_iter().cycle().take(120));
    for step in steps {
        match step {
            Step::Append(n) => {
                for _ in 0..n {
                    let text = line(n_written);
                    let start = if is_half { text.len() / 2 } else { 0 };
                    log.append(format!("{}\n", &text[start..]));
                    is_half = false;
                    n_written += 1;
                }
            }
            Step::AppendHalf if !is_half => {
                let text = line(n_written);
                log.append(&text[..text.len() / 2]);
                is_half = true;
            }
            // A line over two files is two lines.
            Step::Rename | Step::CopyTruncate
                if !is_half && fs::metadata(&log.path).is_ok_and(|m| m.len() > 0) =>
            {
                n_rotated += 1;
                let name = if is_dated {
                    format!("shop-2026-11-22-{n_rotated}.log")
                } else {
                    for n in (1..n_rotated).rev() {
                        let from = log.beside(&format!("shop.log.{n}"));
                        fs::rename(from, log.beside(&format!("shop.log.{}", n + 1))).unwrap();
                    }
                    "shop.log.1".to_owned()
                };
                if matches!(step, Step::Rename) {
                    log.rename_to(&name);
                    log.append("");
                } else {
                    log.copy_and_truncate_to(&name);
                }
            }
            Step::Poll | Step::PollAndCommit => {
                let batch = tail.read().await.unwrap();
                assert!(batch.losses.is_empty(), "{:?}", batch.losses);
                for tailed in batch.signals {
                    assert!(last_id.is_none_or(|last| last < tailed.id));
                    last_id = Some(tailed.id);
                    taken.push(message(tailed.signal));
                }
                if matches!(step, Step::PollAndCommit) {
                    counted.append(&mut taken);
                    committed = batch.position;
                }
            }
            Step::Crash => {
                taken.clear();
                let position = committed.clone().unwrap();
                last_id = None;
                let next = LogTail::resume(config(), position, log.clock()).unwrap();
                assert!(next.position().unwrap() == *committed.as_ref().unwrap());
                tail = next;
            }
            Step::Wait => log.pass(3),
            Step::AppendHalf | Step::Rename | Step::CopyTruncate => {}
        }
    }
    let expected: Vec<_> = (0..n_written).map(line).collect();
    assert_eq!(counted, expected);
}

fn line(n: u32) -> String {
    let rest = "x".repeat(usize::try_from(n * 7 % 90).unwrap());
    // Half a line tells it from every other one: what begins alike cannot be told apart.
    format!("{n:05} is the number of this line {rest}.")
}
