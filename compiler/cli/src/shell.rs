//! `trine completions` and `trine man`: what shells and `man` know of the command line.

use std::io::Write;
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;
use trine::FileError;

use super::Out;
use super::failure::Outcome;

const EXAMPLES: &str = "\
Examples:
  trine completions bash > ~/.local/share/bash-completion/completions/trine
  trine completions zsh > ~/.zfunc/_trine
  trine completions fish > ~/.config/fish/completions/trine.fish";

/// Print what a shell completes commands and options with
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    shell: Shell,
}

/// Write manual pages, one for each command
#[derive(clap::Args)]
pub struct Man {
    /// The folder to write to, such as ~/.local/share/man/man1
    folder: PathBuf,
}

pub fn completions(args: Completions, mut command: Command, out: &mut Out) -> Outcome {
    // It does not return an error of what it writes to.
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut command, "trine", &mut script);
    Ok(out.write_all(&script)?)
}

pub fn man(args: Man, command: Command) -> Outcome {
    let fail = |error| FileError::write(&args.folder, error);
    std::fs::create_dir_all(&args.folder).map_err(fail)?;
    clap_mangen::generate_to(command, &args.folder).map_err(fail)?;
    Ok(())
}
