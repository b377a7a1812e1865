//! `homeostasis audit …`

use std::fmt::Write as _;
use std::sync::Arc;

use homeostasis::core::port::{AuditSink as _, ChainHead, Store};
use homeostasis::store::RedbStore;
use homeostasis::{StoreAudit, VerifyError};

use crate::Answer;

/// What the command says of itself.
pub(crate) const HELP: &str = "\
homeostasis audit COMMAND --store FILE [options]

commands of audit
  verify     checks every record of the audit log and tells the first that was edited, removed,
             reordered or cut off; prints each chain with its end, to be noted elsewhere
    --head CHAIN=SEQ:HASH   an end that was noted; it shows also what was rewritten as a whole
  export     prints the records as JSON lines
    --from SEQ        begins with this record of each chain

  --store FILE        the journal; the healer must not have it open
  --chain NAME        only this chain; there is one for each tenant and node

exit codes: 0 all is well; 1 a chain is broken, or there is none; 2 the command is wrong or the file cannot be read";

/// So many records are read at a time.
const PAGE: usize = 1000;

#[derive(Debug, PartialEq)]
enum Verb {
    Verify { noted: Vec<(String, ChainHead)> },
    Export { from: u64 },
}

#[derive(Debug, PartialEq)]
struct Command {
    verb: Verb,
    store: String,
    chain: Option<String>,
}

/// Runs it.
pub(crate) fn run(args: &[String]) -> Answer {
    let wrong = |message: String| Answer {
        err: format!("{message}\n\n{HELP}\n"),
        code: 2,
        ..Answer::default()
    };
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return Answer {
            out: format!("{HELP}\n"),
            ..Answer::default()
        };
    }
    let command = match parse(args) {
        Ok(command) => command,
        Err(message) => return wrong(message),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(answer(&command)),
        Err(error) => Err(format!("no runtime: {error}")),
    };
    answer.unwrap_or_else(|error| Answer {
        err: format!("{error}\n"),
        code: 2,
        ..Answer::default()
    })
}

async fn answer(command: &Command) -> Result<Answer, String> {
    let file = &command.store;
    // Opening makes a file that is not there: one without records would verify.
    if !std::path::Path::new(file).is_file() {
        return Err(format!("{file}, expected the file of a journal"));
    }
    let store = RedbStore::open(file).map_err(|error| error.to_string())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let known = StoreAudit::chains(&*store)
        .await
        .map_err(|error| error.to_string())?;
    let wanted = command.chain.iter();
    let named: Vec<&String> = match &command.verb {
        Verb::Verify { noted } => wanted.chain(noted.iter().map(|(chain, _)| chain)).collect(),
        Verb::Export { .. } => wanted.collect(),
    };
    if let Some(stranger) = named.iter().find(|name| !known.contains(name)) {
        // A chain whose end was noted and that is gone is cut off as a whole.
        return Ok(Answer {
            err: format!("chain {stranger:?}, expected one of {known:?}\n"),
            code: 1,
            ..Answer::default()
        });
    }
    if known.is_empty() && matches!(command.verb, Verb::Verify { .. }) {
        let message = "no chain, expected one: nothing was ever recorded, or the list was removed";
        return Ok(Answer {
            err: format!("{message}\n"),
            code: 1,
            ..Answer::default()
        });
    }
    let chains = known.iter().filter(|name| {
        let only = command.chain.as_ref();
        only.is_none_or(|only| only == *name)
    });
    let mut answer = Answer::default();
    for chain in chains {
        let audit = StoreAudit::of_chain(Arc::clone(&store), chain.as_str());
        match &command.verb {
            Verb::Verify { noted } => verify(&audit, noted, &mut answer).await?,
            Verb::Export { from } => export(&audit, *from, &mut answer).await?,
        }
    }
    Ok(answer)
}

