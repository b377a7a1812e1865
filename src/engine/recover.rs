//! Recovery: what another life left open is taken up before anything else happens.

use std::sync::Arc;

use homeostasis_core::IncidentId;

use crate::engine::journal::{IncidentJournal, JournalError, describe};
use crate::engine::sense::start_heal;
use crate::engine::shared::Shared;

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// Incidents that are being worked on again.
    pub resumed: Vec<IncidentId>,
    /// Incidents whose journal cannot be understood, with the reason: nothing is done about them
    /// and nothing of them is lost.
    pub unreadable: Vec<(IncidentId, String)>,
}

/// Takes up every open incident. Starting the heals runs their effects: a run in flight is resumed
/// by the effect class of its steps.
///
/// # Errors
/// If the store cannot say what is open.
pub(crate) async fn recover(shared: &Arc<Shared>) -> Result<Recovered, JournalError> {
    let mut recovered = Recovered::default();
    for id in shared.journal.store.open_incidents().await? {
        match IncidentJournal::resume(shared.journal.clone(), id).await {
            Ok(journal) => {
                start_heal(shared, Arc::new(journal)).await;
                recovered.resumed.push(id);
            }
            Err(error) => {
                shared.vitals.store_error();
                recovered.unreadable.push((id, describe(&error)));
            }
        }
    }
    Ok(recovered)
}
