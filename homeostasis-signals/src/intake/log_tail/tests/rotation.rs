//! Renamed, copied, truncated, compressed and put back.

use super::*;

#[tokio::test]
async fn after_rotation_the_old_file_is_read_until_it_is_silent() {
    let log = Log::new();
    log.append("a\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["a"]);
    log.rename_to("shop.log.1");
    append(&log.beside("shop.log.1"), "b\n");
    assert_eq!(poll(&tail).await, ["b"]);
    // One writer has opened the new file, another one has not.
    log.append("d\n");
    assert!(poll(&tail).await.is_empty());
    log.pass(1);
    append(&log.beside("shop.log.1"), "c\nno end");
    assert_eq!(poll(&tail).await, ["c"]);
    log.pass(1);
    assert!(poll(&tail).await.is_empty());
    log.pass(2);
    assert_eq!(poll(&tail).await, ["no end", "d"]);
    assert_eq!(tail.stats().n_rotations, 1);
    assert_eq!(tail.position().unwrap().line().to_string(), "1:2");
}

#[tokio::test]
async fn files_rotated_between_two_polls_are_read_in_order() {
    for names in [
        ["shop.log.2", "shop.log.1"],
        ["shop-20261121.log", "shop-20261122.log"],
    ] {
        let log = Log::new();
        log.append("the first file\n");
        let tail = log.tail();
        assert_eq!(poll(&tail).await, ["the first file"]);
        let stored = tail.position().unwrap();
        log.append("its end\n");
        log.rename_to(names[0]);
        log.append("the second file\n");
        log.rename_to(names[1]);
        log.append("the third file\n");
        for tail in [log.resume(&stored), tail] {
            let mut read = poll(&tail).await;
            log.pass(2);
            read.extend(poll(&tail).await);
            assert_eq!(read, ["its end", "the second file", "the third file"]);
            assert_eq!(tail.position().unwrap().generation, 2);
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_read_again_even_if_it_has_outgrown_the_old_place() {
    let log = Log::new();
    log.append("first\nsecond\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 2);
    fs::write(&log.path, "x\n").unwrap();
    assert_eq!(poll(&tail).await, ["x"]);
    fs::write(&log.path, "longer than it was before\nand more\n").unwrap();
    assert_eq!(poll(&tail).await, ["longer than it was before", "and more"]);
    assert_eq!(tail.stats().n_truncations, 2);
}

#[tokio::test]
async fn what_was_unread_before_a_truncation_is_read_in_the_copy() {
    let log = Log::new();
    log.append("a line that was read\nhalf of");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["a line that was read"]);
    let stored = tail.position().unwrap();
    log.append(" a line\n");
    log.copy_and_truncate_to("shop.log.1");
    assert_eq!(poll(&tail).await, ["half of a line"]);
    log.append("after\n");
    fs::rename(log.beside("shop.log.1"), log.beside("shop.log.2")).unwrap();
    log.copy_and_truncate_to("shop.log.1");
    log.append("at last\n");
    assert_eq!(poll(&tail).await, ["after"]);
    log.pass(2);
    assert_eq!(poll(&tail).await, ["at last"]);
    assert_eq!(tail.stats().n_losses, 0);
    let tail = log.resume(&stored);
    let mut read = poll(&tail).await;
    log.pass(2);
    read.extend(poll(&tail).await);
    assert_eq!(read, ["half of a line", "after", "at last"]);
}

#[tokio::test]
async fn a_copy_in_the_making_is_not_read_beside_its_original() {
    let log = Log::new();
    log.append("the first file\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["the first file"]);
    log.copy_and_truncate_to("shop.log.2");
    log.append("the second file\nand more of it\n");
    append(&log.beside("shop.log.1"), "the second file\nand");
    assert_eq!(poll(&tail).await, ["the second file", "and more of it"]);
    append(&log.beside("shop.log.1"), " more of it\n");
    log.truncate();
    assert!(poll(&tail).await.is_empty());
    assert_eq!(tail.stats().n_lines, 3);
}

#[tokio::test]
async fn a_stored_position_resumes_without_loss_through_a_rotation() {
    let log = Log::new();
    log.append("a\nb\npar");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["a", "b"]);
    let position = tail.position().unwrap();
    drop(tail);
    log.append("tial\n");
    log.rename_to("shop-2026.log");
    log.append("new\n");
    let tail = log.resume(&position);
    assert_eq!(poll(&tail).await, ["partial"]);
    log.pass(1);
    assert!(poll(&tail).await.is_empty());
    log.pass(1);
    assert_eq!(poll(&tail).await, ["new"]);
    // The number of the old file may be used again: the content tells.
    fs::remove_file(log.beside("shop-2026.log")).unwrap();
    fs::write(&log.path, "other\n").unwrap();
    let tail = log.resume(&position);
    let batch = tail.read().await.unwrap();
    assert_eq!(batch.signals.len(), 1);
    assert!(batch.signals[0].id > position.line());
    assert!(
        matches!(&batch.losses[..], [TailLoss::Gone { offset: 4, .. }]),
        "{:?}",
        batch.losses
    );
}

#[tokio::test]
async fn a_new_file_that_begins_like_the_old_one_is_not_taken_for_it() {
    let banner = "shop 4.2, built of the main branch\n";
    let log = Log::new();
    log.append(banner);
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 1);
    let position = tail.position().unwrap();
    drop(tail);
    log.append("unread\n");
    log.rename_to("shop.log.1");
    log.append(format!("{banner}new\n"));
    let tail = log.resume(&position);
    assert_eq!(poll(&tail).await, ["unread"]);
    log.pass(2);
    assert_eq!(poll(&tail).await, [banner.trim_end(), "new"]);
    // Nor if the old one was compressed meanwhile.
    fs::rename(log.beside("shop.log.1"), log.beside("shop.log.1.gz")).unwrap();
    fs::write(log.beside("new"), "\x1f\u{8b}").unwrap();
    fs::rename(log.beside("new"), log.beside("shop.log.1.gz")).unwrap();
    let batch = log.resume(&position).read().await.unwrap();
    assert!(
        matches!(&batch.losses[..], [TailLoss::Compressed { .. }]),
        "{:?}",
        batch.losses
    );
    assert_eq!(batch.signals.len(), 2);
}

#[tokio::test]
async fn a_log_that_was_put_back_under_another_number_is_gone_on_with() {
    let log = Log::new();
    log.append("a line that is long enough\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await.len(), 1);
    let position = tail.position().unwrap();
    fs::copy(&log.path, log.beside("put back")).unwrap();
    fs::rename(log.beside("put back"), &log.path).unwrap();
    log.append("next\n");
    let batch = log.resume(&position).read().await.unwrap();
    assert_eq!((batch.signals.len(), batch.losses.len()), (1, 0));
}

#[tokio::test]
async fn a_file_that_was_compressed_unread_is_a_loss_by_name() {
    let log = Log::new();
    log.append("read\n");
    let tail = log.tail();
    assert_eq!(poll(&tail).await, ["read"]);
    let position = tail.position().unwrap();
    drop(tail);
    log.append("never read\n");
    log.rename_to("shop.log.2");
    fs::remove_file(log.beside("shop.log.2")).unwrap();
    fs::write(log.beside("shop.log.2.gz"), "\x1f\u{8b}").unwrap();
    fs::write(log.beside("shop.log.1"), "still there\n").unwrap();
    log.append("now\n");
    let tail = log.resume(&position);
    let batch = tail.read().await.unwrap();
    assert_eq!(batch.signals.len(), 1);
    let said: Vec<_> = batch.losses.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("shop.log.2.gz: compressed before"),
        "{said:?}"
    );
    assert_eq!(tail.stats().n_losses, 1);
    log.pass(2);
    assert_eq!(poll(&tail).await, ["now"]);
}
