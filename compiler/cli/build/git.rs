//! What git says of the sources that are built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The commit that is checked out, with `-dirty` after it where files differ from it.
pub fn commit(root: &Path) -> Option<String> {
    let mut git = git(root);
    git.args(["describe", "--always", "--abbrev=40", "--dirty", "--exclude", "*"]);
    // Of sources that were unpacked within another repository, git would tell that one's.
    root.join(".git").exists().then(|| said(&mut git)).flatten()
}

/// Files of git of which one changes where another commit is checked out or made.
pub fn history(root: &Path) -> Vec<PathBuf> {
    let branch = said(git(root).args(["symbolic-ref", "--quiet", "HEAD"]));
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().map(String::from).chain(branch);
    let path = |name: String| said(git(root).args(["rev-parse", "--git-path", &name]));
    names.filter_map(path).map(|path| root.join(path)).collect()
}

/// What a program printed, if it is there and succeeded.
pub fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

fn git(root: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(root);
    git
}
