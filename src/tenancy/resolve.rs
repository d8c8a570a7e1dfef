//! Which tenant a request belongs to: the first of path, header, ingest token, tag and default that names one.
//!
//! Pure logic. A request is resolved twice: by what its head says before its body is read ([`Resolver::caller`]), and
//! by what the tags of its items say afterwards ([`Resolver::assign`]).

use super::{Registry, Tenant};
use crate::settings::Tenancy;
use crate::types::{InvalidTenantId, TenantId};
use std::sync::Arc;

/// What the head of a request claims about its tenant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claims<'a> {
    /// The tenant that the path names.
    pub path: Option<&'a str>,
    /// The tenant that the tenant header names.
    pub header: Option<&'a str>,
    /// The keys that the request carries in any of the places of a Datadog API key, in order of precedence. Official
    /// clients always send one, so a key need not be an ingest token.
    pub keys: [Option<&'a str>; 4],
    /// By what its items may name their tenant.
    pub by: NamedBy,
}

/// By what items may name their tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NamedBy {
    /// A tag of their own.
    #[default]
    Tag,
    /// An attribute of their resource (OTLP).
    Attribute,
}

impl NamedBy {
    fn words(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Attribute => "attribute of the resource",
        }
    }
}

/// The sender of a request, as far as its head tells.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A single tenant.
    Tenant {
        /// The tenant that the request belongs to.
        tenant: Arc<Tenant>,
        /// Whether its token binds the request to it, so that an item's tag may not name another tenant.
        bound: bool,
    },
    /// Decided item by item: the tenant of its tag, or the default.
    Items {
        /// The tenant of items without a tag.
        default: Option<Arc<Tenant>>,
        /// Whether the request has a key that is not an ingest token.
        unknown_key: bool,
    },
}

impl Caller {
    /// The tag to look for in the items of this caller's request.
    pub fn tag<'t>(&self, tenancy: &'t Tenancy) -> Option<&'t str> {
        let look = match self {
            Self::Tenant { bound, .. } => *bound,
            Self::Items { .. } => true,
        };
        (look && tenancy.from_tags).then_some(tenancy.tag.as_str())
    }

    /// The attribute to look for in the resources of this caller's request.
    pub fn attribute<'t>(&self, tenancy: &'t Tenancy) -> Option<&'t str> {
        let look = match self {
            Self::Tenant { bound, .. } => *bound,
            Self::Items { .. } => true,
        };
        (look && !tenancy.attribute.is_empty()).then_some(tenancy.attribute.as_str())
    }
}

/// Why a request is refused. `Display` is the text for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A token is required and the request has no key.
    #[error("no ingest token: send the tenant's token in the DD-API-KEY header")]
    TokenMissing,
    /// The key is not an ingest token, and nothing else names a tenant.
    #[error("unknown token: the API key of this request is not the ingest token of any tenant; {0}")]
    TokenUnknown(Advice),
    /// Nothing names a tenant.
    #[error("no tenant: {0}")]
    Unnamed(Advice),
    /// A name that no tenant can have.
    #[error(transparent)]
    Invalid(#[from] InvalidTenantId),
    /// The named tenant does not exist.
    #[error("unknown tenant {tenant:?}, named by the {by}: register it, or correct the name")]
    Unknown {
        /// The tenant id as given.
        tenant: String,
        /// Where it was found.
        by: &'static str,
    },
    /// The token is another tenant's.
    #[error("the {by} names tenant {tenant:?}, but the ingest token of this request is another tenant's")]
    Foreign {
        /// The name.
        tenant: String,
        /// Where it was found.
        by: &'static str,
    },
}

/// Advice on how to name a tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "name one by the path /tenants/<tenant>/..., the header {header}, an ingest token as API key{items}, or set tenancy.default"
)]
pub struct Advice {
    header: String,
    /// How the items may name one.
    items: String,
}

/// The rules of resolution.
#[derive(Debug, Clone, Copy)]
pub struct Resolver<'a> {
    /// The known tenants.
    pub registry: &'a Registry,
    /// The section `[tenancy]` of the configuration.
    pub tenancy: &'a Tenancy,
    /// The key `ingest.require_token` of the configuration.
    pub require_token: bool,
}

