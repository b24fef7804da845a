//! What the program as it is shipped copies and compares memory with.

use std::process::Command;

use crate::rig::{process, scratch, tools};

/// Every length up to several hundred bytes, every overlap, beside loops over bytes; the same again watched for reads and
/// writes that go too far.
#[test]
fn the_memory_functions_keep_the_standards_contract() {
    let folder = scratch::dir("memory");
    let source = |name: &str| tools::repository().join(name);
    // Under names of their own: the program that checks them copies as well.
    let names = ["memmove", "memcpy", "memcmp", "bcmp"].map(|name| format!("-D{name}=ours_{name}"));
    for (name, flags) in [("plain", &[][..]), ("watched", &["-fsanitize=address,undefined"][..])] {
        let object = folder.join(format!("{name}.o"));
        let mut functions = Command::new("cc");
        functions.args(["-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"]);
        functions.arg("-fno-tree-loop-distribute-patterns").args(&names).args(flags);
        functions.arg("-c").arg(source("deploy/musl/memory.c")).arg("-o").arg(&object);
        process::run_ok(functions, b"");
        let check = folder.join(name);
        let mut program = Command::new("cc");
        program.args(["-O2", "-Wall", "-Wextra", "-Werror"]).args(flags);
        program.arg(source("tests/musl/memory.c")).arg(&object).arg("-o").arg(&check);
        process::run_ok(program, b"");
        assert_eq!(process::run_ok(Command::new(check), b""), "right\n", "{name}");
    }
}
