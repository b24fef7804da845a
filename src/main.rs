//! The program. Everything is in the library; see `src/cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    latchwork::cli::main(std::env::args_os().collect())
}
