//! Where a kubeconfig is found, and what it and a command line say about the cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kube::config::{Kubeconfig, KubeconfigError};

use super::error::ApiError;
use crate::pure::error::{chain, one_line, system};

mod overrides;
mod usable;

pub use overrides::Overrides;
pub(super) use usable::{Chosen, Unusable};

/// The kubeconfig as kubectl finds it: the named file, else those of the list in KUBECONFIG that exist, else
/// `~/.kube/config`. `None` without any.
pub(super) fn find(named: Option<&Path>) -> Result<Option<Kubeconfig>, ApiError> {
    let found = match (named, variable("KUBECONFIG")) {
        (Some(path), _) => return read(path).map(Some),
        (None, Some(list)) => std::env::split_paths(&list).collect(),
        (None, None) => variable("HOME").map(|home| Path::new(&home).join(".kube/config")).into_iter().collect(),
    };
    merged(found)
}

pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn merged(paths: Vec<PathBuf>) -> Result<Option<Kubeconfig>, ApiError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let file = read(path)?;
        merged = Some(match merged {
            Some(first) => first.merge(file).map_err(|e| ApiError::Config(one_line(&chain(&e))))?,
            None => file,
        });
    }
    Ok(merged)
}

fn read(path: &Path) -> Result<Kubeconfig, ApiError> {
    let mut file = Kubeconfig::read_from(path).map_err(|e| {
        ApiError::Config(match e {
            // Its text shows the lines around, and they may hold a token.
            KubeconfigError::Parse(error) => {
                let line = error.location().map(|place| format!(" line {}:", place.line())).unwrap_or_default();
                format!("{:?}: yaml:{line} not a kubeconfig", path.display().to_string())
            }
            e => one_line(&chain(&e)),
        })
    })?;
    // kubectl writes an empty one into files that have none; it must not go before that of the next file.
    file.current_context = file.current_context.filter(|context| !context.is_empty());
    Ok(file)
}

/// The same, with failures as client-go words them.
pub(super) fn find_named(named: Option<&Path>) -> Result<Option<Kubeconfig>, ApiError> {
    if let Some(path) = named
        && let Err(error) = std::fs::metadata(path)
    {
        return Err(ApiError::Chosen(format!("stat {}: {}", path.display(), system(&error))));
    }
    find(named).map_err(|error| match error {
        ApiError::Config(text) => ApiError::Chosen(format!("error loading config file {text}")),
        other => other,
    })
}

/// The namespace that was asked for, else that of the kubeconfig's context, else that of the pod. No connection is made.
///
/// # Errors
/// A kubeconfig that cannot be read; and, where no namespace was asked for, one that cannot be used.
pub fn context_namespace(
    kubeconfig: Option<&Path>,
    overrides: &Overrides,
    asked: Option<&str>,
) -> Result<String, ApiError> {
    let file = find_named(kubeconfig)?.unwrap_or_default();
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    match Chosen::of(&file, overrides).namespace() {
        Ok((namespace, true)) => Ok(namespace),
        Ok(_) | Err(Unusable::Empty) if in_a_pod() => Ok(pod_namespace()),
        Ok((namespace, false)) => Ok(namespace),
        Err(unusable) => Err(unusable.into()),
    }
}

/// The namespace of the pod that this process runs in; `default` outside of one.
pub fn pod_namespace() -> String {
    let named = std::env::var("POD_NAMESPACE").ok().filter(|name| !name.is_empty());
    let own = || std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok();
    named
        .or_else(|| own().map(|text| text.trim().to_owned()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "default".into())
}

/// Whether this process has a service account to speak for.
pub(super) fn in_a_pod() -> bool {
    let named = |name| variable(name).is_some();
    named("KUBERNETES_SERVICE_HOST")
        && named("KUBERNETES_SERVICE_PORT")
        && Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").is_file()
}

impl From<Unusable> for ApiError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Wrong(text) => Self::Chosen(text),
            Unusable::Empty => {
                let text = "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable";
                let missing = |list: &OsString| std::env::split_paths(list).all(|path| !path.exists());
                Self::Unconfigured(match variable("KUBECONFIG").filter(missing) {
                    Some(list) => format!("{text}; {}: no such file", Path::new(&list).display()),
                    None => text.into(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfigs_of_a_list_are_merged_and_those_that_are_missing_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let clusters = file("a", "{current-context: '', clusters: [{name: c, cluster: {server: 'https://c.test'}}]}");
        let contexts =
            file("b", "{current-context: one, contexts: [{name: one, context: {cluster: c, namespace: n}}]}");
        let missing = || folder.path().join("missing");
        let found = merged(vec![missing(), clusters, contexts]).unwrap().unwrap();
        assert_eq!((found.current_context.as_deref(), found.clusters.len(), found.contexts.len()), (Some("one"), 1, 1));
        assert!(merged(vec![missing()]).unwrap().is_none());
        assert!(merged(vec![file("broken", "[")]).is_err(), "one that is there is meant");
        assert!(find(Some(&missing())).is_err(), "so is one that is named");
    }
}