async fn verify(
    audit: &StoreAudit,
    noted: &[(String, ChainHead)],
    answer: &mut Answer,
) -> Result<(), String> {
    let chain = audit.chain();
    let noted = noted.iter().filter(|(name, _)| name == chain);
    // Without an end that was noted it is checked all the same.
    let noted: Vec<_> = noted.map(|(_, head)| Some(*head)).collect();
    let ends = if noted.is_empty() { vec![None] } else { noted };
    for end in ends {
        match audit.verify(end).await {
            Ok(head) => {
                let _ = writeln!(answer.out, "{chain}={}:{} holds", head.seq, head.hash);
            }
            Err(VerifyError::Broken(place)) => {
                answer.code = 1;
                let _ = writeln!(answer.err, "{chain}: {place}");
            }
            Err(error) => return Err(format!("{chain}: {error}")),
        }
    }
    Ok(())
}

async fn export(audit: &StoreAudit, from: u64, answer: &mut Answer) -> Result<(), String> {
    let mut from = from;
    loop {
        let records = audit.records(from, PAGE).await;
        let records = records.map_err(|error| format!("{}: {error}", audit.chain()))?;
        for record in &records {
            // A record came from JSON.
            let line = serde_json::to_string(record).unwrap_or_default();
            let _ = writeln!(answer.out, "{line}");
        }
        from += records.len() as u64;
        if records.len() < PAGE {
            return Ok(());
        }
    }
}

fn parse(args: &[String]) -> Result<Command, String> {
    let (verb, options) = args.split_first().ok_or("no command of audit")?;
    let verifies = match verb.as_str() {
        "verify" => true,
        "export" => false,
        other => {
            return Err(format!(
                "command of audit {other:?}, expected verify or export"
            ));
        }
    };
    let (mut store, mut chain, mut from, mut noted) = (None, None, None, Vec::new());
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let mut value = || {
            let value = options.next().cloned();
            value.ok_or_else(|| format!("{option} without a value, expected one"))
        };
        let twice = match option.as_str() {
            "--store" => store.replace(value()?).is_some(),
            "--chain" => chain.replace(value()?).is_some(),
            "--from" if !verifies => {
                let text = value()?;
                let seq: u64 = text
                    .parse()
                    .map_err(|_| format!("--from {text:?}, expected a whole number"))?;
                from.replace(seq).is_some()
            }
            "--head" if verifies => {
                let text = value()?;
                let expected = || format!("--head {text:?}, expected CHAIN=SEQ:HASH");
                noted.push(head(&text).ok_or_else(expected)?);
                false
            }
            _ => {
                let own = if verifies { "--head" } else { "--from" };
                return Err(format!(
                    "option {option:?}, expected --store, --chain or {own}"
                ));
            }
        };
        if twice {
            return Err(format!("{option} is given twice"));
        }
    }
    Ok(Command {
        verb: if verifies {
            Verb::Verify { noted }
        } else {
            let from = from.unwrap_or_default();
            Verb::Export { from }
        },
        store: store.ok_or("audit needs --store FILE")?,
        chain,
    })
}

