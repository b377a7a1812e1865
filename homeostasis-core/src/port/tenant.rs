//! Tenants: whose data and limits are whose.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::stage_error;
use crate::flags::Mode;
use crate::id::TenantId;

stage_error!(
    /// Why the directory of tenants did not answer; the tenant is then treated as unknown.
    TenantError
);

/// What applies to one tenant beside the policy of the whole healer; the stricter of both counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantPolicy {
    /// How far the healer may go for it; `None` leaves it to the healer's own mode.
    pub mode: Option<Mode>,
    /// How many heals may run for it at a time; 4 by default, 0 stops them.
    pub max_concurrent_heals: u32,
    /// How many runs may begin for it within an hour; 60 by default, 0 stops them.
    pub max_runs_per_hour: u32,
}

impl Default for TenantPolicy {
    fn default() -> Self {
        Self {
            mode: None,
            max_concurrent_heals: 4,
            max_runs_per_hour: 60,
        }
    }
}

/// Who the tenants are. An unknown tenant is healed by nobody.
#[async_trait]
pub trait TenantDirectory: fmt::Debug + Send + Sync {
    /// What applies to `tenant`; `None` if there is no such tenant.
    async fn policy(&self, tenant: &TenantId) -> Result<Option<TenantPolicy>, TenantError>;

    /// All tenants, in the order of their names.
    async fn tenants(&self) -> Result<Vec<TenantId>, TenantError>;
}

const _: fn(&dyn TenantDirectory) = |_| {};

/// The key of `name` in stores that tenants share: no two tenants share a key, whatever characters
/// their names hold.
pub fn tenant_key(tenant: &TenantId, name: &str) -> String {
    let tenant = tenant.as_str();
    format!("tenant/{}:{tenant}/{name}", tenant.len())
}

/// One tenant: the host itself.
#[derive(Debug, Clone, Default)]
pub struct SingleTenant {
    tenant: TenantId,
    policy: TenantPolicy,
}

impl SingleTenant {
    /// Only `tenant`, under `policy`.
    pub fn new(tenant: TenantId, policy: TenantPolicy) -> Self {
        Self { tenant, policy }
    }
}

#[async_trait]
impl TenantDirectory for SingleTenant {
    async fn policy(&self, tenant: &TenantId) -> Result<Option<TenantPolicy>, TenantError> {
        Ok((*tenant == self.tenant).then(|| self.policy.clone()))
    }

    async fn tenants(&self) -> Result<Vec<TenantId>, TenantError> {
        Ok(vec![self.tenant.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn the_single_tenant_is_known_and_no_other() {
        let directory = SingleTenant::default();
        let known = directory.policy(&TenantId::default()).await.unwrap();
        assert_eq!(known, Some(TenantPolicy::default()));
        let stranger = TenantId::new("stranger").unwrap();
        assert_eq!(directory.policy(&stranger).await.unwrap(), None);
        assert_eq!(directory.tenants().await.unwrap(), [TenantId::default()]);
    }

    #[test]
    fn a_misspelled_limit_is_refused() {
        let text = r#"{"max_runs_per_hours": 1}"#;
        assert!(serde_json::from_str::<TenantPolicy>(text).is_err());
    }

    proptest! {
        #[test]
        fn no_two_tenants_share_a_key(
            a in "[a/:1]{1,4}", b in "[a/:1]{1,4}", x in "[a/:1]{0,4}", y in "[a/:1]{0,4}",
        ) {
            let key = |tenant: &str, name: &str| {
                tenant_key(&TenantId::new(tenant).unwrap(), name)
            };
            prop_assert_eq!(key(&a, &x) == key(&b, &y), (a, x) == (b, y));
        }
    }
}
