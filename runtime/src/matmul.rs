//! Dense f32 matrix products, for kernels to call.
//!
//! Few rows stream the weights through a microkernel; more go to `gemm`, which blocks for the caches. A call
//! computes one block of outputs; how blocks are cut depends on shapes alone, so results do not depend on
//! how many threads share them.
#![allow(unsafe_code)]

use gemm_common::Parallelism;
use trine_ukernel::gemv::{GemvF32, kn, nk};
use trine_ukernel::{Features, best};

/// Up to this many rows the weights are streamed.
const FEW_ROWS: usize = 4;

/// `c[m, n] = Σ_k a[m, k] · b[k, n]` for `n` in `n_begin .. n_end`. Strides are in elements.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MatmulF32 {
    pub a: *const f32,
    /// From a row of `a` to the next, and from a column to the next.
    pub a_row: isize,
    pub a_column: isize,
    pub b: *const f32,
    pub b_row: isize,
    pub b_column: isize,
    /// f32[m, n]; the columns asked for are written.
    pub c: *mut f32,
    pub c_row: isize,
    pub m: usize,
    pub k: usize,
    pub n_begin: usize,
    pub n_end: usize,
}

/// Name and address of the entry point.
pub const SYMBOL: (&str, *const u8) = ("trine_matmul_f32", trine_matmul_f32 as *const u8);

/// # Safety
/// `args` describes live buffers, `c` apart from the others.
pub unsafe extern "C" fn trine_matmul_f32(args: *const MatmulF32) {
    // SAFETY: the caller's.
    let args = unsafe { &*args };
    if args.m == 0 || args.n_begin >= args.n_end {
        return;
    }
    if args.k == 0 {
        for row in 0..args.m {
            // SAFETY: the caller's; the columns asked for lie in `c`.
            unsafe {
                let start = args.c.offset(row as isize * args.c_row).add(args.n_begin);
                start.write_bytes(0, args.n_end - args.n_begin);
            }
        }
        return;
    }
    let streams = args.a_column == 1 && (args.b_row == 1 || args.b_column == 1);
    if args.m <= FEW_ROWS && streams {
        // SAFETY: the caller's.
        unsafe { stream(args) }
    } else {
        // SAFETY: the caller's.
        unsafe { blocked(args) }
    }
}

/// # Safety
/// As for [`trine_matmul_f32`].
unsafe fn stream(args: &MatmulF32) {
    let by_output = args.b_row == 1;
    let variants = if by_output { nk::VARIANTS } else { kn::VARIANTS };
    let call = GemvF32 {
        w: args.b,
        w_stride: if by_output { args.b_column } else { args.b_row } as usize,
        x: args.a,
        x_stride: args.a_row as usize,
        out: args.c,
        out_stride: args.c_row as usize,
        rows: args.m,
        k: args.k,
        n_begin: args.n_begin,
        n_end: args.n_end,
    };
    if let Some(variant) = best(variants, features()) {
        // SAFETY: the machine has the features, and the arguments describe the caller's buffers.
        unsafe { (variant.entry)(&call) }
    }
}

/// # Safety
/// As for [`trine_matmul_f32`].
unsafe fn blocked(args: &MatmulF32) {
    let n = args.n_end - args.n_begin;
    // SAFETY: the block's columns start at `n_begin` in `b` and `c`; the rest is the caller's.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            args.m,
            n,
            args.k,
            args.c.add(args.n_begin),
            1,
            args.c_row,
            false,
            args.a,
            args.a_column,
            args.a_row,
            args.b.offset(args.n_begin as isize * args.b_column),
            args.b_column,
            args.b_row,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

fn features() -> Features {
    static FEATURES: std::sync::OnceLock<Features> = std::sync::OnceLock::new();
    *FEATURES.get_or_init(Features::detect)
}
