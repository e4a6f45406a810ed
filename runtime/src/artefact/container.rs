//! The outside of a `.trine` file: its head, and where its sections lie.
//!
//! All numbers are little-endian. The head:
//!
//! | bytes | |
//! |---|---|
//! | 0..8 | a magic, which no transfer of the file as text leaves as it is |
//! | 8..12 | the version of the format |
//! | 12..16 | how many sections there are |
//! | 16..24 | the length of the file |
//! | 24..48 | the version of Trine that wrote it, padded with zeros |
//! | 48..80 | the file's identity: BLAKE3 of all sections, one after the other |
//! | 80..112 | zeros |
//! | 112..128 | XXH3 of the head before this, and of the rows |
//!
//! Rows of 64 bytes follow, one for each section: kind (4 bytes), zeros (4), start, length and alignment (8 each), XXH3
//! (16), zeros (16). Sections lie in the order of their rows, and between them are zeros.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::error::ArtefactError;

/// The version of the format that is written, and the one that is read.
pub const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"\x89TRN\r\n\x1a\n";
const HEAD: usize = 128;
const ROW: usize = 64;
const MADE_BY: std::ops::Range<usize> = 24..48;
const IDENTITY: std::ops::Range<usize> = 48..80;
const CHECKSUM: usize = 112;

/// No file has more sections: what is read before a checksum is checked stays small.
const MOST_SECTIONS: usize = 1 << 12;

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// A machine that there is code for, as a message.
    Target = 1,
    /// What a run does, as a message.
    Plan = 2,
    /// The compiled module, as IR text.
    Module = 3,
    Code = 4,
    /// Constants as kernels read them, and after them a cache line of zeros.
    Weights = 5,
}

/// A piece of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    pub kind: Kind,
    /// Bytes from the start of the file; a multiple of `align`.
    pub start: u64,
    pub len: u64,
    /// A power of two.
    pub align: u64,
    /// XXH3 of 128 bits.
    pub checksum: u128,
}

/// What a file says before its sections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The version of Trine that wrote it.
    pub made_by: String,
    pub identity: [u8; 32],
    /// Bytes of the whole file.
    pub len: u64,
    pub sections: Vec<Section>,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Target, Kind::Plan, Kind::Module, Kind::Code, Kind::Weights];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Kind::Target => "target",
            Kind::Plan => "plan",
            Kind::Module => "module",
            Kind::Code => "code",
            Kind::Weights => "weights",
        })
    }
}

