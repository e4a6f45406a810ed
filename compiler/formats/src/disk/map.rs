//! Files as bytes: small ones are read, large ones mapped, so that weights are paged in when they are used.
//!
//! A file that is read is the model from then on, whatever happens to it. One that is changed while it is mapped changes
//! the model under the program, and one that is cut short kills the program when it touches what is gone (SIGBUS). That
//! cannot be made an error: the system has no lock that all writers keep, a look at the length is stale by the next
//! instruction, and a handler of the signal would have to go on without the bytes, in any thread. It is not a memory fault:
//! nothing else is read in their place. Whoever writes models has to write a new file and rename it, as `trine` does;
//! an import, and what makes something lasting of it, looks at length and time afterwards and refuses what changed. What
//! is compiled holds weights of its own and no longer needs the file.

#![allow(unsafe_code)]

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

/// Files up to so many bytes are read: that takes a few milliseconds.
const MOST_READ: u64 = 16 << 20;

/// The bytes of a file, and what it was when they were taken.
pub struct Mapped {
    /// All of the file; slices keep the mapping alive.
    pub bytes: Bytes,
    path: PathBuf,
    stamp: (u64, Option<SystemTime>),
}

impl Mapped {
    /// Reads or maps a regular file.
    pub fn open(path: &Path) -> io::Result<Mapped> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let bytes = match metadata.len() {
            len @ ..=MOST_READ => read(&mut file, len)?,
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

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The `len` bytes that a file has.
fn read(file: &mut impl Read, len: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len {
        let message = format!("it was cut short, to {} of {len} bytes, while it was read", bytes.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(bytes.into())
}

fn stamp(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.len(), metadata.modified().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_outlives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, vec![7; 1 << 16]).unwrap();
        let read = Mapped::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
        assert_eq!(&*read.bytes, [7; 1 << 16]);
        assert!(!read.is_unchanged());
    }

    #[test]
    fn a_file_that_ends_early_is_an_error() {
        let error = super::read(&mut &[0u8; 5][..], 8).unwrap_err();
        assert_eq!(error.to_string(), "it was cut short, to 5 of 8 bytes, while it was read");
    }

    #[test]
    fn large_files_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let file = File::create(&path).unwrap();
        file.set_len(MOST_READ + 1).unwrap();
        let mapped = Mapped::open(&path).unwrap();
        assert_eq!(mapped.bytes.len() as u64, MOST_READ + 1);
        assert!(mapped.is_unchanged() && mapped.bytes.iter().all(|b| *b == 0));
    }

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
