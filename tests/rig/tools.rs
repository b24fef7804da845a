//! Where the real programs are.

use std::path::{Path, PathBuf};

/// The path of `program`: `LATCHWORK_TEST_<PROGRAM>`, then `KUBEBUILDER_ASSETS`, then the cache that `make tools` fills,
/// then PATH.
///
/// # Panics
/// When it is nowhere. A missing tool fails the test: a skipped one would look like a passed one.
pub fn path(program: &str) -> PathBuf {
    let variable = format!("LATCHWORK_TEST_{}", program.to_uppercase().replace('-', "_"));
    if let Some(explicit) = std::env::var_os(&variable) {
        let explicit = PathBuf::from(explicit);
        assert!(explicit.is_file(), "{variable} names {}, which is not a file", explicit.display());
        return explicit;
    }
    let mut folders = Vec::new();
    folders.extend(std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from));
    folders.extend(cache_bin());
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders
        .iter()
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{program} not found: run `make tools`, or set {variable} to its path"))
}

/// The folder of links that `tests/rig/tools/build.sh` prints.
pub fn cache_bin() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("LATCHWORK_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("latchwork")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/latchwork")))?;
    Some(cache.join("tools/bin"))
}

/// The folder of this repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
