//! What a host says to the versions of a model while they work, and what it hears.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use homeostasis_core::{Ratio, Timestamp};
use serde::{Deserialize, Serialize};

use super::evaluation::Feedback;

/// Orders that may wait.
const MAX_ORDERS: usize = 1000;

/// One version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelVersion {
    /// Counts from 1.
    pub id: u64,
    /// When its training began.
    pub created: Timestamp,
    /// Why it was made.
    pub origin: String,
}

/// Something that happened to versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEvent {
    /// When.
    pub at: Timestamp,
    /// To which version.
    pub version: u64,
    /// What.
    pub kind: ModelEventKind,
    /// Who wanted it: `schedule`, `rule` or a name.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelEventKind {
    /// It is trained as a candidate.
    Trained,
    /// It was kept as it is.
    Kept,
    /// The rule would let it take over, and somebody must say so.
    Recommended,
    /// It took over.
    Promoted,
    /// It was given up.
    Rejected,
    /// It serves again.
    RolledBack,
    /// What was asked for it could not be done.
    Refused,
}

/// What a model and its candidate raised in the same time. An alarm that is raised again is the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ShadowComparison {
    /// Since when both are compared.
    pub since: Timestamp,
    /// Alarms of the model that serves.
    pub serving: u64,
    /// Alarms of the candidate.
    pub candidate: u64,
    /// Those that both raised.
    pub both: u64,
    /// Those as a share of the alarms of either; 1 if there are none.
    pub agreement: Ratio,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct ModelStatus {
    /// The version that serves.
    pub serving: Option<ModelVersion>,
    /// The one that is trained or compared.
    pub candidate: Option<ModelVersion>,
    /// How the candidate compares with the model that serves; nothing while it only learns.
    pub compared: Option<ShadowComparison>,
    /// Versions one can go back to, oldest first.
    pub kept: Vec<ModelVersion>,
    /// What happened lately, oldest first.
    pub events: Vec<ModelEvent>,
}

/// An order of the host.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Order {
    RollBack { to: u64, by: String, reason: String },
    Keep { by: String, reason: String },
    Retrain { by: String, reason: String },
    Promote { by: String, reason: String },
    Reject { by: String, reason: String },
    Learn(Feedback),
}

/// Speaks with a [`ModelVersions`](super::ModelVersions) that the engine owns; cloning is cheap.
///
/// Orders are carried out at the next turn of the engine, in their order, and recorded.
#[derive(Clone, Default)]
pub struct ModelVersionsHandle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Whether orders wait: looked at in every turn, without the lock.
    has_orders: AtomicBool,
    orders: Mutex<Vec<Order>>,
    status: Mutex<ModelStatus>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ModelVersionsHandle {
    /// Lets version `to` serve again; the one that serves is kept. Whether the order was taken: a thousand may wait.
    pub fn roll_back(&self, to: u64, by: impl Into<String>, reason: impl Into<String>) -> bool {
        let (by, reason) = (by.into(), reason.into());
        self.order(Order::RollBack { to, by, reason })
    }

    /// Keeps the model that serves as it is now, to go back to.
    pub fn keep(&self, by: impl Into<String>, reason: impl Into<String>) -> bool {
        let (by, reason) = (by.into(), reason.into());
        self.order(Order::Keep { by, reason })
    }

    /// Trains a candidate now, in place of one that is there.
    pub fn retrain(&self, by: impl Into<String>, reason: impl Into<String>) -> bool {
        let (by, reason) = (by.into(), reason.into());
        self.order(Order::Retrain { by, reason })
    }

    /// Lets the candidate take over, whatever the rule says.
    pub fn promote(&self, by: impl Into<String>, reason: impl Into<String>) -> bool {
        let (by, reason) = (by.into(), reason.into());
        self.order(Order::Promote { by, reason })
    }

    /// Gives the candidate up.
    pub fn reject(&self, by: impl Into<String>, reason: impl Into<String>) -> bool {
        let (by, reason) = (by.into(), reason.into());
        self.order(Order::Reject { by, reason })
    }

    /// Says what is known of a stretch of time; it counts in the comparison that goes on.
    pub fn learn(&self, feedback: Feedback) -> bool {
        self.order(Order::Learn(feedback))
    }

    /// How things stood after the last turn.
    pub fn status(&self) -> ModelStatus {
        locked(&self.shared.status).clone()
    }

    fn order(&self, order: Order) -> bool {
        let mut orders = locked(&self.shared.orders);
        if orders.len() >= MAX_ORDERS {
            return false;
        }
        orders.push(order);
        self.shared.has_orders.store(true, Ordering::Release);
        true
    }

    pub(super) fn take_orders(&self) -> Vec<Order> {
        if !self.shared.has_orders.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut *locked(&self.shared.orders))
    }

    pub(super) fn publish(&self, status: ModelStatus) {
        *locked(&self.shared.status) = status;
    }
}

impl fmt::Debug for ModelVersionsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelVersionsHandle")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
