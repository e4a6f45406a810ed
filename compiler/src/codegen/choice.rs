//! Which microkernel a quantized layer gets: the first that was asked for by name, else the one that was measured to
//! be the fastest, else the cheapest.
//!
//! The best kernel of an instruction set takes weights at two bits, which unpack almost for free. Five
//! weights a byte take more instructions, and a fifth fewer bytes. So bytes decide where they are what
//! a call waits for, which is when all of these hold:
//!
//! - the constants of the program together exceed the second cache, so that each run reads them from
//!   further away again;
//! - the layer has few rows, or so many that tiles multiply them, or as many as are known only at run time: one
//!   row in generation, which asks for the most;
//! - packing is really smaller once groups are padded to whole steps.

use trine_ukernel::contract_i8::{self, ContractI8};
use trine_ukernel::{
    Features, Geometry, Layout, Variant, best, by_name, dot_i8, scaled_i8, signsum_f32, signsum_i8,
};

use super::contraction;
use super::target::Target;

/// What a layer multiplies: its weights by its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    TritsF32,
    TritsInt8,
    Int8Int8,
    Int4Int8,
}

/// A quantized layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    pub product: Product,
    /// Rows of activations, where they are known.
    pub rows: Option<usize>,
    /// Outputs and inputs.
    pub n: usize,
    pub k: usize,
    /// Inputs that share a sum.
    pub group: usize,
}

/// From so many rows on arithmetic takes longer than reading weights does, unless tiles do it.
const MANY_ROWS: usize = 3;

/// What computes the sums of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contraction {
    /// A microkernel on int8, by its symbol, and the bytes that it works in.
    Int8 { symbol: &'static str, scratch: usize },
    /// One that scales the sums of groups as it adds them, which `sums` gives as they are.
    Scaled { symbol: &'static str, sums: &'static str },
    /// Code of this compiler, on int8.
    Own,
    /// A microkernel on f32.
    F32 { symbol: &'static str },
}

/// What can be asked for by name where the machine has `features`.
pub fn names(features: Features) -> impl Iterator<Item = &'static str> {
    fn of<A, L>(
        variants: &'static [Variant<A, L>],
        features: Features,
    ) -> impl Iterator<Item = &'static str> {
        variants.iter().filter(move |v| features.contains(v.needs)).map(Variant::name)
    }
    let own = [contraction::NAME].into_iter();
    let ternary = of(signsum_i8::VARIANTS, features).chain(of(signsum_f32::VARIANTS, features));
    own.chain(ternary).chain(of(dot_i8::VARIANTS, features)).chain(of(dot_i8::NIBBLES, features))
}

/// What sums `layer` on `target`, and how its weights are packed; `None` when nothing can.
pub fn sign_sum(target: &Target, layer: &Layer) -> Option<(Geometry, Contraction)> {
    match layer.product {
        Product::TritsF32 => float(target, layer),
        Product::TritsInt8 => int8(target, layer),
        Product::Int8Int8 => dot_int8(target, layer, dot_i8::VARIANTS),
        Product::Int4Int8 => dot_int8(target, layer, dot_i8::NIBBLES),
    }
}

fn int8(target: &Target, layer: &Layer) -> Option<(Geometry, Contraction)> {
    let own = (geometry(layer, contraction::LAYOUT)?, Contraction::Own);
    for name in target.asked(layer) {
        if name == contraction::NAME {
            return Some(own);
        }
        if let Some(forced) = by_name(signsum_i8::VARIANTS, name) {
            return microkernel(layer, forced);
        }
    }
    let usual = best(signsum_i8::VARIANTS, target.features)?;
    // Where there is only the oracle, vectors of 128 bits are faster.
    if usual.needs == Features::NONE {
        return Some(own);
    }
    let mut denser = signsum_i8::VARIANTS.iter().filter(|v| v.layout == Layout::FiveInEight16);
    let denser = denser.find(|v| target.features.contains(v.needs));
    let chosen = denser.filter(|v| waits_for_bytes(target, layer, usual.layout, v)).unwrap_or(usual);
    microkernel(layer, chosen)
}

fn microkernel(layer: &Layer, v: &Variant<ContractI8, Layout>) -> Option<(Geometry, Contraction)> {
    let g = geometry(layer, v.layout)?;
    if let Some(scaled) = scaled_i8::of(v).filter(|_| g.groups > 1) {
        return Some((g, Contraction::Scaled { symbol: scaled.symbol, sums: v.symbol }));
    }
    let scratch = contract_i8::scratch(v, &g, layer.rows);
    Some((g, Contraction::Int8 { symbol: v.symbol, scratch }))
}

