//! `.trine` files with something else in them.

use trine::artefact::container::{Head, checksum};

/// The file with other bytes in a section, and all else as if they had always been there.
pub fn replaced(file: &[u8], section: usize, bytes: &[u8]) -> Vec<u8> {
    let mut head = Head::read(file).expect("a file as it was written");
    let mut at = Head::bytes_for(head.sections.len());
    let mut out = vec![];
    for (i, row) in head.sections.iter_mut().enumerate() {
        let old = &file[row.start as usize..(row.start + row.len) as usize];
        let new = if i == section { bytes } else { old };
        let start = at.next_multiple_of(row.align as usize);
        (row.start, row.len, row.checksum) = (start as u64, new.len() as u64, checksum(new));
        at = start + new.len();
        out.resize(start, 0);
        out.extend(new);
    }
    head.len = at as u64;
    let bytes = head.to_bytes();
    out[..bytes.len()].copy_from_slice(&bytes);
    out
}
