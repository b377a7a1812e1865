//! The detector of playbooks' triggers: its conditions may change while the healer runs.

use std::collections::BTreeMap;
use std::time::Duration;

use homeostasis_core::record::Anomaly;
use homeostasis_core::signal::{Interest, SignalBatch};
use homeostasis_core::stage::{DetectError, Detector, ModelPart, ModelRest, ModelSnapshot};
use homeostasis_core::{Context, async_trait};
use homeostasis_detect::SustainedCondition;
use serde_json::{Value, json};

use crate::config::ConditionRule;
use crate::furnished::watch;
use crate::playbooks::Triggers;

/// The detector's name; its anomalies are in the name of `playbook.ID`.
const NAME: &str = "playbooks";

/// The version of its stored parts.
const VERSION: u32 = 1;

/// Watches the condition of each playbook that has one.
#[derive(Debug)]
pub(crate) struct TriggerDetector {
    wanted: Triggers,
    known: u64,
    reraise: Duration,
    watched: BTreeMap<String, (ConditionRule, SustainedCondition)>,
}

impl TriggerDetector {
    pub(crate) fn new(wanted: Triggers, reraise: Duration) -> Self {
        let mut detector = Self {
            wanted,
            known: 0,
            reraise,
            watched: BTreeMap::new(),
        };
        detector.follow();
        detector
    }

    /// Takes up what is wanted now; what did not change goes on counting.
    fn follow(&mut self) {
        let Some((version, rules)) = self.wanted.newer(self.known) else {
            return;
        };
        self.known = version;
        let mut before = std::mem::take(&mut self.watched);
        for rule in rules {
            let kept = before
                .remove(&rule.name)
                .filter(|(known, _)| *known == rule);
            let watched = match kept {
                Some((_, watched)) => Ok(watched),
                None => watch(&rule, self.reraise),
            };
            match watched {
                Ok(watched) => {
                    self.watched.insert(rule.name.clone(), (rule, watched));
                }
                // Whoever asked for it tried it before.
                Err(error) => tracing::error!(%error, "a trigger cannot be watched"),
            }
        }
    }
}

#[async_trait]
impl Detector for TriggerDetector {
    fn name(&self) -> &str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::samples()
    }

    async fn detect(
        &mut self,
        cx: &Context,
        batch: SignalBatch<'_>,
    ) -> Result<Vec<Anomaly>, DetectError> {
        self.follow();
        let (mut found, mut failed) = (Vec::new(), None);
        for (_, watched) in self.watched.values_mut() {
            match watched.detect(cx, batch).await {
                Ok(more) => found.extend(more),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match failed {
            Some(error) if found.is_empty() => Err(error),
            // What the others found is not held back because of one.
            _ => Ok(found),
        }
    }

    /// One part for each trigger that has a model.
    fn snapshot_part(&self, from: Option<&Value>, max_bytes: usize) -> Option<ModelPart> {
        let _ = max_bytes;
        let from = from.and_then(Value::as_str).unwrap_or_default();
        let mut left = self
            .watched
            .range(from.to_owned()..)
            .filter_map(|(name, (_, watched))| Some((name, watched.snapshot()?)));
        let (name, model) = left.next()?;
        let snapshot = ModelSnapshot {
            detector: NAME.to_owned(),
            version: VERSION,
            state: json!({"trigger": name, "version": model.version, "state": model.state}),
        };
        let rest = left.next().map(|(next, _)| ModelRest {
            from: Value::from(next.as_str()),
            n_left: 1 + left.count(),
        });
        Some(ModelPart { snapshot, rest })
    }

    fn forget_alarms(&mut self) {
        for (_, watched) in self.watched.values_mut() {
            watched.forget_alarms();
        }
    }

    /// A part of a playbook that is gone is passed over.
    fn restore(&mut self, snapshot: &ModelSnapshot) -> Result<(), DetectError> {
        let name = snapshot.state["trigger"].as_str().unwrap_or_default();
        let Some((_, watched)) = self.watched.get_mut(name) else {
            return Ok(());
        };
        let version = snapshot.state["version"].as_u64();
        let inner = ModelSnapshot {
            detector: name.to_owned(),
            version: version.and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
            state: snapshot.state["state"].clone(),
        };
        if let Err(error) = watched.restore(&inner) {
            // An edited trigger begins anew; the others do not.
            tracing::info!(trigger = name, %error, "the trigger begins anew");
        }
        Ok(())
    }
}
