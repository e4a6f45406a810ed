//! Aligned memory: the arena of a session, and packed weights.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use crate::error::RunError;

/// Cache lines, and the widest vectors.
pub const ALIGN: usize = 64;
/// From this size on memory is aligned to huge pages, and the kernel is asked to use them.
pub const HUGE: usize = 2 << 20;

/// Zeroed bytes, aligned to a cache line or, when large, to a huge page.
///
/// Large memory is zero as the system gives it: who writes it first pays for its pages, so that threads that fill it
/// together share that too.
pub struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
    source: Source,
}

/// Where the memory goes back to.
enum Source {
    Nothing,
    Allocated(Layout),
    #[cfg(target_os = "linux")]
    Mapped {
        base: NonNull<u8>,
        len: usize,
    },
}

// SAFETY: the memory is owned and plain bytes; shared references only read it.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    pub fn empty() -> AlignedBytes {
        AlignedBytes { start: NonNull::<u64>::dangling().cast(), len: 0, source: Source::Nothing }
    }

    pub fn zeroed(len: usize) -> Result<AlignedBytes, RunError> {
        if len == 0 {
            return Ok(AlignedBytes::empty());
        }
        let layout = layout(len).ok_or_else(|| RunError::memory(len))?;
        #[cfg(target_os = "linux")]
        if layout.align() == HUGE {
            return mapped(len, layout).ok_or_else(|| RunError::memory(len));
        }
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or_else(|| RunError::memory(len))?;
        Ok(AlignedBytes { start, len, source: Source::Allocated(layout) })
    }

    /// Zeroed bytes whose last is the last that can be read: one more faults. For tests; they start where their length
    /// says, and on other systems than Linux they are as others are.
    pub fn at_an_edge(len: usize) -> Result<AlignedBytes, RunError> {
        #[cfg(target_os = "linux")]
        return edge(len).ok_or_else(|| RunError::memory(len));
        #[cfg(not(target_os = "linux"))]
        AlignedBytes::zeroed(len)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` is valid for `len` initialised bytes as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// The start, for kernels; what they do with it is checked where they are called.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        match self.source {
            Source::Nothing => {}
            // SAFETY: allocated with this very layout.
            Source::Allocated(layout) => unsafe { dealloc(self.start.as_ptr(), layout) },
            #[cfg(target_os = "linux")]
            // SAFETY: the whole of a mapping that nothing else refers to.
            Source::Mapped { base, len } => unsafe {
                libc::munmap(base.as_ptr().cast(), len);
            },
        }
    }
}

/// A reading kernel may prefetch and load a vector past the end: the tail is padded by a line.
fn layout(len: usize) -> Option<Layout> {
    let align = if len >= HUGE { HUGE } else { ALIGN };
    Layout::from_size_align(len.checked_add(ALIGN)?.checked_next_multiple_of(align)?, align).ok()
}

/// Memory of huge pages, where the system has them.
#[cfg(target_os = "linux")]
fn mapped(len: usize, layout: Layout) -> Option<AlignedBytes> {
    let whole = layout.size().checked_add(layout.align())?;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at a place that the system chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), whole, access, kind, -1, 0) };
    if base == libc::MAP_FAILED {
        return None;
    }
    let base = NonNull::new(base.cast::<u8>())?;
    let skip = base.as_ptr().align_offset(layout.align());
    // SAFETY: `skip` is below the alignment, by which the mapping is longer than the memory.
    let start = unsafe { base.add(skip) };
    // SAFETY: the range is ours and page-aligned; the advice changes no contents, and may be refused.
    unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
    Some(AlignedBytes { start, len, source: Source::Mapped { base, len: whole } })
}

/// Memory before a page that nothing can touch.
#[cfg(target_os = "linux")]
fn edge(len: usize) -> Option<AlignedBytes> {
    // SAFETY: it only tells.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let before = len.checked_next_multiple_of(page)?;
    let whole = before.checked_add(page)?;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at a place that the system chooses.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), whole, access, kind, -1, 0) };
    if base == libc::MAP_FAILED {
        return None;
    }
    let base = NonNull::new(base.cast::<u8>())?;
    // SAFETY: `before` and what is left are within the mapping.
    let (edge, start) = unsafe { (base.add(before), base.add(before - len)) };
    let memory = AlignedBytes { start, len, source: Source::Mapped { base, len: whole } };
    // SAFETY: the last page of the mapping, which nothing refers to.
    let refused = unsafe { libc::mprotect(edge.as_ptr().cast(), page, libc::PROT_NONE) };
    (refused == 0).then_some(memory)
}

/// What this process maps from files and cannot write to: start and end of each range.
pub struct FileMappings(Vec<(usize, usize)>);

impl FileMappings {
    /// As they are now; none where the system does not tell.
    pub fn now() -> FileMappings {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let range = |line: &str| {
            // start-end permissions offset device inode path
            let mut fields = line.split_ascii_whitespace();
            let (range, permissions) = (fields.next()?, fields.next()?);
            let is_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
            let (start, end) = range.split_once('-')?;
            let address = |text| usize::from_str_radix(text, 16).ok();
            (is_file && permissions.starts_with("r--")).then_some((address(start)?, address(end)?))
        };
        FileMappings(maps.lines().filter_map(range).collect())
    }

    /// Takes the pages of `bytes` from this process if they are a file's; the system still has them, and gives
    /// them back when they are read.
    pub fn release(&self, bytes: &[u8]) {
        let start = bytes.as_ptr().addr();
        if self.0.iter().any(|(from, to)| *from <= start && start + bytes.len() <= *to) {
            release(bytes);
        }
    }
}

#[cfg(target_os = "linux")]
fn release(bytes: &[u8]) {
    /// Of x86-64; where pages are larger, the advice is refused.
    const PAGE: usize = 4096;
    let start = bytes.as_ptr().align_offset(PAGE).min(bytes.len());
    let whole = &bytes[start..];
    let len = whole.len() / PAGE * PAGE;
    // SAFETY: whole pages of a mapping of a file that nothing can have written to: what is read next is the file.
    unsafe { libc::madvise(whole.as_ptr().cast_mut().cast(), len, libc::MADV_DONTNEED) };
}

#[cfg(not(target_os = "linux"))]
fn release(_: &[u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releasing_changes_nothing_that_is_read() {
        static MAPPED: [u8; 1 << 16] = [7; 1 << 16];
        let own = vec![7u8; 1 << 16];
        let mapped = FileMappings::now();
        for bytes in [&MAPPED[..], &MAPPED[1..], &own] {
            mapped.release(bytes);
            assert!(bytes.iter().all(|b| *b == 7));
        }
    }

    #[test]
    fn memory_at_an_edge_ends_there() {
        for len in [0, 1, 4095, 4096, 5000] {
            let mut bytes = AlignedBytes::at_an_edge(len).unwrap();
            bytes.as_mut_slice().fill(1);
            assert_eq!(bytes.as_slice(), vec![1; len]);
            if cfg!(target_os = "linux") {
                assert!(bytes.as_ptr().addr().wrapping_add(len).is_multiple_of(4096));
            }
        }
        assert!(AlignedBytes::at_an_edge(usize::MAX).is_err());
    }

    #[test]
    fn what_may_be_written_to_is_no_file() {
        let own = vec![0u8; 1 << 20];
        let start = own.as_ptr().addr();
        assert!(!FileMappings::now().0.iter().any(|(from, to)| *from <= start && start < *to));
    }
}
