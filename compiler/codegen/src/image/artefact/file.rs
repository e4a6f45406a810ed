//! Sections, and where they lie in a file.

use std::io::{Seek, SeekFrom, Write};

use trine_runtime::arena::{ALIGN, HUGE};
use trine_runtime::artefact::container::{Checksum, Head, Kind, Section};
use trine_runtime::code::PAGE;

use super::super::constants::Pieces;
use crate::error::WriteError;

/// What a section is made of.
pub enum Content<'w> {
    /// It comes later.
    Reserved,
    Bytes(Vec<u8>),
    /// Constants, which are made while they are written.
    Weights(Pieces<'w>),
}

/// The sections of a file, in their order.
#[derive(Default)]
pub struct File<'w>(Vec<(Kind, Content<'w>)>);

impl<'w> File<'w> {
    pub fn sections(&self) -> usize {
        self.0.len()
    }

    /// A section whose content is [set](File::set) later.
    pub fn reserve(&mut self, kind: Kind) -> u32 {
        self.push(kind, Content::Reserved)
    }

    pub fn push(&mut self, kind: Kind, content: Content<'w>) -> u32 {
        self.0.push((kind, content));
        self.0.len() as u32 - 1
    }

    /// The section of the kind that holds the bytes.
    pub fn add(&mut self, kind: Kind, bytes: Vec<u8>) -> u32 {
        let same = |(known, content): &(Kind, Content)| {
            *known == kind && matches!(content, Content::Bytes(known) if *known == bytes)
        };
        match self.0.iter().position(same) {
            Some(found) => found as u32,
            None => self.push(kind, Content::Bytes(bytes)),
        }
    }

    pub fn set(&mut self, section: u32, bytes: Vec<u8>) {
        self.0[section as usize].1 = Content::Bytes(bytes);
    }

    pub fn write(self, out: &mut (impl Write + Seek)) -> Result<(), WriteError> {
        let mut identity = blake3::Hasher::new();
        let mut at = Head::bytes_for(self.0.len()) as u64;
        let mut sections = vec![];
        // The head holds checksums of what comes after it.
        for (kind, content) in self.0 {
            let align = content.align();
            let start = at.next_multiple_of(align);
            out.seek(SeekFrom::Start(start))?;
            let (mut len, mut checksum) = (0, Checksum::default());
            let mut write = |bytes: &[u8]| {
                len += bytes.len() as u64;
                checksum.update(bytes);
                identity.update(bytes);
                Ok::<_, WriteError>(out.write_all(bytes)?)
            };
            match content {
                Content::Reserved => {}
                Content::Bytes(bytes) => write(&bytes)?,
                Content::Weights(pieces) => {
                    pieces.stream(&mut write)?;
                    // Kernels may read a line past the end.
                    write(&[0; ALIGN])?;
                }
            }
            sections.push(Section { kind, start, len, align, checksum: checksum.finish() });
            at = start + len;
        }
        let (made_by, identity) = (env!("CARGO_PKG_VERSION").into(), *identity.finalize().as_bytes());
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&Head { made_by, identity, len: at, sections }.to_bytes())?;
        Ok(())
    }
}

impl Content<'_> {
    /// Weights can be mapped alone, large ones in large pages.
    fn align(&self) -> u64 {
        let align = match self {
            Content::Weights(pieces) if pieces.total >= HUGE => HUGE,
            Content::Weights(_) => PAGE,
            Content::Reserved | Content::Bytes(_) => ALIGN,
        };
        align as u64
    }
}