impl Resolver<'_> {
    /// The sender of a request, by its head.
    ///
    /// # Errors
    /// When the head names a tenant that does not exist, when a needed token is missing or unknown, when token and
    /// name disagree, and when no item could name a tenant either.
    pub fn caller(&self, claims: &Claims<'_>) -> Result<Caller, Denied> {
        let named = match (claims.path, claims.header) {
            (Some(name), _) => Some((name, "path")),
            (None, Some(name)) => Some((name, "header")),
            (None, None) => None,
        };
        if self.require_token {
            return self.bound_caller(claims);
        }
        if let Some((name, by)) = named {
            return Ok(Caller::Tenant { tenant: self.find(name, by)?, bound: false });
        }
        if let Some(tenant) = self.by_token(claims) {
            return Ok(Caller::Tenant { tenant, bound: false });
        }
        let default = self.default_tenant()?;
        let unknown_key = claims.keys.iter().any(Option::is_some);
        let may_be_named = match claims.by {
            NamedBy::Tag => self.tenancy.from_tags,
            NamedBy::Attribute => !self.tenancy.attribute.is_empty(),
        };
        if default.is_none() && !may_be_named {
            return Err(self.unnamed(unknown_key, claims.by));
        }
        Ok(Caller::Items { default, unknown_key })
    }

    /// The tenant of items that are named so, or not at all.
    ///
    /// # Errors
    /// When they name a tenant that does not exist or that is not the caller's, and when the items have no tenant.
    pub fn tenant_of(&self, caller: &Caller, named: Option<&str>, by: NamedBy) -> Result<Arc<Tenant>, Denied> {
        match (caller, named) {
            (Caller::Tenant { tenant, bound: true }, Some(name)) if name != tenant.id.as_str() => {
                Err(Denied::Foreign { tenant: shorten(name), by: by.words() })
            }
            (Caller::Tenant { tenant, .. }, _) | (Caller::Items { default: Some(tenant), .. }, None) => {
                Ok(Arc::clone(tenant))
            }
            (Caller::Items { .. }, Some(name)) => self.find(name, by.words()),
            (Caller::Items { default: None, unknown_key }, None) => Err(self.unnamed(*unknown_key, by)),
        }
    }

    /// With `require_token`: the token's tenant, and no other.
    fn bound_caller(&self, claims: &Claims<'_>) -> Result<Caller, Denied> {
        let Some(tenant) = self.by_token(claims) else {
            let given = claims.keys.iter().any(Option::is_some);
            return Err(if given { Denied::TokenUnknown(self.advice(claims.by)) } else { Denied::TokenMissing });
        };
        for (name, by) in [(claims.path, "path"), (claims.header, "header")] {
            match name {
                Some(name) if name != tenant.id.as_str() => {
                    return Err(Denied::Foreign { tenant: shorten(name), by });
                }
                _ => {}
            }
        }
        Ok(Caller::Tenant { tenant, bound: true })
    }

    fn by_token(&self, claims: &Claims<'_>) -> Option<Arc<Tenant>> {
        claims.keys.iter().flatten().find_map(|key| self.registry.by_token(key))
    }

    fn find(&self, name: &str, by: &'static str) -> Result<Arc<Tenant>, Denied> {
        match self.registry.get(name) {
            Some(tenant) => Ok(tenant),
            None if TenantId::is_valid(name) => Err(Denied::Unknown { tenant: name.to_owned(), by }),
            None => Err(Denied::Invalid(InvalidTenantId(shorten(name)))),
        }
    }

    fn default_tenant(&self) -> Result<Option<Arc<Tenant>>, Denied> {
        self.tenancy.default.as_ref().map(|id| self.find(id.as_str(), "setting tenancy.default")).transpose()
    }

    fn unnamed(&self, unknown_key: bool, by: NamedBy) -> Denied {
        let advice = self.advice(by);
        if unknown_key { Denied::TokenUnknown(advice) } else { Denied::Unnamed(advice) }
    }

    fn advice(&self, by: NamedBy) -> Advice {
        let Tenancy { tag, attribute, from_tags, .. } = self.tenancy;
        let items = match by {
            NamedBy::Attribute if !attribute.is_empty() => format!(", an attribute {attribute} of the resource"),
            NamedBy::Tag if *from_tags => format!(", a tag {tag}:<tenant> in every item"),
            _ => String::new(),
        };
        Advice { header: self.tenancy.header.clone(), items }
    }
}

