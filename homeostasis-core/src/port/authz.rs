//! Authorization: who may ask the healer for what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::id::TenantId;

/// What somebody may be allowed to do: a verb and what it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Permission {
    /// See incidents, plans and reports.
    View,
    /// Acknowledge, comment on and close incidents.
    Respond,
    /// Decide on plans that wait for approval.
    Approve,
    /// Execute or undo a plan, and close a breaker.
    Execute,
    /// Pause healing and engage the kill switch.
    Stop,
    /// Change the mode, release the kill switch, change policies, playbooks and rules.
    Configure,
    /// Read and export the audit log.
    Audit,
}

/// A named set of permissions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Responds, approves, executes and stops.
    Operator,
    /// May do everything.
    Admin,
    /// A role the host defines in its [`RoleTable`].
    Custom(String),
}

impl Role {
    /// The role with this name; one that is not standard is custom.
    pub fn named(name: &str) -> Self {
        match name {
            "viewer" => Self::Viewer,
            "operator" => Self::Operator,
            "admin" => Self::Admin,
            other => Self::Custom(other.to_owned()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Custom(name) => name,
        })
    }
}

/// Somebody whose identity was proven: by a token ([`Authenticator`](super::Authenticator)), or by
/// the host in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The name under which it is audited.
    pub name: String,
    /// The one tenant it belongs to; `None` is an operator of all tenants.
    pub tenant: Option<TenantId>,
    /// What it is.
    pub roles: BTreeSet<Role>,
}

impl Principal {
    /// A principal of all tenants.
    pub fn new(name: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            name: name.into(),
            tenant: None,
            roles: roles.into_iter().collect(),
        }
    }
}

/// What is asked: whether `principal` has `permission` on something.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AccessRequest<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// For what.
    pub permission: Permission,
    /// Whose data it concerns.
    pub tenant: &'a TenantId,
    /// In which environment; empty if the host does not say.
    pub environment: &'a str,
    /// Which service it is about; `None` is all of them.
    pub service: Option<&'a str>,
}

impl<'a> AccessRequest<'a> {
    /// A request about everything of `tenant`, in an environment that is not named.
    pub fn new(principal: &'a Principal, permission: Permission, tenant: &'a TenantId) -> Self {
        Self {
            principal,
            permission,
            tenant,
            environment: "",
            service: None,
        }
    }

    /// The same in `environment`.
    pub fn within(mut self, environment: &'a str) -> Self {
        self.environment = environment;
        self
    }

    /// The same about one service only.
    pub fn about(mut self, service: &'a str) -> Self {
        self.service = Some(service);
        self
    }

    fn refused(&self, reason: String) -> NotAuthorized {
        NotAuthorized {
            principal: self.principal.name.clone(),
            permission: self.permission,
            tenant: self.tenant.clone(),
            reason,
        }
    }
}

/// The answer no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{principal:?} may not {permission:?} in tenant {tenant}: {reason}")]
pub struct NotAuthorized {
    /// Who asked.
    pub principal: String,
    /// For what.
    pub permission: Permission,
    /// Where.
    pub tenant: TenantId,
    /// Why not.
    pub reason: String,
}

impl NotAuthorized {
    /// Asking again changes nothing.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Denied
    }
}

/// Decides who may do what. Whatever it cannot tell is a no.
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether what is asked is allowed.
    async fn authorize(&self, request: AccessRequest<'_>) -> Result<(), NotAuthorized>;
}

const _: fn(&dyn Authorizer) = |_| {};

/// Permissions, and what they are limited to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessGrant {
    /// What is allowed.
    pub may: BTreeSet<Permission>,
    /// On these services only; empty is no limit. What is about all services needs no limit.
    pub services: BTreeSet<String>,
    /// In these environments only; empty is no limit.
    pub environments: BTreeSet<String>,
}

impl AccessGrant {
    /// These permissions, without limits.
    pub fn of(may: impl IntoIterator<Item = Permission>) -> Self {
        Self {
            may: may.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Whether it allows what is asked.
    pub fn covers(&self, request: &AccessRequest<'_>) -> bool {
        let service_fits = self.services.is_empty()
            || request
                .service
                .is_some_and(|service| self.services.contains(service));
        let environment_fits =
            self.environments.is_empty() || self.environments.contains(request.environment);
        self.may.contains(&request.permission) && service_fits && environment_fits
    }
}

/// Roles as a table: the three standard roles, and those the host adds. A role that is not in it
/// allows nothing.
///
/// ```
/// use homeostasis::core::TenantId;
/// use homeostasis::core::port::{
///     AccessGrant, AccessRequest, Authorizer, Permission, Principal, Role, RoleTable,
/// };
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let mut grant = AccessGrant::of([Permission::View, Permission::Approve]);
/// grant.services.insert("orders".to_owned());
/// let table = RoleTable::default().with_role("orders-team", [grant]);
/// let ada = Principal::new("ada", [Role::named("orders-team")]);
/// let tenant = TenantId::default();
/// let approve = AccessRequest::new(&ada, Permission::Approve, &tenant);
/// assert!(table.authorize(approve.about("orders")).await.is_ok());
/// assert!(table.authorize(approve.about("payments")).await.is_err());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleTable {
    custom: BTreeMap<String, Vec<AccessGrant>>,
}

impl RoleTable {
    /// The same with the role `name`, or with its grants replaced. The standard roles stay what
    /// they are, whatever is added under their names.
    pub fn with_role(
        mut self,
        name: impl Into<String>,
        grants: impl IntoIterator<Item = AccessGrant>,
    ) -> Self {
        let grants = grants.into_iter().collect();
        self.custom.insert(name.into(), grants);
        self
    }

