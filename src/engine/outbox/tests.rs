use std::time::Duration;

use homeostasis_core::port::{MemoryStore, NotifierFn};
use homeostasis_core::record::Severity;
use homeostasis_core::{IncidentId, Rng, Timestamp};

use super::*;

fn outbox() -> Outbox {
    let pager: Arc<dyn Notifier> = Arc::new(NotifierFn::new(|_: &Notification| {}));
    Outbox::new([("pager".to_owned(), pager)].into())
}

fn letter(what: &str, document: &str) -> Letter {
    let (id, at) = (IncidentId::from_u128(7), Timestamp::from_secs(60));
    let mut notification = Notification::new(id, Severity::Sev1, at, what, "");
    notification.key = what.to_owned();
    Letter {
        channel: "pager".to_owned(),
        notification,
        document: document.to_owned(),
    }
}

/// What is sent next.
fn next(outbox: &Outbox, now: Timestamp) -> (Notification, Vec<u64>) {
    match outbox.channels["pager"].state().queue.next(now, false) {
        Next::Send(message, ids) => (*message, ids),
        other => panic!("{other:?}"),
    }
}

fn deliver(outbox: &Outbox, ids: &[u64], now: Timestamp) -> Vec<Option<String>> {
    let mut state = outbox.channels["pager"].state();
    let told = state.queue.delivered(ids, now).into_iter();
    told.map(|it| it.document).collect()
}

#[test]
fn a_message_that_waits_keeps_the_document_it_gets_later() {
    let (outbox, now) = (outbox(), Timestamp::from_secs(60));
    outbox.queue_unkept(vec![letter("level1", "outbox/7/1/pager")]);
    let (_, ids) = next(&outbox, now);
    // The store is back while it is sent, and the send fails: it must outlive this process.
    outbox.queue(vec![letter("level1", "outbox/7/2/pager")]);
    let channel = &outbox.channels["pager"];
    assert!(channel.state().done.is_empty());
    let report = ErrorReport::message(ErrorKind::Transient, "dead");
    let mut rng = Rng::from_seed(1);
    channel.state().queue.failed(&ids, &report, now, &mut rng);
    let (_, ids) = next(&outbox, now + Duration::from_secs(5));
    assert_eq!(
        deliver(&outbox, &ids, now),
        [Some("outbox/7/2/pager".to_owned())]
    );
    // What was told before it could be written is deleted at once.
    outbox.queue_unkept(vec![letter("level2", "outbox/7/3/pager")]);
    let (_, ids) = next(&outbox, now);
    assert_eq!(deliver(&outbox, &ids, now), [None]);
    outbox.queue(vec![letter("level2", "outbox/7/4/pager")]);
    let done: Vec<_> = channel.state().done.iter().cloned().collect();
    assert_eq!(done, ["outbox/7/4/pager"]);
}

#[test]
fn a_name_that_is_given_again_is_another_message() {
    let (outbox, now) = (outbox(), Timestamp::from_secs(60));
    let name = "outbox/7/00000007/pager";
    outbox.queue_unkept(vec![letter("level1", name)]);
    outbox.queue(vec![letter("escalated", name)]);
    let (first, ids) = next(&outbox, now);
    assert_eq!(
        (&first.key[..], deliver(&outbox, &ids, now)),
        ("level1", vec![None])
    );
    let (second, ids) = next(&outbox, now);
    assert_eq!(second.key, "escalated");
    assert_eq!(deliver(&outbox, &ids, now), [Some(name.to_owned())]);
}

#[tokio::test]
async fn a_document_that_was_never_written_holds_up_no_deletion() {
    let store = MemoryStore::default();
    let written = ["outbox/a", "outbox/c"].into_iter();
    let commit = written.fold(Commit::default(), |it, name| {
        it.put(name, Version::NONE, serde_json::json!(1))
    });
    store.commit(commit).await.unwrap();
    let names = ["outbox/a", "outbox/b", "outbox/c"].map(str::to_owned);
    assert!(delete_all(&store, names.into()).await.is_empty());
    assert!(store.documents(PREFIX, 9).await.unwrap().is_empty());
}
