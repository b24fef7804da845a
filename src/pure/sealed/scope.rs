//! What a sealed item is bound to. The scope is the OAEP label: an item opens only under the very label it was sealed
//! with, so a scope cannot be widened without the private key.

use std::collections::BTreeMap;

/// Annotation for cluster-wide scope; wins over the other one.
pub const CLUSTER_WIDE: &str = "sealedsecrets.bitnami.com/cluster-wide";
/// Annotation for namespace-wide scope.
pub const NAMESPACE_WIDE: &str = "sealedsecrets.bitnami.com/namespace-wide";

/// Who may open an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Only an object of the same name in the same namespace.
    #[default]
    Strict,
    /// Any object of the namespace.
    NamespaceWide,
    /// Any object of the cluster.
    ClusterWide,
}

/// A scope that nobody knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown scope {0:?}; use strict, namespace-wide or cluster-wide")]
pub struct UnknownScope(String);

impl Scope {
    /// All of them, narrowest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::NamespaceWide, Self::ClusterWide];

    /// The scope that the annotations of an object ask for: the value must be exactly `true`.
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        let set = |name| annotations.get(name).is_some_and(|value| value == "true");
        if set(CLUSTER_WIDE) {
            Self::ClusterWide
        } else if set(NAMESPACE_WIDE) {
            Self::NamespaceWide
        } else {
            Self::Strict
        }
    }

    /// The OAEP label, in UTF-8.
    pub fn label(self, namespace: &str, name: &str) -> Vec<u8> {
        match self {
            Self::Strict => format!("{namespace}/{name}").into_bytes(),
            Self::NamespaceWide => namespace.as_bytes().to_vec(),
            Self::ClusterWide => Vec::new(),
        }
    }

    /// The annotation that stands for it; none for strict.
    pub fn annotation(self) -> Option<&'static str> {
        match self {
            Self::Strict => None,
            Self::NamespaceWide => Some(NAMESPACE_WIDE),
            Self::ClusterWide => Some(CLUSTER_WIDE),
        }
    }

    /// The name that `kubeseal --scope` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::NamespaceWide => "namespace-wide",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The incumbent takes an empty text as its default.
        if text.is_empty() {
            return Ok(Self::Strict);
        }
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| UnknownScope(text.into()))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_and_label_come_from_annotations() {
        for (annotations, scope, label) in [
            (&[][..], Scope::Strict, "ns/name"),
            (&[(NAMESPACE_WIDE, "true")][..], Scope::NamespaceWide, "ns"),
            (&[(CLUSTER_WIDE, "true")][..], Scope::ClusterWide, ""),
            (&[(CLUSTER_WIDE, "true"), (NAMESPACE_WIDE, "true")][..], Scope::ClusterWide, ""),
            (&[(CLUSTER_WIDE, "True"), (NAMESPACE_WIDE, "1")][..], Scope::Strict, "ns/name"),
            (&[(CLUSTER_WIDE, "false"), (NAMESPACE_WIDE, "true")][..], Scope::NamespaceWide, "ns"),
        ] {
            let map = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(Scope::of(&map), scope, "{annotations:?}");
            assert_eq!(scope.label("ns", "name"), label.as_bytes());
        }
    }

    #[test]
    fn names_are_those_of_kubeseal() {
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("".parse(), Ok(Scope::Strict));
        assert!("Strict".parse::<Scope>().is_err());
    }
}
