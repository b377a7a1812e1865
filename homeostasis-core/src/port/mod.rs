//! Ports: small traits for what lives outside of one stage, with an in-memory default beside each.

mod approvals;
mod coordinator;
mod http;
mod memory_store;
mod notify;
mod store;

pub use approvals::{ApprovalDecision, ApprovalRequest, Approvals, MemoryApprovals, NoApprovals};
pub use coordinator::{CoordinateError, Coordinator, FencingToken, Lease, LocalCoordinator};
pub use http::{HttpClient, HttpError, HttpRequest, HttpResponse, NoHttp};
pub use memory_store::MemoryStore;
pub use notify::{MemoryNotifier, NoNotifier, Notification, Notifier, NotifyError};
pub use store::{Commit, Document, Fence, Store, StoreError, Version};