fn head(text: &str) -> Option<(String, ChainHead)> {
    let (chain, end) = text.rsplit_once('=')?;
    let (seq, hash) = end.split_once(':')?;
    let (seq, hash) = (seq.parse().ok()?, hash.parse().ok()?);
    Some((chain.to_owned(), ChainHead { seq, hash }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostasis::core::port::{AuditEntry, AuditRecord, Commit, Version};
    use homeostasis::core::{NodeId, TenantId, Timestamp};
    use serde_json::Value;

    /// A journal with five records, after `change`.
    fn journal(change: impl AsyncFnOnce(&dyn Store, &str)) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal.redb");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let store: Arc<dyn Store> = Arc::new(RedbStore::open(&file).unwrap());
            let (tenant, node) = (TenantId::default(), NodeId::default());
            let audit = StoreAudit::new(Arc::clone(&store), &tenant, &node);
            for i in 0..5 {
                let entry = AuditEntry {
                    at: Timestamp::from_secs(i),
                    tenant: tenant.clone(),
                    principal: "ada".to_owned(),
                    action: format!("act {i}"),
                    subject: "orders".to_owned(),
                    allowed: true,
                    detail: serde_json::json!({"share": 0.1}),
                };
                audit.append(entry).await.unwrap();
            }
            change(&*store, audit.chain()).await;
        });
        (folder, file.display().to_string())
    }

    fn audit(line: &[&str]) -> Answer {
        let args: Vec<_> = line.iter().map(|arg| (*arg).to_owned()).collect();
        run(&args)
    }

    async fn read(store: &dyn Store, key: &str) -> (Version, Value) {
        let document = store.document(key).await.unwrap().unwrap();
        (document.version, document.value)
    }

    #[test]
    fn what_was_written_verifies_and_is_exported_line_by_line() {
        let (_folder, file) = journal(async |_, _| {});
        let answer = audit(&["verify", "--store", &file]);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""));
        let end = answer.out.strip_suffix(" holds\n").unwrap();
        let again = audit(&["verify", "--store", &file, "--head", end]);
        assert_eq!(again.code, 0, "{}", again.err);
        let exported = audit(&["export", "--store", &file, "--from", "3"]).out;
        let records = exported.lines().map(serde_json::from_str::<AuditRecord>);
        let seqs: Vec<_> = records.map(|record| record.unwrap().seq).collect();
        assert_eq!(seqs, [3, 4]);
    }

    #[test]
    fn one_record_edited_deleted_or_moved_in_the_file_is_found() {
        let key = |chain: &str, seq: u64| format!("audit/{chain}/{seq:020}");
        let edited = journal(async |store, chain| {
            let key = key(chain, 2);
            let (version, mut value) = read(store, &key).await;
            value["allowed"] = Value::Bool(false);
            let commit = Commit::default().put(key, version, value);
            store.commit(commit).await.unwrap();
        });
        let deleted = journal(async |store, chain| {
            let key = key(chain, 2);
            let (version, _) = read(store, &key).await;
            let mut commit = Commit::default();
            commit.documents.push((key, version, None));
            store.commit(commit).await.unwrap();
        });
        let moved = journal(async |store, chain| {
            let (one, two) = (key(chain, 1), key(chain, 2));
            let (first, second) = (read(store, &one).await, read(store, &two).await);
            let commit = Commit::default()
                .put(one, first.0, second.1)
                .put(two, second.0, first.1);
            store.commit(commit).await.unwrap();
        });
        for ((_folder, file), expected) in [
            (&edited, "breaks at record 2: its content was changed"),
            (&deleted, "breaks at record 2: it is missing"),
            (&moved, "breaks at record 1: a record is missing, repeated"),
        ] {
            let answer = audit(&["verify", "--store", file]);
            assert_eq!((answer.code, answer.out.as_str()), (1, ""));
            assert!(answer.err.contains(expected), "{}", answer.err);
        }
    }

    #[test]
    fn a_journal_that_names_no_chain_does_not_verify() {
        let (_folder, file) = journal(async |store, _| {
            let (version, _) = read(store, "audit/chains").await;
            let commit = Commit::default().put("audit/chains", version, serde_json::json!([]));
            store.commit(commit).await.unwrap();
        });
        let answer = audit(&["verify", "--store", &file]);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""));
        assert!(
            answer.err.starts_with("no chain, expected one"),
            "{}",
            answer.err
        );
    }

    #[test]
    fn what_is_wrong_with_the_command_is_named() {
        for (line, expected) in [
            (&["check"][..], "command of audit \"check\", expected"),
            (&["verify"], "audit needs --store FILE"),
            (&["verify", "--store"], "--store without a value"),
            (
                &["verify", "--store", "a", "--store", "b"],
                "--store is given twice",
            ),
            (
                &["verify", "--store", "a", "--head", "x"],
                "--head \"x\", expected CHAIN=SEQ:HASH",
            ),
            (
                &["export", "--store", "a", "--head", "x"],
                "option \"--head\", expected",
            ),
            (
                &["verify", "--store", "no/such/file"],
                "no/such/file, expected the file of a journal",
            ),
        ] {
            let answer = audit(line);
            assert_eq!(answer.code, 2, "{line:?}");
            assert!(answer.err.starts_with(expected), "{}", answer.err);
        }
    }
}
