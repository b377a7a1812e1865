//! What stands around the gate: who is who, who may what, whose votes count, and what is recorded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use homeostasis_core::port::{
    AuditEntry, AuditError, AuditSink, Authenticator, Authorizer, Electorate, Principal,
    TenantDirectory,
};
use homeostasis_core::{KillSwitch, Timestamp};
use serde_json::{Value, json};

use crate::engine::guard;
use crate::engine::shared::Shared;

/// The ports around the gate.
#[derive(Debug)]
pub(crate) struct Watchmen {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    /// As whom the healer itself acts.
    pub(crate) healer: Principal,
    pub(crate) tenants: Arc<dyn TenantDirectory>,
    pub(crate) electorate: Arc<dyn Electorate>,
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) strangers: Strangers,
}

/// How many strangers were refused lately.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<(Timestamp, u64, u64)>);

impl Strangers {
    const MINUTE: Duration = Duration::from_secs(60);
    const AUDITED: u64 = 60;

    /// Notes one at `now`. If it is to be audited, how many before it were not.
    pub(crate) fn note(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, seen, unseen) = &mut *state;
        // A clock that was set back begins anew.
        if now < *since || now - *since >= Self::MINUTE {
            (*since, *seen) = (now, 0);
        }
        *seen += 1;
        if *seen > Self::AUDITED {
            *unseen += 1;
            return None;
        }
        Some(std::mem::take(unseen))
    }
}

impl Shared {
    /// Appends to the audit log, within the deadline of a stage; what it says is redacted.
    pub(crate) async fn audit(
        &self,
        principal: &str,
        action: &str,
        subject: &str,
        allowed: bool,
        detail: Value,
    ) -> Result<(), AuditError> {
        let entry = AuditEntry {
            at: self.now(),
            tenant: self.tenant.clone(),
            principal: self.redacted(principal),
            action: action.to_owned(),
            subject: self.redacted(subject),
            allowed,
            detail: self.redacted_value(detail),
        };
        let sink = Arc::clone(&self.guard.audit);
        let limit = self.settings.stage_deadline;
        let appended = guard::call(&**self.clock(), limit, async move {
            sink.append(entry).await.map_err(|error| error.report())
        });
        appended
            .await
            .map(drop)
            .map_err(|report| AuditError::Failed {
                what: "appending to the audit log".to_owned(),
                kind: report.kind,
                source: Some(report.to_string().into()),
            })
    }

    fn redacted_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redacted(&text)),
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.redacted_value(item))
                .collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| (name, self.redacted_value(value)))
                .collect(),
            other => other,
        }
    }
}

/// Makes `switch` stop everything while something is at `path`, whatever it is.
///
/// It is looked at before every step, without following a link: what cannot be looked at stops too.
pub(crate) fn stop_while_there(switch: &KillSwitch, path: &Path) {
    let path: PathBuf = path.to_owned();
    switch.ask_too(move || match std::fs::symlink_metadata(&path) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    });
}

/// Tells people and the audit log when the kill switch was thrown, by whatever way; asked at every tick.
#[derive(Debug, Default)]
pub(crate) struct SwitchWatch {
    was_engaged: bool,
}

impl SwitchWatch {
    pub(crate) fn look(&mut self, shared: &Arc<Shared>) {
        let engaged = shared.controls.kill_switch.is_engaged();
        if engaged == std::mem::replace(&mut self.was_engaged, engaged) {
            return;
        }
        tracing::warn!(engaged, "the kill switch changed");
        let audited = Arc::clone(shared);
        // Not awaited: a store that hangs must not hold up detection.
        shared.tasks.spawn(async move {
            let action = "kill_switch_changed";
            let detail = json!({"engaged": engaged});
            let record = audited.audit("homeostasis", action, "healer", true, detail);
            if let Err(error) = record.await {
                tracing::error!(%error, "the change of the kill switch could not be audited");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_audited_sixty_times_a_minute_and_counted_beyond() {
        let strangers = Strangers::default();
        let at = |secs: i64| Timestamp::from_secs(1_000 + secs);
        for _ in 0..60 {
            assert_eq!(strangers.note(at(0)), Some(0));
        }
        assert_eq!(strangers.note(at(59)), None);
        assert_eq!(strangers.note(at(59)), None);
        assert_eq!(strangers.note(at(60)), Some(2));
        assert_eq!(strangers.note(at(60)), Some(0));
        assert_eq!(strangers.note(at(0)), Some(0));
    }

    #[test]
    fn whatever_is_at_the_path_stops_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stop");
        let switch = KillSwitch::default();
        stop_while_there(&switch, &path);
        assert!(!switch.is_engaged());
        std::fs::write(&path, "").unwrap();
        assert!(switch.is_engaged());
        std::fs::remove_file(&path).unwrap();
        assert!(!switch.is_engaged());
        std::fs::create_dir(&path).unwrap();
        assert!(switch.is_engaged());
        std::fs::remove_dir(&path).unwrap();
        #[cfg(unix)]
        {
            // A link to nowhere is there all the same.
            std::os::unix::fs::symlink("nowhere", &path).unwrap();
            assert!(switch.is_engaged());
            std::fs::remove_file(&path).unwrap();
        }
        let below = KillSwitch::default();
        std::fs::write(&path, "a file, not a folder").unwrap();
        stop_while_there(&below, &path.join("stop"));
        assert!(below.is_engaged(), "what cannot be looked at stops");
    }
}
