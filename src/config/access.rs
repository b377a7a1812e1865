//! The section `access` of a configuration.

use homeostasis_core::document::{
    Fields, Node, Shape, list, map_of, nested, non_empty_string, one_of, parsed,
};
use homeostasis_core::port::{
    AccessGrant, Permission, Principal, Role, RoleTable, TokenHash, TokenTable,
};
use homeostasis_core::{TenantId, Violations};

const PERMISSIONS: &[(&str, Permission)] = &[
    ("view", Permission::View),
    ("respond", Permission::Respond),
    ("approve", Permission::Approve),
    ("execute", Permission::Execute),
    ("stop", Permission::Stop),
    ("configure", Permission::Configure),
    ("audit", Permission::Audit),
];

/// Who is who, and who may what.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessConfig {
    /// The roles beside viewer, operator and admin. Default none.
    pub roles: RoleTable,
    /// Those who may command, by the hashes of their tokens. Default nobody.
    pub tokens: TokenTable,
    /// As whom the healer itself acts: with fewer rights it acts on less. Default an operator of
    /// everything.
    pub healer: Principal,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            roles: RoleTable::default(),
            tokens: TokenTable::default(),
            healer: Principal::new("homeostasis", [Role::Operator]),
        }
    }
}

pub(super) fn access(d: &mut Fields<'_>) -> Option<AccessConfig> {
    let custom = d.default(
        "roles",
        map_of(list(nested(grant))),
        Vec::new().into_iter().collect(),
    );
    let principals = d.default("principals", list(nested(principal)), Vec::new());
    let own = d.default(
        "healer",
        list(non_empty_string()),
        vec!["operator".to_owned()],
    );
    let (custom, principals, own) = (custom?, principals?, own?);
    let mut roles = RoleTable::default();
    for (name, grants) in custom {
        if !matches!(Role::named(&name), Role::Custom(_)) {
            d.reject(
                "roles",
                format!("names of your own; {name:?} is what it is"),
            );
        }
        roles = roles.with_role(name, grants);
    }
    let known = |d: &mut Fields<'_>, field: &str, names: &[String]| {
        for name in names {
            if !roles.knows(&Role::named(name)) {
                let expected = format!("viewer, operator, admin or one of roles; {name:?} is none");
                d.reject(field, expected);
            }
        }
    };
    known(d, "healer", &own);
    let mut tokens = TokenTable::default();
    for (idx, person) in principals.iter().enumerate() {
        known(d, "principals", &person.roles);
        if ["homeostasis", "unknown"].contains(&person.name.as_str()) {
            let expected = format!(
                "names of people; {:?} is one of the audit log's",
                person.name
            );
            d.reject("principals", expected);
        }
        let earlier = &principals[..idx];
        if earlier.iter().any(|other| other.name == person.name) {
            let expected = format!("names that differ; {:?} stands twice", person.name);
            d.reject("principals", expected);
        }
    }
    for person in principals {
        let named = person.roles.iter().map(|name| Role::named(name));
        let mut principal = Principal::new(person.name, named);
        principal.tenant = person.tenant;
        tokens = tokens.with_principal(principal, person.tokens);
    }
    Some(AccessConfig {
        roles,
        tokens,
        healer: Principal::new("homeostasis", own.iter().map(|name| Role::named(name))),
    })
}

fn grant(d: &mut Fields<'_>) -> Option<AccessGrant> {
    let may = d.required("may", list(one_of(PERMISSIONS)));
    let services = d.default("services", list(non_empty_string()), Vec::new());
    let environments = d.default("environments", list(non_empty_string()), Vec::new());
    Some(AccessGrant {
        may: may?.into_iter().collect(),
        services: services?.into_iter().collect(),
        environments: environments?.into_iter().collect(),
    })
}

struct Person {
    name: String,
    tenant: Option<TenantId>,
    roles: Vec<String>,
    tokens: Vec<TokenHash>,
}

/// What does not parse may be the token itself: it is not repeated.
struct HashOfToken;

impl Shape for HashOfToken {
    type Output = TokenHash;

    fn read(&self, node: &Node, path: &str, violations: &mut Violations) -> Option<TokenHash> {
        let parsed = node.as_str().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            let mut violation = node.violation(path, self.expected());
            "***".clone_into(&mut violation.value);
            violations.push(violation);
        }
        parsed
    }

    fn expected(&self) -> String {
        "the hash of a token, hmac-sha256:SALT:HASH (`homeostasis access token` makes one)"
            .to_owned()
    }
}

fn principal(d: &mut Fields<'_>) -> Option<Person> {
    let name = d.required("name", non_empty_string());
    let tenant = d.optional("tenant", parsed::<TenantId>("1 to 128 characters"));
    let roles = d.required("roles", list(non_empty_string()));
    let tokens = d.required("tokens", list(HashOfToken));
    Some(Person {
        name: name?,
        tenant: tenant?,
        roles: roles?,
        tokens: tokens?,
    })
}
