//! The tables of the journal file, format 1.

use redb::{Table, TableDefinition, WriteTransaction};

use crate::failure::Failure;

/// The format this version reads and writes; it grows when an older version must not read it.
pub(crate) const FORMAT: u32 = 1;

/// `"format"` -> [`FORMAT`]. Its name marks the file as ours.
pub(crate) const META: TableDefinition<'_, &str, u32> = TableDefinition::new("homeostasis");

/// (incident, seq) -> (time in ns, JSON of the event).
pub(crate) const EVENTS: TableDefinition<'_, (u128, u64), (i64, &[u8])> =
    TableDefinition::new("events");

/// (time in ns, incident, seq): the events by time.
pub(crate) const TIMES: TableDefinition<'_, (i64, u128, u64), ()> = TableDefinition::new("times");

/// Incident -> (number of events, time of the last one in ns, whether it closes the incident).
pub(crate) const HEADS: TableDefinition<'_, u128, (u64, i64, bool)> = TableDefinition::new("heads");

/// Incident -> how many bytes its events take; incidents that an earlier version wrote have none.
pub(crate) const SIZES: TableDefinition<'_, u128, u64> = TableDefinition::new("sizes");

/// Incidents whose last event does not close them.
pub(crate) const OPEN: TableDefinition<'_, u128, ()> = TableDefinition::new("open");

/// (counter, time in ns, how manieth at that time).
pub(crate) const HITS: TableDefinition<'_, (&str, i64, u64), ()> = TableDefinition::new("hits");

/// Key -> (version, JSON).
pub(crate) const DOCUMENTS: TableDefinition<'_, &str, (u64, &[u8])> =
    TableDefinition::new("documents");

/// Resource -> newest token.
pub(crate) const TOKENS: TableDefinition<'_, &str, u64> = TableDefinition::new("tokens");

/// All tables but [`META`], opened for writing.
pub(crate) struct Tables<'t> {
    pub(crate) events: Table<'t, (u128, u64), (i64, &'static [u8])>,
    pub(crate) times: Table<'t, (i64, u128, u64), ()>,
    pub(crate) heads: Table<'t, u128, (u64, i64, bool)>,
    pub(crate) sizes: Table<'t, u128, u64>,
    pub(crate) open: Table<'t, u128, ()>,
    pub(crate) hits: Table<'t, (&'static str, i64, u64), ()>,
    pub(crate) documents: Table<'t, &'static str, (u64, &'static [u8])>,
    pub(crate) tokens: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    /// Opens, and creates what is missing.
    pub(crate) fn open(txn: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            events: txn.open_table(EVENTS)?,
            times: txn.open_table(TIMES)?,
            heads: txn.open_table(HEADS)?,
            sizes: txn.open_table(SIZES)?,
            open: txn.open_table(OPEN)?,
            hits: txn.open_table(HITS)?,
            documents: txn.open_table(DOCUMENTS)?,
            tokens: txn.open_table(TOKENS)?,
        })
    }
}
