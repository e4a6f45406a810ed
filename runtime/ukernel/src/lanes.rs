//! Sixteen f32 side by side: the vector that the dense kernels are written in, once for all machines.
//!
//! Its width is fixed, whatever the registers: one on AVX-512, two on AVX2, four on NEON, an array elsewhere. So a
//! body generic over [`Lanes`] performs the same operations in the same order on each, and the bits
//! agree by construction. The entry points of an instruction set, which [`variants`] makes, enable
//! its features, and everything here is inlined into them.
#![allow(unsafe_code)]

use core::array;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use scalar::Scalar;
#[cfg(target_arch = "x86_64")]
pub(crate) use {avx2::Avx2, avx512::Avx512};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// 1.5 · 2^23: the unit of the last place of a number near it is 1.
const ROUNDER: f32 = 12_582_912.0;

/// Operations a lane; comparisons and selections treat NaN as written here.
///
/// # Safety
/// Values exist only where the features of the instruction set do: in functions that enable them.
pub(crate) unsafe trait Lanes: Copy {
    fn splat(value: f32) -> Self;

    /// # Safety
    /// 16 values at `from` are readable.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `count` < 16 values, then `fill`.
    ///
    /// # Safety
    /// `count` values at `from` are readable.
    unsafe fn load_first(from: *const f32, count: usize, fill: f32) -> Self;

    /// Integers, as the nearest floats.
    ///
    /// # Safety
    /// 16 values at `from` are readable.
    unsafe fn load_i32(from: *const i32) -> Self;

    /// Unsigned bytes, as floats.
    ///
    /// # Safety
    /// 16 values at `from` are readable.
    unsafe fn load_u8(from: *const u8) -> Self;

    /// The low and the high halves of bytes, as floats.
    ///
    /// # Safety
    /// 16 values at `from` are readable.
    unsafe fn load_nibbles(from: *const u8) -> [Self; 2];

    /// # Safety
    /// 16 values at `to` are writable.
    unsafe fn store(self, to: *mut f32);

    /// Stores the first `count` < 16 values.
    ///
    /// # Safety
    /// `count` values at `to` are writable.
    unsafe fn store_first(self, to: *mut f32, count: usize);

    /// Stores integral values in [-128, 127] as i8.
    ///
    /// # Safety
    /// 16 values at `to` are writable.
    unsafe fn store_i8(self, to: *mut i8);

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn abs(self) -> Self;

    /// `self > other ? self : other`
    fn max(self, other: Self) -> Self;

    /// The larger of the bits as integers: of numbers whose sign is positive the larger one, and NaN if either is.
    fn max_bits(self, other: Self) -> Self;

    /// `self < other ? self : other`
    fn min(self, other: Self) -> Self;

    /// `self is NaN ? 0 : self`
    fn nan_to_zero(self) -> Self;

    /// `self < 0 ? yes : no`
    fn if_negative(self, yes: Self, no: Self) -> Self;

    /// 2^n, of the n in [-126, 127] for which `self` is n + [`ROUNDER`].
    fn exp2_of_rounder(self) -> Self;

    fn to_array(self) -> [f32; LANES];

    /// `self + a · b`, rounded once.
    fn fused_add_product(self, a: Self, b: Self) -> Self;

    /// Lane j of row i, as lane i of row j.
    fn transpose(rows: [Self; LANES]) -> [Self; LANES];

