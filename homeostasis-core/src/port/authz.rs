//! Authorization: who may ask the healer for what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::id::TenantId;

/// What somebody may be allowed to do.
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
    /// Ask for a plan to be executed or undone.
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

/// Somebody whose identity the host has proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The name under which it is audited.
    pub name: String,
    /// The one tenant it belongs to; `None` is an operator of all tenants.
    pub tenant: Option<TenantId>,
    /// What it is.
    pub roles: BTreeSet<Role>,
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
    /// Whether `principal` has `permission` on what belongs to `tenant`.
    async fn authorize(
        &self,
        principal: &Principal,
        permission: Permission,
        tenant: &TenantId,
    ) -> Result<(), NotAuthorized>;
}

const _: fn(&dyn Authorizer) = |_| {};

/// Roles as a table: the three standard roles, and those the host adds. A role that is not in it
/// allows nothing.
#[derive(Debug, Clone, Default)]
pub struct RoleTable {
    custom: BTreeMap<String, BTreeSet<Permission>>,
}

impl RoleTable {
    /// The same with the role `name`, or with its permissions replaced.
    pub fn with_role(
        mut self,
        name: impl Into<String>,
        permissions: impl IntoIterator<Item = Permission>,
    ) -> Self {
        let permissions = permissions.into_iter().collect();
        self.custom.insert(name.into(), permissions);
        self
    }

    /// Whether `role` holds `permission`.
    pub fn allows(&self, role: &Role, permission: Permission) -> bool {
        use Permission::{Approve, Execute, Respond, Stop, View};
        match role {
            Role::Viewer => permission == View,
            Role::Operator => [View, Respond, Approve, Execute, Stop].contains(&permission),
            Role::Admin => true,
            Role::Custom(name) => self
                .custom
                .get(name)
                .is_some_and(|permissions| permissions.contains(&permission)),
        }
    }
}

#[async_trait]
impl Authorizer for RoleTable {
    async fn authorize(
        &self,
        principal: &Principal,
        permission: Permission,
        tenant: &TenantId,
    ) -> Result<(), NotAuthorized> {
        let own = principal.tenant.as_ref();
        let reason = if let Some(own) = own.filter(|own| *own != tenant) {
            format!("it belongs to tenant {own}")
        } else if principal
            .roles
            .iter()
            .any(|role| self.allows(role, permission))
        {
            return Ok(());
        } else {
            format!("none of its roles {:?} allows it", principal.roles)
        };
        Err(NotAuthorized {
            principal: principal.name.clone(),
            permission,
            tenant: tenant.clone(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn roles_allow_what_they_hold_in_their_own_tenant_only() {
        use Permission::{Approve, Audit, Configure, View};
        let table = RoleTable::default().with_role("auditor", [View, Audit]);
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
            let answer = table.authorize(&principal, permission, asked).await;
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
}
