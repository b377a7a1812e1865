//! What people commanded and a restart does not forget: the mode, a pause, the kill switch.

use homeostasis_core::Mode;
use homeostasis_core::port::{Commit, Store, StoreError, Version};
use serde::{Deserialize, Serialize};

use crate::engine::gatekeeper::stricter;
use crate::engine::guard;
use crate::engine::shared::Shared;

/// The document it is kept in.
const KEY: &str = "controls";

/// Another process writes it too: how often it is read again.
const ATTEMPTS: usize = 5;

/// What stands in the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Commanded {
    #[serde(default)]
    mode: Option<CommandedMode>,
    #[serde(default)]
    kill_switch: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandedMode {
    present: Mode,
    /// What holds after a pause.
    unpaused: Mode,
    /// What the configuration said then: one that says something else since is listened to.
    configured: Mode,
}

/// What was commanded just now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    /// The mode, or a pause.
    Mode,
    /// Whether the kill switch is engaged.
    KillSwitch(bool),
}

impl Shared {
    /// Writes down what was commanded, within the deadline of a stage.
    pub(crate) async fn keep(&self, command: Command) -> Result<(), StoreError> {
        let written = async { Ok(self.try_keep(command).await) };
        let limit = self.settings.stage_deadline;
        let written = guard::call(&**self.clock(), limit, written).await;
        written.unwrap_or_else(|report| {
            Err(StoreError::Io {
                what: "keeping what was commanded".to_owned(),
                source: report.to_string().into(),
            })
        })
    }

    async fn try_keep(&self, command: Command) -> Result<(), StoreError> {
        let store = &*self.journal.store;
        let mut kept = self.controls.kept.lock().await;
        let mut attempt = 0;
        loop {
            let (version, mut said) = kept.clone();
            match command {
                Command::Mode => {
                    let (present, unpaused) = self.modes();
                    let configured = self.controls.configured.clone();
                    said.mode = Some(CommandedMode {
                        present,
                        unpaused,
                        configured,
                    });
                }
                Command::KillSwitch(engaged) => said.kill_switch = engaged,
            }
            let value = serde_json::to_value(&said).map_err(|source| StoreError::Invalid {
                reason: format!("what was commanded: {source}"),
            })?;
            match store
                .commit(Commit::default().put(KEY, version, value))
                .await
            {
                Ok(_) => {
                    *kept = (Version(version.0 + 1), said);
                    return Ok(());
                }
                Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    *kept = read(store).await?.unwrap_or_default();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes up what was commanded in a former life. What cannot be understood stops everything.
    pub(crate) async fn recall(&self) -> Result<(), StoreError> {
        let Some((version, said)) = read(&*self.journal.store).await? else {
            return Ok(());
        };
        if said.kill_switch {
            tracing::warn!("the kill switch is engaged: somebody engaged it before the restart");
            self.controls.kill_switch.engage();
        }
        if let Some(mode) = &said.mode {
            let (present, unpaused) = self.modes();
            if mode.configured == self.controls.configured {
                self.set_modes(mode.present.clone(), mode.unpaused.clone());
            } else {
                self.set_modes(
                    stricter(present, &mode.present),
                    stricter(unpaused, &mode.unpaused),
                );
            }
        }
        *self.controls.kept.lock().await = (version, said);
        Ok(())
    }
}

/// What the store says; what cannot be understood is a stop.
async fn read(store: &dyn Store) -> Result<Option<(Version, Commanded)>, StoreError> {
    let Some(document) = store.document(KEY).await? else {
        return Ok(None);
    };
    let said = serde_json::from_value(document.value).unwrap_or_else(|error| {
        tracing::error!(%error, "what was commanded cannot be understood: everything stops");
        Commanded {
            mode: None,
            kill_switch: true,
        }
    });
    Ok(Some((document.version, said)))
}
