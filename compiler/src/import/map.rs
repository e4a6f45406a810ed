//! Files as bytes without reading them: weights are paged in when they are used.
//!
//! A file that is changed while it is mapped changes the model under the program, and one that is cut short
//! kills it (SIGBUS): whoever does so is at fault. An import that sees the change says so.

#![allow(unsafe_code)]

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

/// A mapped file, and what it was when it was mapped.
pub(crate) struct Mapped {
    pub bytes: Bytes,
    path: PathBuf,
    stamp: (u64, Option<SystemTime>),
}

impl Mapped {
    /// Maps a regular file.
    pub fn open(path: &Path) -> io::Result<Mapped> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let bytes = match metadata.len() {
            0 => Bytes::new(),
            _ => {
                // SAFETY: the map is private and only ever read, through `Bytes`, which keeps it alive. That
                // nobody changes the file meanwhile cannot be known; the module's comment puts it on the user.
                let map = unsafe { memmap2::Mmap::map(&file)? };
                Bytes::from_owner(map)
            }
        };
        Ok(Mapped { bytes, path: path.into(), stamp: stamp(&metadata) })
    }

    /// Whether the file is still what was mapped, by length and time of change.
    pub fn is_unchanged(&self) -> bool {
        self.path.metadata().is_ok_and(|now| stamp(&now) == self.stamp)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn stamp(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen() {
        let path = std::env::temp_dir().join(format!("trine-map-{}", std::process::id()));
        std::fs::write(&path, b"weights").unwrap();
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(&*mapped.bytes, b"weights");
        assert!(mapped.is_unchanged());
        std::fs::write(&path, b"more weights").unwrap();
        assert!(!mapped.is_unchanged());
        std::fs::remove_file(&path).unwrap();
        assert!(!mapped.is_unchanged());
    }
}
