//! The README's section on C, as it is printed: its commands, and its program.

use std::fs;
use std::path::Path;

use crate::command::{command, printed, root};
use crate::outside;

#[test]
fn the_section_on_c_compiles_and_runs() {
    if !outside::asked("the README's section on C") {
        return;
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section =
        readme.split("\n## ").find(|section| section.starts_with("In C\n")).expect("a section on C");
    let program =
        section.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a program");
    assert!(program.lines().count() <= 15, "{program}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("main.c"), program).unwrap();
    std::os::unix::fs::symlink(root().join("tests"), folder.path().join("tests")).unwrap();
    let before = section.split("```").next().unwrap_or(section);
    let lines = before.lines().filter_map(|line| line.strip_prefix("    "));
    let commands: Vec<&str> = lines.map(|line| line.split(" #").next().unwrap_or(line).trim()).collect();
    assert!(commands.len() >= 2, "{commands:?}");
    for line in commands {
        run(line, folder.path());
    }
    let said = outside::success(&mut outside::program(folder.path().join("a.out"))).stdout;
    assert!(String::from_utf8(said).unwrap().starts_with("done: "));
}

fn run(line: &str, folder: &Path) {
    let mut words = line.split_whitespace();
    match words.next().expect("a program") {
        "trine" => {
            let args: Vec<&str> = words.collect();
            printed(command(&args).current_dir(folder).output().unwrap());
        }
        program => {
            outside::success(outside::program(program).args(words).current_dir(folder));
        }
    }
}