fn waits_for_bytes(
    target: &Target,
    layer: &Layer,
    usual: Layout,
    denser: &Variant<ContractI8, Layout>,
) -> bool {
    let (Some(usual), Some(dense)) = (geometry(layer, usual), geometry(layer, denser.layout)) else {
        return false;
    };
    let in_tiles = contract_i8::scratch(denser, &dense, layer.rows) > 0;
    let waits = layer.rows.is_none_or(|rows| rows < MANY_ROWS || in_tiles);
    target.streams && waits && dense.bytes < usual.bytes / 10 * 9
}

fn float(target: &Target, layer: &Layer) -> Option<(Geometry, Contraction)> {
    let forced = target.asked(layer).find_map(|name| by_name(signsum_f32::VARIANTS, name));
    let variant = forced.or_else(|| best(signsum_f32::VARIANTS, target.features))?;
    Some((geometry(layer, variant.layout)?, Contraction::F32 { symbol: variant.symbol }))
}

fn dot_int8(
    target: &Target,
    layer: &Layer,
    variants: &'static [Variant<ContractI8, Layout>],
) -> Option<(Geometry, Contraction)> {
    let forced = target.asked(layer).find_map(|name| by_name(variants, name));
    microkernel(layer, forced.or_else(|| best(variants, target.features))?)
}

fn geometry(layer: &Layer, layout: Layout) -> Option<Geometry> {
    Geometry::new(layout, layer.n, layer.k, layer.group).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: Layer = Layer { product: Product::TritsInt8, rows: None, n: 2560, k: 2560, group: 2560 };

    fn target(streams: bool) -> Target {
        let mut target = Target::host().unwrap();
        target.features = Features::AVX512.union(Features::AVX512_VNNI).union(Features::AVX512_VBMI);
        target.forced.clear();
        target.streams = streams;
        target
    }

    fn layout(target: &Target, layer: &Layer) -> Layout {
        sign_sum(target, layer).unwrap().0.layout
    }

    #[test]
    fn bytes_decide_where_weights_come_from_memory() {
        assert_eq!(layout(&target(false), &LAYER), Layout::TwoBit32);
        assert_eq!(layout(&target(true), &LAYER), Layout::FiveInEight16);
        let many = Layer { rows: Some(32), ..LAYER };
        assert_eq!(layout(&target(true), &many), Layout::TwoBit32);
        let short = Layer { group: 32, ..LAYER };
        assert_eq!(layout(&target(true), &short), Layout::TwoBit32);
        let mut without = target(true);
        without.features = Features::AVX2;
        assert_eq!(layout(&without, &LAYER), Layout::TwoBit32);
    }

    /// Tiles read what the kernels of a few rows read, and want memory unless there are only a few.
    #[test]
    fn tiles_are_preferred_and_given_scratch() {
        let mut target = target(true);
        let usual = layout(&target, &LAYER);
        target.features = target.features.union(Features::AMX_INT8);
        let chosen = |rows| sign_sum(&target, &Layer { rows, ..LAYER }).unwrap();
        let of = |contraction| match contraction {
            Contraction::Int8 { symbol, scratch } => (symbol, scratch > 0),
            other => panic!("{other:?}"),
        };
        assert_eq!(chosen(None).0.layout, usual);
        assert_eq!(of(chosen(None).1), ("trine_signsum_i8_amx_5in8_16", true));
        assert_eq!(of(chosen(Some(1)).1), ("trine_signsum_i8_amx_5in8_16", false));
        assert_eq!(of(chosen(Some(5)).1), ("trine_signsum_i8_amx_2bit_32", false));
        assert_eq!(of(chosen(Some(128)).1), ("trine_signsum_i8_amx_5in8_16", true));
    }

    #[test]
    fn names_force_and_strangers_are_refused() {
        let mut target = target(true);
        target.force("signsum_i8_scalar_trits, signsum_f32_scalar_trits").unwrap();
        assert_eq!(layout(&target, &LAYER), Layout::Trits);
        assert_eq!(layout(&target, &Layer { product: Product::TritsF32, ..LAYER }), Layout::Trits);
        let error = target.force("signsum_i8_mmx").unwrap_err().to_string();
        assert!(error.contains("no microkernel `signsum_i8_mmx`"), "{error}");
        assert!(error.contains("signsum_i8_avx512vnni_2bit_32"), "{error}");
        target.features = Features::NONE;
        assert!(target.force("signsum_i8_avx2_2bit_32").is_err());
    }
}
