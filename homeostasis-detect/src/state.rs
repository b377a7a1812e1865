//! States of models as JSON values, exact to the bit.

use homeostasis_core::stage::{DetectError, ModelSnapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The state as a value; `None` if it holds something JSON cannot (no state of ours does).
pub(crate) fn save(state: &impl Serialize) -> Option<Value> {
    serde_json::to_value(state).ok()
}

/// The state in `value`.
pub(crate) fn load<T: DeserializeOwned>(what: &str, value: &Value) -> Result<T, DetectError> {
    T::deserialize(value).map_err(|error| DetectError::invalid(what, error.to_string()))
}

/// A stored state that reads well but cannot be one of this kernel.
pub(crate) fn require(holds: bool, what: &str, expected: &str) -> Result<(), DetectError> {
    if holds {
        Ok(())
    } else {
        Err(DetectError::invalid(what, format!("expected {expected}")))
    }
}

/// The state in the snapshot of the detector `name`, whose shape has `version`.
pub(crate) fn open<T: DeserializeOwned>(
    name: &str,
    version: u32,
    snapshot: &ModelSnapshot,
) -> Result<T, DetectError> {
    require(
        snapshot.detector == name,
        &format!("snapshot of {:?}", snapshot.detector),
        &format!("one of {name:?}"),
    )?;
    require(
        snapshot.version == version,
        &format!("version {} of the snapshot", snapshot.version),
        &format!("version {version}"),
    )?;
    load(&format!("snapshot of {name:?}"), &snapshot.state)
}
