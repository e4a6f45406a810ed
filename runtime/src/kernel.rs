//! The ABI between programs and compiled kernels.
//!
//! A kernel is `fn(args, dims, part, parts) -> status`: pointers to operands, then to results, then to
//! scratch; the values of the program's symbols; and which of `parts` equal shares of the work to do. A status
//! of zero is success; others are `STATUS_*`. A kernel never unwinds.

use crate::program::Size;

pub type KernelFn = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64) -> i64;

/// An index operand pointed outside of the axis it indexes.
pub const STATUS_INDEX: i64 = 1;
/// Dimensions that had to be equal are not.
pub const STATUS_SHAPE: i64 = 2;

/// A compiled kernel, and what it wants of its caller. `F` is its code: a function, or where it will be found.
#[derive(Clone, Debug)]
pub struct Kernel<F = KernelFn> {
    pub name: String,
    pub function: F,
    /// Bytes of scratch that the parts share, and after them bytes for each part.
    pub scratch_shared: Size,
    pub scratch_part: Size,
    /// Elementary operations of a whole call, by which a session decides whether threads are worth it.
    pub work: Size,
    /// Additions and multiplications of a whole call, and the bytes that it must read and write, for profiles.
    pub operations: Size,
    pub bytes: Size,
}

impl<F> Kernel<F> {
    /// The kernel with what `code` makes of its code.
    pub fn with_code<G, E>(self, code: impl FnOnce(F) -> Result<G, E>) -> Result<Kernel<G>, E> {
        let Kernel { name, function, scratch_shared, scratch_part, work, operations, bytes } = self;
        let function = code(function)?;
        Ok(Kernel { name, function, scratch_shared, scratch_part, work, operations, bytes })
    }
}
