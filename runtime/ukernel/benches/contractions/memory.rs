//! Memory as sessions have it, in huge pages; weights as many times as it takes to push them out of every cache.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// More than the last cache of any machine that this is meant for.
const ROTATED: usize = 300 << 20;
const HUGE: usize = 2 << 20;
/// What kernels may prefetch or load past the end.
const TAIL: usize = 8192;

/// Where in their page outputs start, lest all streams begin in one set of the caches.
const APART: usize = 2368;

/// Where a call finds its weights.
#[derive(Clone, Copy)]
pub enum Weights {
    /// Where the call before left them.
    Cache,
    /// In memory.
    Cold,
}

impl Weights {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Cold => "cold",
        }
    }

    pub fn place(self, bytes: &[u8]) -> Copies {
        match self {
            Self::Cache => Copies::new(bytes, 1),
            Self::Cold => Copies::new(bytes, ROTATED.div_ceil(bytes.len())),
        }
    }
}

/// Zeroed memory of its own.
struct Pages {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the bytes are its own.
unsafe impl Send for Pages {}
// SAFETY: who writes them says what it touches.
unsafe impl Sync for Pages {}

impl Pages {
    fn new(bytes: usize) -> Self {
        let size = (bytes + TAIL).next_multiple_of(HUGE);
        let layout = Layout::from_size_align(size, HUGE).expect("a size in bounds");
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        // SAFETY: the range is ours and aligned to pages, and not touched yet, so that advice counts.
        unsafe {
            libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE);
        }
        // SAFETY: the whole of the allocation.
        unsafe { start.write_bytes(0, size) };
        Self { start, layout }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Copies of one matrix, one after another.
pub struct Copies {
    pages: Pages,
    len: usize,
    stride: usize,
    copies: usize,
}

impl Copies {
    fn new(bytes: &[u8], copies: usize) -> Self {
        let stride = bytes.len().next_multiple_of(64);
        let pages = Pages::new(stride * copies);
        for copy in 0..copies {
            // SAFETY: `copies` of them fit, as the size says.
            unsafe {
                let to = pages.start.add(copy * stride);
                to.copy_from_nonoverlapping(NonNull::from(&bytes[0]), bytes.len());
            }
        }
        Self { pages, len: bytes.len(), stride, copies }
    }

    /// The copy for a call: calls that follow one another take the copies in turn.
    pub fn of(&self, call: usize) -> &[u8] {
        let copy = call % self.copies;
        // SAFETY: this copy lies in the pages and was written.
        unsafe { std::slice::from_raw_parts(self.pages.start.add(copy * self.stride).as_ptr(), self.len) }
    }
}

/// What kernels write, each thread places of its own: zeros at first.
pub struct Written<T> {
    pages: Pages,
    values: PhantomData<T>,
}

impl<T> Written<T> {
    /// `len` values.
    pub fn new(len: usize) -> Self {
        Self { pages: Pages::new(APART + len * size_of::<T>()), values: PhantomData }
    }

    pub fn pointer(&self) -> *mut T {
        // SAFETY: the pages go on for longer.
        unsafe { self.pages.start.add(APART).cast().as_ptr() }
    }
}

/// Loads every byte once: the floor. Processors see such a stream coming, so nothing is prefetched.
pub fn read(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512.
        return unsafe { read_avx512(bytes) };
    }
    let words = bytes.as_chunks::<8>().0;
    words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word))
}

/// # Safety
/// The machine has AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn read_avx512(bytes: &[u8]) -> u64 {
    use std::arch::x86_64::*;
    let mut all = [_mm512_setzero_si512(); 4];
    for lines in bytes.as_chunks::<256>().0 {
        for (all, line) in all.iter_mut().zip(lines.as_chunks::<64>().0) {
            // SAFETY: a line is 64 bytes.
            *all = _mm512_or_si512(*all, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
        }
    }
    let [a, b, c, d] = all;
    _mm512_reduce_or_epi64(_mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d))) as u64
}
