//! The worker processes of a master, as `/proc` has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What nginx calls a worker that serves its last requests.
const LEAVING: &str = "is shutting down";

/// The workers of a master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workers {
    /// Process id and start (clock ticks since boot) of each, and whether it is on its way out.
    found: BTreeMap<(u32, u64), bool>,
}

impl Workers {
    /// The workers of the master whose id is in the file `pid_file`; `None` if it does not run.
    pub(super) fn of(pid_file: &Path) -> Option<Self> {
        let text = crate::file::read_small(pid_file, 64).ok()??;
        let master: u32 = text.trim().parse().ok()?;
        let title = title(master)?;
        if !title.starts_with("nginx: master process") {
            return None;
        }
        let ids = fs::read_dir("/proc").ok()?.flatten();
        let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let found = ids
            .filter_map(|id: u32| {
                let (parent, started) = parent_and_start(id)?;
                let title = (parent == master).then(|| self::title(id))??;
                // Cache managers and what a new binary starts are no workers.
                let is_worker = title.starts_with("nginx: worker process");
                is_worker.then(|| ((id, started), title.contains(LEAVING)))
            })
            .collect();
        Some(Self { found })
    }

    /// How many take requests.
    pub(super) fn n_serving(&self) -> usize {
        self.found.values().filter(|leaving| !**leaving).count()
    }

    /// Whether some still have requests of the time before a reload.
    pub(super) fn some_are_leaving(&self) -> bool {
        self.found.values().any(|leaving| *leaving)
    }

    /// Process id and start of those that take requests.
    pub(super) fn serving(&self) -> impl Iterator<Item = (u32, u64)> {
        let serving = self.found.iter().filter(|(_, leaving)| !**leaving);
        serving.map(|(id, _)| *id)
    }

    /// Whether all that served `before` are gone or on their way out, and others serve.
    pub(super) fn took_over_from(&self, before: &Self) -> bool {
        let stays = |(id, leaving): (&(u32, u64), &bool)| {
            !leaving && before.found.get(id).is_some_and(|was| !was)
        };
        self.n_serving() > 0 && !self.found.iter().any(stays)
    }
}

fn title(id: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{id}/cmdline")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The fields 4 and 22 of `/proc/<id>/stat`.
fn parent_and_start(id: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}
