//! Ports: small traits for what lives outside of one stage, with an in-memory default beside each.

mod approvals;
mod arms;
mod audit;
mod authz;
mod chat;
mod chat_completion;
mod coordinator;
mod enrich;
mod http;
mod identity;
mod knowledge;
mod memory_store;
mod notify;
mod redact;
mod retention;
mod store;
mod strategy;
mod tenant;
mod traffic;
mod votes;

pub use approvals::{ApprovalDecision, ApprovalRequest, Approvals, MemoryApprovals, NoApprovals};
pub use arms::{ArmMeter, MemoryArms, SeriesArms};
pub use audit::{
    AuditEntry, AuditError, AuditRecord, AuditSink, ChainBreak, ChainHead, MemoryAudit,
    verify_chain,
};
pub use authz::{
    AccessGrant, AccessRequest, Authorizer, NotAuthorized, Permission, Principal, Role, RoleTable,
};
pub use chat::{ChatBudget, ChatModel, FromChat};
pub use chat_completion::{chat_content, chat_request};
pub use coordinator::{CoordinateError, Coordinator, FencingToken, Lease, LocalCoordinator};
pub use enrich::Enricher;
pub use http::{HttpClient, HttpError, HttpRequest, HttpResponse, NoHttp};
pub use identity::{Authenticator, NotAuthenticated, TokenError, TokenHash, TokenTable};
pub use knowledge::{
    Effectiveness, KnowledgeBase, KnowledgeError, MemoryKnowledge, PastIncident, PastRun,
};
pub use memory_store::MemoryStore;
pub use notify::{
    MemoryNotifier, NoNotifier, Notification, NotificationKind, Notifier, NotifierFn, NotifyError,
};
pub use redact::{NoRedaction, Redactor};
pub use retention::{Archive, ClosedIncident, Retention};
pub use store::{Commit, Document, Fence, Store, StoreError, Version};
pub use strategy::{ByFitness, StrategyError, StrategySelector, reorder};
pub use tenant::{SingleTenant, TenantDirectory, TenantError, TenantPolicy, tenant_key};
pub use traffic::{
    MemoryRouter, Mirror, OnItsWay, Route, RouteFollower, TrafficError, TrafficRouter, Weights,
};
pub use votes::{Ballot, Electorate, SoleMember, Tally, VoteError};
