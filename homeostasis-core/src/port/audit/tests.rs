use super::*;

type Tamper = fn(&mut Vec<AuditRecord>);

async fn chain(n: i64) -> (ChainHead, Vec<AuditRecord>) {
    let audit = MemoryAudit::default();
    for secs in 0..n {
        let entry = AuditEntry {
            at: Timestamp::from_secs(secs),
            tenant: TenantId::default(),
            principal: "ada".to_owned(),
            action: "approve".to_owned(),
            subject: format!("plan {secs}"),
            allowed: true,
            detail: serde_json::json!({"ratio": 0.1, "n": secs}),
        };
        audit.append(entry).await.unwrap();
    }
    let records = audit.records(0, usize::MAX).await.unwrap();
    (audit.head().await.unwrap(), records)
}

#[tokio::test]
async fn an_untouched_chain_verifies_also_from_the_middle_and_after_json() {
    let (head, records) = chain(5).await;
    assert_eq!(verify_chain(ChainHead::genesis(), &records), Ok(head));
    let middle = verify_chain(ChainHead::genesis(), &records[..2]).unwrap();
    assert_eq!(verify_chain(middle, &records[2..]), Ok(head));
    let text = serde_json::to_string(&records).unwrap();
    let read: Vec<AuditRecord> = serde_json::from_str(&text).unwrap();
    assert_eq!(verify_chain(ChainHead::genesis(), &read), Ok(head));
}

#[tokio::test]
async fn every_kind_of_tampering_is_found_where_it_happened() {
    let (head, records) = chain(5).await;
    let cases: [(Tamper, u64); 6] = [
        (|r| r[2].entry.principal = "bob".to_owned(), 2),
        (|r| r[2].entry.allowed = false, 2),
        (|r| drop(r.remove(1)), 1),
        (|r| r.swap(3, 4), 3),
        (|r| r[0].previous = r[1].hash, 0),
        // Re-hashing the changed record itself moves the break to the next one.
        (
            |r| {
                let mut entry = r[2].entry.clone();
                entry.subject = "another plan".to_owned();
                let before = ChainHead {
                    seq: 2,
                    hash: r[2].previous,
                };
                r[2] = before.append(entry).0;
            },
            3,
        ),
    ];
    for (tamper, seq) in cases {
        let mut changed = records.clone();
        tamper(&mut changed);
        let found = verify_chain(ChainHead::genesis(), &changed).unwrap_err();
        assert_eq!(found.seq, seq, "{found}");
    }
    let cut = verify_chain(ChainHead::genesis(), &records[..4]).unwrap();
    assert_ne!(cut, head);
}