/// A name cut for an error message: input may be long.
fn shorten(name: &str) -> String {
    name.chars().take(TenantId::MAX_LEN + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sites;
    use crate::types::Secret;

    const TOKEN_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const TOKEN_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";

    struct House {
        registry: Registry,
        tenancy: Tenancy,
        require_token: bool,
    }

    impl House {
        /// With the tenants a, b and c; a and b have a token.
        fn new() -> Self {
            let registry = Registry::default();
            let site = Sites::default().get("datadoghq.com").unwrap();
            for id in ["a", "b", "c"] {
                registry.insert(Arc::new(Tenant::new(TenantId::new(id).unwrap(), site.clone(), None)));
            }
            registry.add_token(&Secret::new(TOKEN_A), &TenantId::new("a").unwrap());
            registry.add_token(&Secret::new(TOKEN_B), &TenantId::new("b").unwrap());
            Self { registry, tenancy: Tenancy { from_tags: true, ..Tenancy::default() }, require_token: false }
        }

        fn without_tags(mut self) -> Self {
            self.tenancy.from_tags = false;
            self
        }

        fn with_default(mut self, id: &str) -> Self {
            self.tenancy.default = Some(TenantId::new(id).unwrap());
            self
        }

        fn strict(mut self) -> Self {
            self.require_token = true;
            self
        }

        fn resolver(&self) -> Resolver<'_> {
            Resolver { registry: &self.registry, tenancy: &self.tenancy, require_token: self.require_token }
        }

        /// The tenants of items with these tags, in a request with this head.
        fn tenants(&self, claims: Claims<'_>, tags: &[Option<&str>]) -> Result<String, Denied> {
            let resolver = self.resolver();
            let caller = resolver.caller(&claims)?;
            let tenants: Result<Vec<_>, _> =
                tags.iter().map(|tag| resolver.tenant_of(&caller, *tag, NamedBy::Tag)).collect();
            Ok(tenants?.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>().join(" "))
        }
    }

    fn claims<'a>(path: Option<&'a str>, header: Option<&'a str>, key: Option<&'a str>) -> Claims<'a> {
        Claims { path, header, keys: [None, None, key, None], by: NamedBy::Tag }
    }

    #[test]
    fn the_first_way_names_the_tenant() {
        let house = House::new().with_default("c");
        for (head, tag, tenant) in [
            (claims(Some("a"), Some("b"), Some(TOKEN_B)), Some("b"), "a"),
            (claims(None, Some("a"), Some(TOKEN_B)), Some("b"), "a"),
            (claims(None, None, Some(TOKEN_A)), Some("b"), "a"),
            (claims(None, None, None), Some("a"), "a"),
            (claims(None, None, None), None, "c"),
        ] {
            assert_eq!(house.tenants(head, &[tag]).unwrap(), tenant, "{head:?} {tag:?}");
        }
    }

    #[test]
    fn a_foreign_key_is_ignored_beside_a_name() {
        let house = House::new();
        assert_eq!(house.tenants(claims(Some("a"), None, Some(OTHER_KEY)), &[None]).unwrap(), "a");
        assert_eq!(house.tenants(claims(None, Some("a"), Some(OTHER_KEY)), &[None]).unwrap(), "a");
        assert_eq!(house.tenants(claims(None, None, Some(OTHER_KEY)), &[Some("a"), Some("b")]).unwrap(), "a b");
        let house = house.with_default("c");
        assert_eq!(house.tenants(claims(None, None, Some(OTHER_KEY)), &[None]).unwrap(), "c");
    }

    #[test]
    fn a_nameless_request_is_told_how() {
        for house in [House::new(), House::new().without_tags()] {
            let unnamed = house.tenants(claims(None, None, None), &[None]).unwrap_err();
            assert!(matches!(unnamed, Denied::Unnamed(_)), "{unnamed:?}");
            let text = unnamed.to_string();
            assert!(text.contains("/tenants/<tenant>") && text.contains("X-Tenant"), "{text}");
            assert_eq!(text.contains("tag tenant:<tenant>"), house.tenancy.from_tags, "{text}");
            let unknown = house.tenants(claims(None, None, Some(OTHER_KEY)), &[None]).unwrap_err();
            assert!(matches!(unknown, Denied::TokenUnknown(_)), "{unknown:?}");
            assert!(!unknown.to_string().contains(OTHER_KEY));
        }
    }

    #[test]
    fn any_place_of_a_key_may_hold_the_token() {
        let house = House::new();
        for place in 0..4 {
            let mut head = Claims { keys: [None, None, None, Some(OTHER_KEY)], ..Claims::default() };
            head.keys[place] = Some(TOKEN_A);
            assert_eq!(house.tenants(head, &[None]).unwrap(), "a", "{place}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_everywhere() {
        let house = House::new().with_default("c");
        for (head, tag, by) in [
            (claims(Some("z"), None, Some(TOKEN_A)), None, "path"),
            (claims(None, Some("z"), Some(TOKEN_A)), None, "header"),
            (claims(None, None, None), Some("z"), "tag"),
        ] {
            assert_eq!(house.tenants(head, &[tag]), Err(Denied::Unknown { tenant: "z".into(), by }));
        }
        let long = "x".repeat(5_000);
        for name in ["", "a b", "..", &long] {
            let refused = house.tenants(claims(None, Some(name), None), &[None]).unwrap_err();
            assert!(matches!(&refused, Denied::Invalid(_)), "{refused:?}");
            assert!(refused.to_string().len() < 300);
        }
        let refused = House::new().with_default("gone").tenants(claims(None, None, None), &[None]).unwrap_err();
        assert!(refused.to_string().contains("tenancy.default"), "{refused}");
    }

    #[test]
    fn items_without_a_tenant_are_refused() {
        let house = House::new();
        let refused = house.tenants(claims(None, None, None), &[Some("a"), None]).unwrap_err();
        assert!(matches!(refused, Denied::Unnamed(_)), "{refused:?}");
        let refused = house.tenants(claims(None, None, None), &[Some("a"), Some("z")]).unwrap_err();
        assert!(matches!(refused, Denied::Unknown { by: "tag", .. }), "{refused:?}");
    }

    #[test]
    fn tags_are_looked_at_only_where_they_matter() {
        let tag = |house: &House, head: Claims<'_>| {
            let caller = house.resolver().caller(&head).unwrap();
            caller.tag(&house.tenancy).map(str::to_owned)
        };
        let named = claims(Some("a"), None, None);
        assert_eq!(tag(&House::new(), named), None);
        assert_eq!(tag(&House::new(), claims(None, None, None)), Some("tenant".into()));
        assert_eq!(tag(&House::new().without_tags().with_default("a"), claims(None, None, None)), None);
        assert_eq!(tag(&House::new().strict(), claims(None, None, Some(TOKEN_A))), Some("tenant".into()));
    }

    #[test]
    fn attributes_of_resources_name_tenants_as_far_as_the_head_lets_them() {
        let owner = |house: &House, head: Claims<'_>, named: Option<&str>| {
            let caller = house.resolver().caller(&Claims { by: NamedBy::Attribute, ..head })?;
            let looked_for = caller.attribute(&house.tenancy).and(named);
            house.resolver().tenant_of(&caller, looked_for, NamedBy::Attribute).map(|tenant| tenant.id.to_string())
        };
        let (nobody, token) = (claims(None, None, None), claims(None, None, Some(TOKEN_A)));
        let house = House::new().without_tags();
        assert_eq!(owner(&house, nobody, Some("b")).unwrap(), "b");
        assert_eq!(owner(&house, claims(Some("a"), None, None), Some("b")).unwrap(), "a", "the path decides");
        assert!(matches!(owner(&house, nobody, Some("z")), Err(Denied::Unknown { .. })));
        let unnamed = owner(&house, nobody, None).unwrap_err().to_string();
        assert!(unnamed.contains("an attribute tenant of the resource"), "{unnamed}");
        let house = house.with_default("c");
        assert_eq!(owner(&house, nobody, None).unwrap(), "c");
        let house = house.strict();
        assert_eq!(owner(&house, token, Some("a")).unwrap(), "a");
        assert!(matches!(owner(&house, token, Some("b")), Err(Denied::Foreign { .. })));
        assert_eq!(owner(&house, nobody, Some("a")), Err(Denied::TokenMissing));
    }

    #[test]
    fn a_required_token_cannot_be_replaced() {
        let house = House::new().with_default("c").strict();
        for head in [claims(Some("a"), None, None), claims(None, Some("a"), None), claims(None, None, None)] {
            assert_eq!(house.tenants(head, &[None]), Err(Denied::TokenMissing), "{head:?}");
        }
        let refused = house.tenants(claims(Some("a"), None, Some(OTHER_KEY)), &[None]).unwrap_err();
        assert!(matches!(refused, Denied::TokenUnknown(_)));
        assert_eq!(house.tenants(claims(None, None, Some(TOKEN_A)), &[None, Some("a")]).unwrap(), "a a");
        assert_eq!(house.tenants(claims(Some("a"), Some("a"), Some(TOKEN_A)), &[None]).unwrap(), "a");
    }

    #[test]
    fn a_required_token_binds_to_its_tenant() {
        let house = House::new().strict();
        for (head, tag, by) in [
            (claims(Some("b"), None, Some(TOKEN_A)), None, "path"),
            (claims(Some("a"), Some("b"), Some(TOKEN_A)), None, "header"),
            (claims(None, None, Some(TOKEN_A)), Some("b"), "tag"),
        ] {
            assert_eq!(house.tenants(head, &[tag]), Err(Denied::Foreign { tenant: "b".into(), by }));
        }
    }
}
