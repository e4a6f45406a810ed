//! Machine code in memory.
//!
//! Code finds what lies outside of it in a table of addresses at a fixed distance after its own start. So it is the same
//! wherever it lies, and nothing in it is written when it is loaded.
#![allow(unsafe_code)]

use std::io;

use memmap2::{Mmap, MmapMut};

/// The largest page of any machine that is compiled for. What is mapped apart begins at a multiple of it.
pub const PAGE: usize = 1 << 16;

/// Bytes of an address in the table.
pub const SLOT: usize = 8;

/// Functions that may be called, each with its pages mapped as long as this lives.
pub struct Code {
    memory: Mmap,
    /// Bytes of code, after which comes nothing that may be called.
    len: usize,
}

/// Why code is not in memory.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    #[error("the code calls `{0}`, which this runtime does not have")]
    Import(String),
    #[error("there is no memory for code: {0}")]
    Memory(#[from] io::Error),
}

/// Where the table of `len` bytes of code lies, in bytes from its start; none on overflow.
pub fn table(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(PAGE)
}

impl Code {
    /// Copies code to memory, with a table of the functions called `imports`.
    pub fn load<'n>(code: &[u8], imports: impl IntoIterator<Item = &'n str>) -> Result<Code, CodeError> {
        let address = |name: &str| import(name).ok_or_else(|| CodeError::Import(name.into()));
        let imports = imports.into_iter().map(address).collect::<Result<Vec<_>, _>>()?;
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let table = table(code.len()).ok_or_else(too_large)?;
        let total = imports.len().checked_mul(SLOT).and_then(|len| table.checked_add(len));
        let mut memory = MmapMut::map_anon(total.ok_or_else(too_large)?.max(1))?;
        memory[..code.len()].copy_from_slice(code);
        for (slot, address) in memory[table..].chunks_exact_mut(SLOT).zip(imports) {
            slot.copy_from_slice(&(address.expose_provenance() as u64).to_ne_bytes());
        }
        let memory = memory.make_exec()?;
        flush(&memory)?;
        Ok(Code { memory, len: code.len() })
    }

    /// The address of the function that begins `at` bytes after the start, if that is within the code.
    pub fn address(&self, at: usize) -> Option<*const u8> {
        self.memory[..self.len].get(at).map(std::ptr::from_ref)
    }
}

/// Has cores that read instructions through a cache of their own see what was written.
#[cfg(target_arch = "aarch64")]
fn flush(memory: &[u8]) -> io::Result<()> {
    use wasmtime_internal_jit_icache_coherence::{clear_cache, pipeline_flush_mt};
    // SAFETY: the memory is mapped.
    unsafe { clear_cache(memory.as_ptr().cast(), memory.len())? };
    pipeline_flush_mt()
}

#[cfg(not(target_arch = "aarch64"))]
fn flush(_: &[u8]) -> io::Result<()> {
    Ok(())
}

/// The address of a function that code may call: a microkernel, or one of the C library's for what a CPU has no instruction
/// for.
fn import(name: &str) -> Option<*const u8> {
    let microkernel = || trine_ukernel::symbols().find(|(symbol, _)| *symbol == name);
    let libcall = || libcalls().into_iter().find(|(symbol, _)| *symbol == name);
    microkernel().or_else(libcall).map(|(_, address)| address)
}

/// Whether the C library's math has it under this name.
pub fn is_math(name: &str) -> bool {
    libcalls().iter().any(|(symbol, _)| *symbol == name)
}

macro_rules! libcalls {
    ($($name:ident = |$($arg:ident),+| -> $ty:ty { $body:expr })*) => {
        /// What Cranelift calls by the C library's names.
        fn libcalls() -> Vec<(&'static str, *const u8)> {
            $(extern "C" fn $name($($arg: $ty),+) -> $ty {
                $body
            })*
            vec![$((stringify!($name), $name as *const u8)),*]
        }
    };
}

libcalls! {
    ceilf = |x| -> f32 { x.ceil() }
    floorf = |x| -> f32 { x.floor() }
    truncf = |x| -> f32 { x.trunc() }
    nearbyintf = |x| -> f32 { x.round_ties_even() }
    fmaf = |x, y, z| -> f32 { x.mul_add(y, z) }
    ceil = |x| -> f64 { x.ceil() }
    floor = |x| -> f64 { x.floor() }
    trunc = |x| -> f64 { x.trunc() }
    nearbyint = |x| -> f64 { x.round_ties_even() }
    fma = |x, y, z| -> f64 { x.mul_add(y, z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_addresses_of_imports() {
        let (symbol, known) = trine_ukernel::symbols().next().unwrap();
        let code = Code::load(&[1, 2, 3], [symbol, "floorf"]).unwrap();
        let slot = |i: usize| {
            let at = table(3).unwrap() + SLOT * i;
            u64::from_ne_bytes(code.memory[at..at + SLOT].try_into().unwrap()) as usize
        };
        assert_eq!((&code.memory[..3], slot(0)), (&[1u8, 2, 3][..], known.addr()));
        // SAFETY: the slot holds a function of this type.
        let floor: extern "C" fn(f32) -> f32 = unsafe { std::mem::transmute(slot(1)) };
        assert_eq!(floor(-1.5), -2.0);
        assert_eq!((code.address(2).is_some(), code.address(3)), (true, None));
    }

    #[test]
    fn a_missing_import_is_named() {
        let error = Code::load(&[], ["frobnicate"]).err().unwrap().to_string();
        assert_eq!(error, "the code calls `frobnicate`, which this runtime does not have");
        assert!(Code::load(&[], []).unwrap().address(0).is_none());
    }
}
