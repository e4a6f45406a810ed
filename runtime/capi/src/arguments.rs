//! What C gives as pointers, as Rust has it: texts, arrays, options that grow.

use std::ffi::{CStr, c_char};
use std::path::Path;

use crate::status::{Failure, given};

/// No options will ever be larger. What says that it is was never set.
const MOST_OPTIONS: usize = 4096;

/// A structure of options: it begins with its size in bytes, and all that it holds are integers, of which 0 is the default.
///
/// # Safety
/// It is `repr(C)`, has no padding, and any bits are a value of it.
pub unsafe trait Options: Copy {
    /// All zeros.
    const DEFAULT: Self;
}

/// Options as this library knows them. A caller that was built before may know fewer; one that was built later may know more,
/// which have to be zero.
///
/// # Safety
/// The pointer is NULL, or the structure is as long as its first field says.
pub unsafe fn options<T: Options>(pointer: *const T) -> Result<T, Failure> {
    let mut known = T::DEFAULT;
    if pointer.is_null() {
        return Ok(known);
    }
    // SAFETY: the caller's; the size comes first.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    if !(size_of::<usize>()..=MOST_OPTIONS).contains(&size) {
        return Err(Failure::argument(format!(
            "`options` has size {size}, which its first field has to say"
        )));
    }
    // SAFETY: the caller's: it is `size` bytes long.
    let all = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    let (ours, newer) = all.split_at(size.min(size_of::<T>()));
    if newer.iter().any(|byte| *byte != 0) {
        return Err(Failure::argument("`options` has what only a later version of Trine knows"));
    }
    // SAFETY: `ours` is no longer than `known`, of which any bits are a value.
    unsafe { std::ptr::copy_nonoverlapping(ours.as_ptr(), (&raw mut known).cast::<u8>(), ours.len()) };
    Ok(known)
}

/// A text; `name` is what the header calls it.
///
/// # Safety
/// The pointer is NULL, or its bytes end with a zero and stay as they are for `'a`.
pub unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's.
    let text = unsafe { string(pointer, name) }?;
    text.to_str().map_err(|_| Failure::argument(format!("`{name}` is not UTF-8")))
}

/// A path, which on Unix is any bytes.
///
/// # Safety
/// As for [`text`].
pub unsafe fn path<'a>(pointer: *const c_char, name: &str) -> Result<&'a Path, Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // SAFETY: the caller's.
        let path = unsafe { string(pointer, name) }?;
        Ok(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
    }
    #[cfg(not(unix))]
    // SAFETY: the caller's.
    Ok(Path::new(unsafe { text(pointer, name) }?))
}

/// # Safety
/// As for [`text`].
unsafe fn string<'a>(pointer: *const c_char, name: &str) -> Result<&'a CStr, Failure> {
    let pointer = given((!pointer.is_null()).then_some(pointer), name)?;
    // SAFETY: the caller's.
    Ok(unsafe { CStr::from_ptr(pointer) })
}

/// `len` values, which may be NULL if there are none.
///
/// # Safety
/// The pointer is NULL, or valid for so many values, which stay as they are for `'a`.
pub unsafe fn array<'a, T>(pointer: *const T, len: usize, name: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    let pointer = given((!pointer.is_null()).then_some(pointer), name)?;
    if !pointer.is_aligned() || len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Failure::argument(format!("`{name}` is not aligned, or longer than memory")));
    }
    // SAFETY: the caller's, and the rest was checked.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// Copies `bytes` to a buffer of the caller's; whether it has room for them.
///
/// # Safety
/// The buffer is NULL, or valid for `capacity` bytes.
pub unsafe fn copy_to(buffer: *mut u8, capacity: usize, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len() > capacity {
        let text = format!("`buffer` has {capacity} bytes, and {} are needed", bytes.len());
        return Err(Failure::new(crate::status::BUFFER, text));
    }
    if bytes.is_empty() {
        return Ok(());
    }
    let buffer = given((!buffer.is_null()).then_some(buffer), "buffer")?;
    // SAFETY: the caller's: it is long enough, and none of the library's memory.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, bytes.len()) };
    Ok(())
}
