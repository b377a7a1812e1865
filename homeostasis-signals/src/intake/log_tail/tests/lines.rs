//! Where lines and records begin and end.

use super::*;

#[tokio::test]
async fn a_half_line_waits_for_its_end() {
    let log = Log::new();
    let tail = log.tail();
    assert!(poll(&tail).await.is_empty() && tail.position().is_none());
    log.append("{\"msg\":\"one\"}\n{\"msg\":");
    assert_eq!(poll(&tail).await, ["one"]);
    assert_eq!(tail.position().unwrap().offset, 14);
    log.append("\"two\"}\r\nthree\n");
    assert_eq!(poll(&tail).await, ["two", "three"]);
}

#[tokio::test]
async fn an_existing_file_is_begun_at_its_end_and_never_inside_a_line() {
    let log = Log::new();
    log.append("old\nha");
    let tail = log.open(LogTailConfig {
        start_at: StartAt::End,
        ..log.config()
    });
    assert!(poll(&tail).await.is_empty());
    log.append("lf\nnew\n");
    assert_eq!(poll(&tail).await, ["half", "new"]);
}

#[tokio::test]
async fn long_lines_are_cut_and_bytes_that_are_no_text_replaced() {
    let log = Log::new();
    let mut long = vec![b'x'; 500_000];
    long.extend(b"\n\xff\xfe bad\n{\"msg\":\"after\"}\n");
    log.append(long);
    let tail = log.open(LogTailConfig {
        max_line_bytes: 1000,
        max_poll_bytes: 100_000,
        ..log.config()
    });
    let mut lines = Vec::new();
    for n_polls in 1.. {
        lines.extend(tail.poll().await.unwrap());
        if lines.len() == 3 {
            assert_eq!(n_polls, 6);
            break;
        }
        assert!(n_polls < 20, "{lines:?}");
    }
    let Signal::Log(cut) = lines.remove(0) else {
        panic!()
    };
    assert_eq!(
        (cut.message.len(), &*cut.fields["truncated"]),
        (1000, "true")
    );
    let rest: Vec<_> = lines.into_iter().map(message).collect();
    assert_eq!(rest, ["\u{fffd}\u{fffd} bad", "after"]);
    let stats = tail.stats();
    assert_eq!((stats.n_truncated_lines, stats.n_invalid_utf8), (1, 1));
}

#[tokio::test]
async fn the_hole_of_a_writer_that_missed_the_truncation_is_passed_over() {
    let log = Log::new();
    let mut writer = fs::File::create(&log.path).unwrap();
    writer.write_all(&vec![b'x'; 70_000]).unwrap();
    writer.write_all(b"\n").unwrap();
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 1);
    log.truncate();
    writer.write_all(b"after the hole\nand more\n").unwrap();
    assert_eq!(poll(&tail).await, ["after the hole", "and more"]);
    let stats = tail.stats();
    assert_eq!((stats.n_nul_bytes, stats.n_truncations), (70_001, 1));
    let position = tail.position().unwrap();
    writer.write_all(b"next\n").unwrap();
    assert_eq!(poll(&log.resume(&position)).await, ["next"]);
}

/// Says that every multi-line record carries an error.
#[derive(Debug)]
struct Marker;

impl Enricher for Marker {
    fn enrich(&self, record: &mut LogRecord) {
        if record.message.contains('\n') {
            record.error = Some(Box::new(ErrorEvent::new(
                "java",
                "Marked",
                record.message.clone(),
            )));
        }
    }
}

#[tokio::test]
async fn a_stack_trace_is_one_record_and_is_not_passed_before_it_is_whole() {
    let log = Log::new();
    let joining = LogTailConfig {
        multiline: LogTailConfig::default_multiline(),
        ..log.config()
    };
    let tail = log.open(joining.clone()).with_enricher(Arc::new(Marker));
    log.append("{\"msg\":\"json waits for nothing\"}\n2026-11-22 01:00:00 ERROR cannot book\n");
    assert_eq!(poll(&tail).await, ["json waits for nothing"]);
    assert_eq!(tail.position().unwrap().offset, 33);
    log.append("java.lang.IllegalStateException: no price\n\tat shop.Orders.book(Orders.java:7)\n");
    assert!(poll(&tail).await.is_empty());
    let held = tail.position().unwrap();
    assert_eq!(held.offset, 33);
    log.pass(1);
    let batch = tail.read().await.unwrap();
    assert_eq!(batch.signals[0].id.offset, 33);
    let Signal::Log(record) = &batch.signals[0].signal else {
        panic!()
    };
    assert_eq!(
        (record.level, record.message.lines().count()),
        (Level::Error, 3)
    );
    assert!(
        record
            .error
            .as_ref()
            .unwrap()
            .message
            .contains("Orders.java:7")
    );
    assert_eq!((tail.stats().n_joined, batch.signals.len()), (1, 1));
    assert_eq!(
        batch.position.unwrap().offset,
        fs::metadata(&log.path).unwrap().len()
    );
    // After a crash while it was held it comes again, whole.
    let tail = LogTail::resume(joining, held, log.clock()).unwrap();
    assert!(poll(&tail).await.is_empty());
    log.append("{\"msg\":\"next\"}\n");
    let read = poll(&tail).await;
    assert_eq!((read.len(), read[0].lines().count()), (2, 3));
}

#[tokio::test]
async fn lines_that_are_not_of_the_format_are_counted() {
    let log = Log::new();
    let mut config = log.config();
    config.lines.format = crate::intake::LineFormat::Logfmt;
    config.lines.keep_plain_lines = false;
    let tail = log.open(config);
    log.append("level=info msg=one\n\nnot logfmt\nmsg=two\n");
    assert_eq!(poll(&tail).await, ["one", "two"]);
    let stats = tail.stats();
    assert_eq!(
        (stats.n_lines, stats.n_unmatched, stats.n_skipped),
        (4, 1, 2)
    );
}