    /// Whether it has the role.
    pub fn knows(&self, role: &Role) -> bool {
        match role {
            Role::Custom(name) => self.custom.contains_key(name),
            _ => true,
        }
    }

    /// Whether `role` allows what is asked.
    pub fn allows(&self, role: &Role, request: &AccessRequest<'_>) -> bool {
        use Permission::{Approve, Execute, Respond, Stop, View};
        let permission = request.permission;
        match role {
            Role::Viewer => permission == View,
            Role::Operator => [View, Respond, Approve, Execute, Stop].contains(&permission),
            Role::Admin => true,
            Role::Custom(name) => self
                .custom
                .get(name)
                .is_some_and(|grants| grants.iter().any(|grant| grant.covers(request))),
        }
    }
}

#[async_trait]
impl Authorizer for RoleTable {
    async fn authorize(&self, request: AccessRequest<'_>) -> Result<(), NotAuthorized> {
        let principal = request.principal;
        let own = principal.tenant.as_ref();
        if let Some(own) = own.filter(|own| *own != request.tenant) {
            return Err(request.refused(format!("it belongs to tenant {own}")));
        }
        if principal
            .roles
            .iter()
            .any(|role| self.allows(role, &request))
        {
            return Ok(());
        }
        let roles: Vec<_> = principal.roles.iter().map(Role::to_string).collect();
        let what = match request.service {
            Some(service) => format!("{service:?}"),
            None => "all services".to_owned(),
        };
        Err(request.refused(format!(
            "none of its roles ({}) allows it on {what}",
            roles.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn roles_allow_what_they_hold_in_their_own_tenant_only() {
        use Permission::{Approve, Audit, Configure, View};
        let table = RoleTable::default().with_role("auditor", [AccessGrant::of([View, Audit])]);
        let acme = TenantId::new("acme").unwrap();
        let other = TenantId::new("other").unwrap();
        let custom = |name: &str| Role::Custom(name.to_owned());
        for (roles, tenant, permission, asked, allowed) in [
            (vec![Role::Viewer], None, View, &acme, true),
            (vec![Role::Viewer], None, Approve, &acme, false),
            (vec![Role::Operator], Some(&acme), Approve, &acme, true),
            (vec![Role::Operator], Some(&acme), Approve, &other, false),
            (vec![Role::Operator], None, Configure, &acme, false),
            (vec![Role::Admin], None, Configure, &other, true),
            (vec![Role::Admin], Some(&acme), View, &other, false),
            (vec![custom("auditor")], None, Audit, &acme, true),
            (vec![custom("auditor")], None, Approve, &acme, false),
            (vec![custom("nobody")], None, View, &acme, false),
            (
                vec![Role::Viewer, custom("auditor")],
                None,
                Audit,
                &acme,
                true,
            ),
            (vec![], None, View, &acme, false),
        ] {
            let principal = Principal {
                name: "ada".to_owned(),
                tenant: tenant.cloned(),
                roles: roles.into_iter().collect(),
            };
            let request = AccessRequest::new(&principal, permission, asked);
            let answer = table.authorize(request).await;
            assert_eq!(
                answer.is_ok(),
                allowed,
                "{principal:?} {permission:?} {asked}"
            );
            if let Err(error) = answer {
                assert_eq!(error.kind(), ErrorKind::Denied);
                assert!(error.to_string().contains("ada"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_limited_grant_covers_its_services_and_environments_and_never_everything() {
        let grant = AccessGrant {
            may: [Permission::Approve].into(),
            services: ["orders".to_owned()].into(),
            environments: ["staging".to_owned()].into(),
        };
        let table = RoleTable::default().with_role("team", [grant]);
        let ada = Principal::new("ada", [Role::named("team")]);
        let tenant = TenantId::default();
        let request = AccessRequest::new(&ada, Permission::Approve, &tenant);
        for (request, allowed) in [
            (request.within("staging").about("orders"), true),
            (request.within("staging").about("payments"), false),
            (request.within("production").about("orders"), false),
            (request.within("staging"), false),
            (request.about("orders"), false),
        ] {
            let answer = table.authorize(request).await;
            assert_eq!(answer.is_ok(), allowed, "{request:?}");
        }
    }

    #[tokio::test]
    async fn a_standard_role_cannot_be_widened_by_a_custom_one_of_its_name() {
        let everything = AccessGrant::of([Permission::Configure]);
        let table = RoleTable::default().with_role("viewer", [everything]);
        let eve = Principal::new("eve", [Role::named("viewer")]);
        let tenant = TenantId::default();
        let request = AccessRequest::new(&eve, Permission::Configure, &tenant);
        assert!(table.authorize(request).await.is_err());
    }
}