impl Head {
    /// Bytes of the head of a file, and of the rows of `sections`.
    pub fn bytes_for(sections: usize) -> usize {
        HEAD + ROW * sections
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.sections.len() as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        let made_by = &self.made_by.as_bytes()[..self.made_by.len().min(MADE_BY.len())];
        bytes[MADE_BY][..made_by.len()].copy_from_slice(made_by);
        bytes[IDENTITY].copy_from_slice(&self.identity);
        for section in &self.sections {
            bytes.extend((section.kind as u32).to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend([section.start, section.len, section.align].iter().flat_map(|n| n.to_le_bytes()));
            bytes.extend(section.checksum.to_le_bytes());
            bytes.extend([0; 16]);
        }
        let checksum = head_checksum(&bytes);
        bytes[CHECKSUM..HEAD].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the head of `file` and checks it: what it says of the file holds, and no two sections share a byte.
    pub fn read(file: &[u8]) -> Result<Head, ArtefactError> {
        if !file.starts_with(&MAGIC) {
            return Err(match file.get(1..4) {
                Some(b"TRN") => ArtefactError::Text,
                _ => ArtefactError::Magic,
            });
        }
        let cut_short = |needed: u64| ArtefactError::Length { stated: needed, actual: file.len() as u64 };
        // The file may change while it is read: what is checked is what is used.
        let head = file.get(..HEAD).ok_or_else(|| cut_short(HEAD as u64))?.to_vec();
        let made_by = String::from_utf8_lossy(&head[MADE_BY]).trim_end_matches('\0').to_string();
        let format = u32_at(&head, 8);
        if format != FORMAT {
            return Err(ArtefactError::Format { format, made_by });
        }
        let (count, len) = (u32_at(&head, 12) as usize, u64_at(&head, 16));
        if count > MOST_SECTIONS {
            return Err(ArtefactError::Head(format!("it has {count} sections, more than {MOST_SECTIONS}")));
        }
        if len != file.len() as u64 {
            return Err(cut_short(len));
        }
        let end = Head::bytes_for(count);
        let bytes = file.get(..end).ok_or_else(|| cut_short(end as u64))?.to_vec();
        if u128_at(&bytes, CHECKSUM) != head_checksum(&bytes) {
            return Err(ArtefactError::Head("it is not what was written: its checksum differs".into()));
        }
        if bytes[IDENTITY.end..CHECKSUM].iter().any(|b| *b != 0) {
            return Err(ArtefactError::Head("it has bytes that mean nothing".into()));
        }
        let mut identity = [0; 32];
        identity.copy_from_slice(&bytes[IDENTITY]);
        let rows = bytes[HEAD..].chunks_exact(ROW).enumerate();
        let sections = rows.map(|(i, row)| section(i, row)).collect::<Result<_, _>>()?;
        let head = Head { made_by, identity, len, sections };
        head.check(file)?;
        Ok(head)
    }

    /// Sections lie one after the other within the file, where their alignment says, with zeros between.
    fn check(&self, file: &[u8]) -> Result<(), ArtefactError> {
        let first = Head::bytes_for(self.sections.len()) as u64;
        let (mut end, mut gaps) = (first, vec![]);
        for (i, section) in self.sections.iter().enumerate() {
            let fail = |message: &str| Err(ArtefactError::section(i, section.kind, message));
            if !section.align.is_power_of_two() || !section.start.is_multiple_of(section.align) {
                return fail("it does not lie where its alignment says");
            }
            if section.start < end {
                return fail("it overlaps what is before it");
            }
            let Some(next) = section.start.checked_add(section.len).filter(|next| *next <= self.len) else {
                return fail("it goes past the end of the file");
            };
            gaps.push(end as usize..section.start as usize);
            end = next;
        }
        if end != self.len {
            return Err(ArtefactError::Head("the file goes on after its last section".into()));
        }
        for (i, (gap, section)) in gaps.into_iter().zip(&self.sections).enumerate() {
            if file[gap].iter().any(|b| *b != 0) {
                let message = "there are bytes before it that mean nothing";
                return Err(ArtefactError::section(i, section.kind, message));
            }
        }
        Ok(())
    }
}

/// XXH3 of what comes in pieces.
#[derive(Default)]
pub struct Checksum(Xxh3);

impl Checksum {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(&self) -> u128 {
        self.0.digest128()
    }
}

/// XXH3 of 128 bits.
pub fn checksum(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// The checksum of head and rows, which leaves out the place that it is written to.
fn head_checksum(bytes: &[u8]) -> u128 {
    checksum(&[&bytes[..CHECKSUM], &bytes[HEAD..]].concat())
}

fn section(i: usize, row: &[u8]) -> Result<Section, ArtefactError> {
    let number = u32_at(row, 0);
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u32 == number);
    let kind =
        kind.ok_or_else(|| ArtefactError::Head(format!("section {i} is of an unknown kind, {number}")))?;
    if row[4..8].iter().chain(&row[48..]).any(|b| *b != 0) {
        return Err(ArtefactError::section(i, kind, "its row has bytes that mean nothing"));
    }
    let [start, len, align] = [8, 16, 24].map(|at| u64_at(row, at));
    Ok(Section { kind, start, len, align, checksum: u128_at(row, 32) })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of a target and weights.
    fn file() -> (Head, Vec<u8>) {
        let section = |kind, start: u64, bytes: &[u8], align| Section {
            kind,
            start,
            len: bytes.len() as u64,
            align,
            checksum: checksum(bytes),
        };
        let sections =
            vec![section(Kind::Target, 256, b"target", 64), section(Kind::Weights, 512, b"w", 512)];
        let head = Head { made_by: "0.1.0".into(), identity: [7; 32], len: 513, sections };
        (head.clone(), with_head(&head))
    }

    fn with_head(head: &Head) -> Vec<u8> {
        let mut bytes = head.to_bytes();
        bytes.resize(256, 0);
        bytes.extend(b"target");
        bytes.resize(512, 0);
        bytes.push(b'w');
        bytes
    }

    fn refused(bytes: &[u8]) -> String {
        Head::read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let (head, bytes) = file();
        assert_eq!(Head::read(&bytes).unwrap(), head);
    }

    #[test]
    fn a_file_that_is_cut_short_or_changed_is_refused() {
        let (_, bytes) = file();
        for len in 0..bytes.len() {
            assert!(Head::read(&bytes[..len]).is_err(), "{len}");
        }
        // What a section holds has a checksum of its own.
        for at in (0..256).chain(262..512) {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(Head::read(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert_eq!(refused(b"\x89PNG\r\n\x1a\n"), "it is not a `.trine` file");
        assert!(refused(b"\x89TRN\n\x1a\n").contains("as text"));
        assert!(refused(&bytes[..500]).contains("is 500 bytes long, not 513"));
    }

    #[test]
    fn sections_lie_where_they_may() {
        let message = |spoil: fn(&mut Head)| {
            let (mut head, _) = file();
            spoil(&mut head);
            refused(&with_head(&head))
        };
        assert!(message(|h| h.sections.swap(0, 1)).contains("overlaps"));
        assert!(message(|h| h.sections[0].start = 128).contains("section 0 (target): it overlaps"));
        assert!(message(|h| h.sections[0].len = 257).contains("section 1 (weights): it overlaps"));
        assert!(message(|h| h.sections[1].len = u64::MAX).contains("past the end"));
        assert!(message(|h| h.sections[1].align = 3).contains("alignment"));
        assert!(message(|h| h.sections[1].align = 1024).contains("alignment"));
        assert!(message(|h| h.sections[0].len = 5).contains("mean nothing"));
        assert!(message(|h| h.sections[1].len = 0).contains("after its last section"));
        assert!(message(|h| h.len = 514).contains("is 513 bytes long, not 514"));
    }

    #[test]
    fn another_format_is_named_with_its_maker() {
        let (_, mut bytes) = file();
        bytes[8] = 9;
        let message = refused(&bytes);
        assert!(message.contains("format 9") && message.contains("Trine 0.1.0"), "{message}");
    }
}
