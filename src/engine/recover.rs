//! Recovery: what another life left open is taken up before anything else happens.

use std::sync::Arc;

use homeostasis_core::{ErrorKind, IncidentId};

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
    let mut journals = Vec::new();
    for id in shared.journal.store.open_incidents().await? {
        match IncidentJournal::resume(shared.journal.clone(), id).await {
            Ok(journal) => journals.push((journal.incident().await.is_in_flight(), journal)),
            Err(error) if error.kind() != ErrorKind::Permanent => return Err(error),
            Err(error) => {
                shared.vitals.store_error();
                recovered.unreadable.push((id, describe(&error)));
            }
        }
    }
    // Runs in flight take their leases and slots before anything new may.
    journals.sort_by_key(|(in_flight, _)| !in_flight);
    for (_, journal) in journals {
        recovered.resumed.push(journal.id());
        start_heal(shared, Arc::new(journal)).await;
    }
    Ok(recovered)
}
