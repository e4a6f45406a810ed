//! Files that are read whole, and files that appear complete or not at all.

pub mod map;

use std::fs::Permissions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use map::Mapped;

use trine_ir::Fault;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened, read or mapped.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It, or the folder that it is to be in, cannot be written to.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FileError {
    /// Who can do something about it.
    pub fn fault(&self) -> Fault {
        Fault::Input
    }

    /// That `path` was not read.
    pub fn read(path: &Path, source: io::Error) -> FileError {
        FileError::Read { path: path.into(), source }
    }

    /// That `path` was not written.
    pub fn write(path: &Path, source: io::Error) -> FileError {
        FileError::Write { path: path.into(), source }
    }
}

/// The bytes of a file, mapped.
pub fn read(path: &Path) -> Result<Bytes, FileError> {
    Ok(Mapped::open(path).map_err(|e| FileError::read(path, e))?.bytes)
}

/// Writes a file of text that appears complete or not at all.
pub fn write_text(path: impl AsRef<Path>, text: &str) -> Result<(), FileError> {
    write_atomically(path.as_ref(), |file| file.write_all(text.as_bytes()))
}

/// Calls `write` on a new file that takes the place of `path` once it is complete.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<&mut std::fs::File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let fail = |source| FileError::write(path, source);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = new_file(folder).map_err(fail)?;
    let mut buffered = io::BufWriter::new(file.as_file_mut());
    write(&mut buffered).map_err(fail)?;
    buffered.flush().map_err(fail)?;
    drop(buffered);
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// A temporary file with the rights that a new file has, unlike those that nobody else may read.
#[cfg(unix)]
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

#[cfg(not(unix))]
fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::NamedTempFile::new_in(folder)
}
