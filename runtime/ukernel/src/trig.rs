//! `cos x` and `sin x` of one f32: the definitions of the ops themselves, for code that has no formula of them.
//!
//! Rotary positions need a few hundred a token, which is why there is no vector variant.
#![allow(unsafe_code)]

/// Names and addresses of the functions, `extern "C" fn(f32) -> f32`.
pub const SYMBOLS: [(&str, *const u8); 2] =
    [("trine_cos_f32", trine_cos_f32 as *const u8), ("trine_sin_f32", trine_sin_f32 as *const u8)];

// SAFETY: no other function of a program that links this has the name.
#[unsafe(no_mangle)]
extern "C" fn trine_cos_f32(x: f32) -> f32 {
    libm::cosf(x)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn trine_sin_f32(x: f32) -> f32 {
    libm::sinf(x)
}
