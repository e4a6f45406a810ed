//! The command `trine`: `cli` and a file a subcommand in it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