    /// `self + a · b`, rounded twice.
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self.add(a.mul(b))
    }

    /// The nearest integer, ties to even, for |`self`| < 2^22.
    #[inline(always)]
    fn round(self) -> Self {
        self.add(Self::splat(ROUNDER)).sub(Self::splat(ROUNDER))
    }

    /// 2^`self`, for integral values in [-126, 127].
    #[inline(always)]
    fn exp2(self) -> Self {
        self.add(Self::splat(ROUNDER)).exp2_of_rounder()
    }

    /// The sum of the lanes: halves are added until one is left.
    #[inline(always)]
    fn sum(self) -> f32 {
        fold(self.to_array(), |a, b| a + b)
    }

    /// The sums of each.
    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        // What `map` calls has the instructions of the variant only where it is inlined.
        let [a, b, c, d] = four;
        [a.sum(), b.sum(), c.sum(), d.sum()]
    }

    /// The greatest lane, if none is NaN.
    #[inline(always)]
    fn greatest(self) -> f32 {
        fold(self.to_array(), |a, b| if a > b { a } else { b })
    }

    /// The greatest of lanes whose sign is positive, or NaN if one is.
    #[inline(always)]
    fn greatest_bits(self) -> f32 {
        fold(self.to_array(), |a, b| if a.to_bits() > b.to_bits() { a } else { b })
    }

    /// The vector at `i` of `n` values, filled up with `fill` at the end.
    ///
    /// # Safety
    /// `n` values at `from` are readable and `i` < `n`.
    #[inline(always)]
    unsafe fn load_at(from: *const f32, i: usize, n: usize, fill: f32) -> Self {
        // SAFETY: the caller's.
        unsafe {
            match n - i {
                left @ ..LANES => Self::load_first(from.add(i), left, fill),
                _ => Self::load(from.add(i)),
            }
        }
    }

    /// As [`Lanes::load_at`] does, of integers and zeros at the end.
    ///
    /// # Safety
    /// `n` values at `from` are readable and `i` < `n`.
    #[inline(always)]
    unsafe fn load_i32_at(from: *const i32, i: usize, n: usize) -> Self {
        // SAFETY: the caller's.
        unsafe {
            match n - i {
                left @ ..LANES => {
                    let mut last = [0; LANES];
                    last.as_mut_ptr().copy_from_nonoverlapping(from.add(i), left);
                    Self::load_i32(last.as_ptr())
                }
                _ => Self::load_i32(from.add(i)),
            }
        }
    }

    /// Stores at `i` of `n` values, as many lanes as there are left.
    ///
    /// # Safety
    /// `n` values at `to` are writable and `i` < `n`.
    #[inline(always)]
    unsafe fn store_at(self, to: *mut f32, i: usize, n: usize) {
        // SAFETY: the caller's.
        unsafe {
            match n - i {
                left @ ..LANES => self.store_first(to.add(i), left),
                _ => self.store(to.add(i)),
            }
        }
    }
}

#[inline(always)]
fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let eight: [f32; 8] = array::from_fn(|i| f(lanes[i], lanes[i + 8]));
    let four: [f32; 4] = array::from_fn(|i| f(eight[i], eight[i + 4]));
    let two: [f32; 2] = array::from_fn(|i| f(four[i], four[i + 2]));
    f(two[0], two[1])
}

/// Asks for the cache line at any address, which need not be mapped.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless, and SSE is part of the target.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    crate::neon::prefetch(address);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// The variants of a kernel whose body is generic over [`Lanes`], and the table of them.
macro_rules! variants {
    ($args:ty, $body:ident => $scalar:ident, $neon:ident, $avx2:ident, $avx512:ident) => {
        /// Preferred first.
        pub static VARIANTS: &[$crate::Variant<$args>] = &[
            $crate::Variant {
                symbol: stringify!($avx512),
                needs: $crate::Features::AVX512,
                layout: (),
                entry: $crate::variant::on_x86!($avx512),
            },
            $crate::Variant {
                symbol: stringify!($avx2),
                needs: $crate::Features::AVX2,
                layout: (),
                entry: $crate::variant::on_x86!($avx2),
            },
            $crate::Variant {
                symbol: stringify!($neon),
                needs: $crate::Features::NEON,
                layout: (),
                entry: $crate::variant::on_aarch64!($neon),
            },
            $crate::Variant {
                symbol: stringify!($scalar),
                needs: $crate::Features::NONE,
                layout: (),
                entry: Some($scalar),
            },
        ];

        /// # Safety
        /// The arguments describe live buffers, as their type says.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $scalar(args: *const $args) {
            // SAFETY: the caller's.
            unsafe { $body::<$crate::lanes::Scalar>(&*args) }
        }

        /// # Safety
        /// The arguments describe live buffers, as their type says.
        #[cfg(target_arch = "aarch64")]
        #[unsafe(no_mangle)]
        #[target_feature(enable = "neon")]
        unsafe extern "C" fn $neon(args: *const $args) {
            // SAFETY: the caller's.
            unsafe { $body::<$crate::lanes::Neon>(&*args) }
        }

        /// # Safety
        /// The machine has AVX2 and FMA; the arguments describe live buffers, as their type says.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[target_feature(enable = "avx2,fma")]
        unsafe extern "C" fn $avx2(args: *const $args) {
            // SAFETY: the caller's.
            unsafe { $body::<$crate::lanes::Avx2>(&*args) }
        }

        /// # Safety
        /// The machine has AVX-512 F, BW, DQ and VL; the arguments describe live buffers, as their
        /// type says.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(no_mangle)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        unsafe extern "C" fn $avx512(args: *const $args) {
            // SAFETY: the caller's.
            unsafe { $body::<$crate::lanes::Avx512>(&*args) }
        }
    };
}
pub(crate) use variants;

#[cfg(test)]
pub(crate) mod testing {
    use crate::{Features, Variant};

    /// Calls each variant that runs here, with its name.
    pub fn for_each_variant<A>(variants: &'static [Variant<A>], mut f: impl FnMut(&Variant<A>)) {
        let here = Features::detect();
        for v in variants.iter().filter(|v| here.contains(v.needs)) {
            f(v);
        }
    }

    /// The same bits, or both NaN.
    pub fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
    }
}
