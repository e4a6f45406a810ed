//! A kernel as one instruction set runs it, and how one is chosen.

use crate::{
    Features, attention, dot, dot_i8, exp, gemv, matmul, pad, quantize, rescale, rms_norm, scaled_i8,
    signsum_f32, signsum_i8, silu, softmax, widen,
};

/// How a kernel is called: with a pointer to its arguments, which are only read.
pub type Entry<A> = unsafe extern "C" fn(*const A);

/// One implementation of the kernel whose arguments are `A`. `L` is what else a caller must know:
/// the [`Layout`](crate::Layout) of the weights for contractions, nothing for the rest.
#[derive(Debug)]
pub struct Variant<A: 'static, L: 'static = ()> {
    /// The exported symbol of [`Variant::entry`].
    pub symbol: &'static str,
    /// What the machine must have; calling without it is undefined.
    pub needs: Features,
    pub layout: L,
    /// `None` where it is of another architecture than this build.
    pub entry: Option<Entry<A>>,
}

/// The entry point of a variant of x86-64, which other builds only list.
#[cfg(target_arch = "x86_64")]
macro_rules! on_x86 {
    ($entry:expr) => {
        Some($entry)
    };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! on_x86 {
    ($entry:expr) => {
        None
    };
}
pub(crate) use on_x86;

/// The entry point of a variant of aarch64, which other builds only list.
#[cfg(target_arch = "aarch64")]
macro_rules! on_aarch64 {
    ($entry:expr) => {
        Some($entry)
    };
}
#[cfg(not(target_arch = "aarch64"))]
macro_rules! on_aarch64 {
    ($entry:expr) => {
        None
    };
}
pub(crate) use on_aarch64;

impl<A, L> Variant<A, L> {
    /// The name, a spec: kernel, instruction set, layout, as in `signsum_i8_avx512vnni_2bit_32`.
    pub fn name(&self) -> &'static str {
        self.symbol.strip_prefix("trine_").unwrap_or(self.symbol)
    }

    /// How it is called.
    ///
    /// # Panics
    ///
    /// Where it is of another architecture; [`Features::detect`] never has what such a one needs.
    pub fn entry(&self) -> Entry<A> {
        self.entry.expect("variants that this machine has the features for are of its architecture")
    }

    /// The entry point as a bare address, to define [`Variant::symbol`] with; `None` if it is of another architecture.
    pub fn address(&self) -> Option<*const u8> {
        Some(self.entry? as *const u8)
    }
}

/// The preferred variant among those that `features` can run; `None` only for a table without a
/// scalar variant.
pub fn best<A, L>(variants: &'static [Variant<A, L>], features: Features) -> Option<&'static Variant<A, L>> {
    variants.iter().find(|v| features.contains(v.needs))
}

/// The variant called `name`, whether or not this machine can run it.
pub fn by_name<A, L>(variants: &'static [Variant<A, L>], name: &str) -> Option<&'static Variant<A, L>> {
    variants.iter().find(|v| v.name() == name)
}

/// The variant that is exported as `symbol`.
pub fn by_symbol<A, L>(variants: &'static [Variant<A, L>], symbol: &str) -> Option<&'static Variant<A, L>> {
    variants.iter().find(|v| v.symbol == symbol)
}

/// The scalar variant, which says what the others must give: the last one.
pub fn oracle<A, L>(variants: &'static [Variant<A, L>]) -> Option<&'static Variant<A, L>> {
    variants.last()
}

/// Every symbol that this build exports, and its address.
pub fn symbols() -> impl Iterator<Item = (&'static str, *const u8)> {
    let others = crate::trig::SYMBOLS.iter().chain(crate::prefetch::SYMBOLS);
    all().filter_map(|v| Some((v.symbol, v.address?))).chain(others.copied())
}

/// A variant of any kernel, as lists show it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// As [`Variant::name`] gives it.
    pub name: &'static str,
    pub symbol: &'static str,
    pub needs: Features,
    /// `None` if it is of another architecture than this build.
    pub address: Option<*const u8>,
}

/// Every variant of every kernel on any architecture, the preferred one of each first.
pub fn all() -> impl Iterator<Item = Listed> {
    of(signsum_i8::VARIANTS)
        .chain(of(dot_i8::VARIANTS))
        .chain(of(dot_i8::NIBBLES))
        .chain(of(scaled_i8::TRITS))
        .chain(of(scaled_i8::BYTES))
        .chain(of(scaled_i8::NIBBLES))
        .chain(of(signsum_f32::VARIANTS))
        .chain(of(quantize::VARIANTS))
        .chain(of(pad::VARIANTS))
        .chain(of(rescale::VARIANTS))
        .chain(of(rms_norm::VARIANTS))
        .chain(of(gemv::nk::VARIANTS))
        .chain(of(gemv::kn::VARIANTS))
        .chain(of(matmul::VARIANTS))
        .chain(of(matmul::blocks::VARIANTS))
        .chain(of(dot::VARIANTS))
        .chain(of(exp::VARIANTS))
        .chain(of(silu::VARIANTS))
        .chain(of(softmax::VARIANTS))
        .chain(of(attention::VARIANTS))
        .chain(of(widen::VARIANTS))
}

fn of<A, L>(variants: &'static [Variant<A, L>]) -> impl Iterator<Item = Listed> {
    variants.iter().map(|v| Listed { name: v.name(), symbol: v.symbol, needs: v.needs, address: v.address() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_machine_has_a_variant_and_names_find_them() {
        let scalar = best(signsum_i8::VARIANTS, Features::NONE).unwrap();
        assert_eq!(scalar.name(), "signsum_i8_scalar_trits");
        for v in signsum_i8::VARIANTS {
            let found = by_name(signsum_i8::VARIANTS, v.name()).unwrap();
            assert_eq!(found.symbol, v.symbol);
            assert_eq!(by_symbol(signsum_i8::VARIANTS, v.symbol).unwrap().name(), v.name());
        }
        assert_eq!(oracle(signsum_i8::VARIANTS).unwrap().name(), scalar.name());
        assert_eq!(oracle(matmul::VARIANTS).unwrap().name(), "matmul_f32_scalar");
        assert!(by_name(signsum_i8::VARIANTS, "signsum_i8_mmx").is_none());
    }

    #[test]
    fn symbols_are_distinct() {
        let mut seen = HashSet::new();
        for (symbol, address) in symbols() {
            assert!(symbol.starts_with("trine_") && !address.is_null());
            assert!(seen.insert(symbol), "{symbol} twice");
        }
    }
}
