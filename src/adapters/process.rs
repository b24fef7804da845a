//! What this process asks of the kernel for itself.

/// Switches core dumps off, so that a crash leaves no plaintext on disk. Programs that this one starts are not touched:
/// they begin with the mark that their own file gives them.
///
/// Elsewhere than on Linux there is no such mark, and the limit of the shell that started us holds.
pub fn never_dump() {
    #[cfg(target_os = "linux")]
    // A kernel that cannot is one that has no such dumps.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_crash_leaves_no_memory_on_disk() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        super::never_dump();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
