//! Weights in huge pages, as many times as it takes to push them out of every cache.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

/// More than the last cache of any machine that this is meant for.
const ROTATED: usize = 300 << 20;
const HUGE: usize = 2 << 20;
/// What kernels may prefetch or load past the end.
const TAIL: usize = 8192;

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

/// Copies of one matrix, one after another.
pub struct Copies {
    start: NonNull<u8>,
    layout: Layout,
    len: usize,
    stride: usize,
    copies: usize,
}

// SAFETY: the bytes are its own, and nobody writes them once they are there.
unsafe impl Send for Copies {}
// SAFETY: as above.
unsafe impl Sync for Copies {}

impl Copies {
    fn new(bytes: &[u8], copies: usize) -> Self {
        let stride = bytes.len().next_multiple_of(64);
        let size = (stride * copies + TAIL).next_multiple_of(HUGE);
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
        for copy in 0..copies {
            // SAFETY: `copies` of them fit, as the size says.
            unsafe {
                start.add(copy * stride).copy_from_nonoverlapping(NonNull::from(&bytes[0]), bytes.len())
            };
        }
        Self { start, layout, len: bytes.len(), stride, copies }
    }

    /// The copy for a call: calls that follow one another take the copies in turn.
    pub fn of(&self, call: usize) -> &[u8] {
        let copy = call % self.copies;
        // SAFETY: this copy lies in the allocation and was written.
        unsafe { std::slice::from_raw_parts(self.start.add(copy * self.stride).as_ptr(), self.len) }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// What kernels write: each thread places of its own.
pub struct Written<T>(UnsafeCell<Vec<T>>);

// SAFETY: only [`Written::pointer`] leads to the elements, and who follows it says what it touches.
unsafe impl<T: Send> Sync for Written<T> {}

impl<T: Clone> Written<T> {
    pub fn new(value: T, len: usize) -> Self {
        Self(UnsafeCell::new(vec![value; len]))
    }

    pub fn pointer(&self) -> *mut T {
        // SAFETY: no reference to the vector leaves this function.
        unsafe { (*self.0.get()).as_mut_ptr() }
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
