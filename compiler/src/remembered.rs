//! What autotuning measured, in a file that compilations share.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use trine_codegen::plan::tune::Outcomes;
use trine_formats::disk::write_text;

/// The file in `folder`.
fn file(folder: &Path) -> PathBuf {
    folder.join("autotune.json")
}

/// What is remembered in `folder`. A file that is none of ours is as good as none, and is told to `note`.
pub fn read(folder: Option<&Path>, note: &mut dyn FnMut(String)) -> Outcomes {
    let Some(path) = folder.map(file) else { return Outcomes::default() };
    match std::fs::read_to_string(&path) {
        Ok(text) => Outcomes::parse(&text).unwrap_or_else(|| {
            note(format!("`{}` is not what autotuning wrote; it is made again", path.display()));
            Outcomes::default()
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Outcomes::default(),
        Err(error) => {
            note(format!("cannot read `{}`: {error}", path.display()));
            Outcomes::default()
        }
    }
}

/// Remembers outcomes in `folder`; that they cannot be costs time, and is told to `note`.
pub fn write(folder: Option<&Path>, outcomes: &Outcomes, note: &mut dyn FnMut(String)) {
    let Some(folder) = folder else {
        return note("there is no folder to remember it in: `cache` of the options is it, and TRINE_CACHE for the command".into());
    };
    let path = file(folder);
    let made = std::fs::create_dir_all(folder).map_err(|e| format!("cannot write `{}`: {e}", path.display()));
    if let Err(message) = made.and_then(|()| write_text(&path, &outcomes.text()).map_err(|e| e.to_string())) {
        note(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_or_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new");
        let outcomes = Outcomes::parse(r#"{"this": {"shape": {"kernel": "f", "gain": 1.25}}}"#).unwrap();
        let silent = &mut |note| panic!("{note}");
        assert_eq!(read(Some(&new), silent), Outcomes::default());
        write(Some(&new), &outcomes, silent);
        assert_eq!(read(Some(&new), silent), outcomes);
        let mut notes = vec![];
        std::fs::write(file(&new), "[]").unwrap();
        assert_eq!(read(Some(&new), &mut |n| notes.push(n)), Outcomes::default());
        // A file where the folder should be.
        write(Some(&file(&new)), &outcomes, &mut |n| notes.push(n));
        write(None, &outcomes, &mut |n| notes.push(n));
        assert!(notes[0].contains("is not what autotuning wrote"), "{notes:?}");
        assert!(notes[1].starts_with("cannot write"), "{notes:?}");
        assert!(notes[2].starts_with("there is no folder"), "{notes:?}");
    }
}
