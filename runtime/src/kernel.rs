//! The ABI between programs and compiled kernels.
//!
//! A kernel is `fn(args, dims, part, parts) -> status`: pointers to operands, then to results, then to
//! scratch; the values of the program's symbols; and which of `parts` equal shares of the work to do. A status
//! of zero is success; others are `STATUS_*`. A kernel never unwinds.

use std::any::Any;
use std::sync::Arc;

use crate::program::Size;

pub type KernelFn = unsafe extern "C" fn(*const *mut u8, *const i64, i64, i64) -> i64;

/// An index operand pointed outside of the axis it indexes.
pub const STATUS_INDEX: i64 = 1;
/// Dimensions that had to be equal are not.
pub const STATUS_SHAPE: i64 = 2;

/// The memory that holds compiled code; kept alive by every kernel in it.
pub type KernelLibrary = Arc<dyn Any + Send + Sync>;

/// A compiled kernel.
#[derive(Clone)]
pub struct Kernel {
    pub name: String,
    pub function: KernelFn,
    /// Bytes of scratch that the parts share, and behind it bytes for each part.
    pub scratch_shared: Size,
    pub scratch_part: Size,
    /// Elementary operations of a whole call, by which a session decides whether threads are worth it.
    pub work: Size,
    /// Additions and multiplications of a whole call, and the bytes that it must read and write, for profiles.
    pub operations: Size,
    pub bytes: Size,
    pub library: KernelLibrary,
}
