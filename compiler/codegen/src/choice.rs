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

use std::fmt;

use rustc_hash::FxHashMap;
use serde::Serialize;
use trine_ir::{Elem, Module};
use trine_ukernel::contract_i8::{self, ContractI8};
use trine_ukernel::signsum_f32::{self, SignSumF32};
use trine_ukernel::{Features, Geometry, Layout, Variant, best, by_name, dot_i8, scaled_i8, signsum_i8};

use super::error::CodegenError;
use super::target::Target;

/// What a layer multiplies: its weights by its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Trits by f32.
    TritsF32,
    /// Trits by int8.
    TritsInt8,
    /// Int8 by int8.
    Int8Int8,
    /// Int4 by int8.
    Int4Int8,
}

/// The microkernels for a product, the best first and the scalar oracle last.
#[derive(Clone, Copy)]
pub enum Table {
    /// Those that take int8 activations.
    Int8(&'static [Variant<ContractI8, Layout>]),
    /// Those that take f32 activations.
    F32(&'static [Variant<SignSumF32, Layout>]),
}

impl Product {
    /// All of them.
    pub const ALL: [Product; 4] =
        [Product::TritsInt8, Product::TritsF32, Product::Int8Int8, Product::Int4Int8];

    /// The microkernels for it.
    pub fn table(self) -> Table {
        match self {
            Product::TritsInt8 => Table::Int8(signsum_i8::VARIANTS),
            Product::TritsF32 => Table::F32(signsum_f32::VARIANTS),
            Product::Int8Int8 => Table::Int8(dot_i8::VARIANTS),
            Product::Int4Int8 => Table::Int8(dot_i8::NIBBLES),
        }
    }
}

/// A quantized layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// What it multiplies.
    pub product: Product,
    /// Rows of activations, where they are known.
    pub rows: Option<usize>,
    /// Outputs of a row.
    pub n: usize,
    /// Inputs of a row.
    pub k: usize,
    /// Inputs that share a sum.
    pub group: usize,
}

/// The code of this compiler's own that sums int8, as it is called among the microkernels.
pub const OWN: &str = "signsum_i8_cranelift_2bit_8";

/// How the weights lie that [`OWN`] reads.
pub const OWN_LAYOUT: Layout = Layout::TwoBit8;

/// What decides, besides a layer, which microkernel it gets.
#[derive(Clone)]
pub struct Choices<'t> {
    /// The machine that code is made for, and what was asked for by name.
    pub target: &'t Target,
    /// Whether a run finds its weights in memory, or in a cache that is shared, because together they exceed its own.
    pub streams: bool,
    /// Microkernels that were [measured](super::plan::tune) to be the fastest, by their names.
    pub tuned: FxHashMap<Layer, String>,
}

/// Bytes of a module's weights as kernels read them, about: what packing adds is left out.
pub fn weight_bytes(module: &Module) -> usize {
    let bytes = module.consts.values().map(|tensor| match tensor.elem() {
        Elem::Trit => tensor.dims().iter().product::<usize>() / 4,
        _ => tensor.bytes().len(),
    });
    bytes.fold(0, usize::saturating_add)
}

impl Choices<'_> {
    /// For programs of `module`, before anything is measured.
    pub fn new<'t>(target: &'t Target, module: &Module) -> Choices<'t> {
        let streams = weight_bytes(module) > target.cache;
        Choices { target, streams, tuned: FxHashMap::default() }
    }

    /// The names of microkernels that `layer` gets before any other, the first that fits, and why.
    fn asked(&self, layer: &Layer) -> impl Iterator<Item = (&str, Why)> {
        let forced = self.target.forced.iter().map(|name| (name.as_str(), Why::Asked));
        forced.chain(self.tuned.get(layer).map(|name| (name.as_str(), Why::Measured)))
    }
}

/// What sums a layer.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// How its weights are packed.
    pub geometry: Geometry,
    /// What computes its sums.
    pub contraction: Contraction,
    /// Why this one.
    pub why: Why,
}

/// Why a layer gets its microkernel, and not another that the target can run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Its name is among [`Target::forced`].
    Asked,
    /// Its name is among [`Choices::tuned`].
    Measured,
    /// The layer waits for its weights, and this packing of them is the smallest.
    FewestBytes,
    /// Of those that the target can run, the table lists it first.
    Cheapest,
    /// The target can run none but the oracle, which is slower than code of this compiler.
    NoVectors,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Why::Asked => "which was asked for by name",
            Why::Measured => "which was measured to be the fastest",
            Why::FewestBytes => "which reads the fewest bytes, for the weights come from memory",
            Why::Cheapest => "the cheapest that the target can run",
            Why::NoVectors => "for the target has no microkernel with vectors",
        })
    }
}

/// As it prints.
impl Serialize for Why {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Has layers that it fits get the microkernel `name`, one of [`names`], before all others but those asked for earlier.
pub fn force(target: &mut Target, name: &str) -> Result<(), CodegenError> {
    let fitting: Vec<&str> = names(target.features).collect();
    if !fitting.contains(&name) {
        let message = format!("no microkernel `{name}` here; there are: {}", fitting.join(", "));
        return Err(CodegenError::Target { message });
    }
    target.forced.push(name.into());
    Ok(())
}

/// From so many rows on arithmetic takes longer than reading weights does, unless tiles do it.
const MANY_ROWS: usize = 3;

/// What computes the sums of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contraction {
    /// A microkernel on int8.
    Int8 {
        /// Its symbol.
        symbol: &'static str,
        /// Bytes that it works in; 0 where it needs none.
        scratch: usize,
    },
    /// One that scales the sums of groups as it adds them.
    Scaled {
        /// Its symbol.
        symbol: &'static str,
        /// The symbol of the one that gives the same sums as they are.
        sums: &'static str,
    },
    /// Code of this compiler, on int8.
    Own,
    /// A microkernel on f32.
    F32 {
        /// Its symbol.
        symbol: &'static str,
    },
}

/// The name of the microkernel with a symbol.
pub fn name(symbol: &'static str) -> &'static str {
    symbol.strip_prefix("trine_").unwrap_or(symbol)
}

impl Contraction {
    /// As it is asked for by name, or called where its sums are scaled at once.
    pub fn name(&self) -> &'static str {
        match self {
            Contraction::Int8 { symbol, .. }
            | Contraction::Scaled { symbol, .. }
            | Contraction::F32 { symbol } => name(symbol),
            Contraction::Own => OWN,
        }
    }
}

/// What can be asked for by name where the machine has `features`.
pub fn names(features: Features) -> impl Iterator<Item = &'static str> {
    fn of<A, L>(variants: &'static [Variant<A, L>], features: Features) -> Vec<&'static str> {
        variants.iter().filter(|v| features.contains(v.needs)).map(Variant::name).collect()
    }
    let microkernels = Product::ALL.into_iter().flat_map(move |product| match product.table() {
        Table::Int8(variants) => of(variants, features),
        Table::F32(variants) => of(variants, features),
    });
    [OWN].into_iter().chain(microkernels)
}

/// What sums `layer`; `None` when nothing can.
pub fn sign_sum(choices: &Choices, layer: &Layer) -> Option<Choice> {
    match (layer.product, layer.product.table()) {
        (Product::TritsInt8, _) => trits_int8(choices, layer),
        (_, Table::Int8(variants)) => {
            let (variant, why) = asked_or_best(choices, layer, variants)?;
            microkernel(layer, variant, why)
        }
        (_, Table::F32(variants)) => {
            let (variant, why) = asked_or_best(choices, layer, variants)?;
            let contraction = Contraction::F32 { symbol: variant.symbol };
            Some(Choice { geometry: geometry(layer, variant.layout)?, contraction, why })
        }
    }
}

/// Ternary weights and int8 are also summed by code of this compiler, and packed in two ways.
fn trits_int8(choices: &Choices, layer: &Layer) -> Option<Choice> {
    let own =
        |why| Some(Choice { geometry: geometry(layer, OWN_LAYOUT)?, contraction: Contraction::Own, why });
    for (name, why) in choices.asked(layer) {
        if name == OWN {
            return own(why);
        }
        if let Some(asked) = by_name(signsum_i8::VARIANTS, name) {
            return microkernel(layer, asked, why);
        }
    }
    let features = choices.target.features;
    let usual = best(signsum_i8::VARIANTS, features)?;
    // Where there is only the oracle, vectors of 128 bits are faster.
    if usual.needs == Features::NONE {
        return own(Why::NoVectors);
    }
    let mut denser = signsum_i8::VARIANTS.iter().filter(|v| v.layout == Layout::FiveInEight16);
    let denser = denser.find(|v| features.contains(v.needs));
    match denser.filter(|v| waits_for_bytes(choices, layer, usual.layout, v)) {
        Some(denser) => microkernel(layer, denser, Why::FewestBytes),
        None => microkernel(layer, usual, Why::Cheapest),
    }
}

fn microkernel(layer: &Layer, v: &Variant<ContractI8, Layout>, why: Why) -> Option<Choice> {
    let geometry = geometry(layer, v.layout)?;
    let contraction = match scaled_i8::of(v).filter(|_| geometry.groups > 1) {
        Some(scaled) => Contraction::Scaled { symbol: scaled.symbol, sums: v.symbol },
        None => {
            let scratch = contract_i8::scratch(v, &geometry, layer.rows);
            Contraction::Int8 { symbol: v.symbol, scratch }
        }
    };
    Some(Choice { geometry, contraction, why })
}

fn waits_for_bytes(
    choices: &Choices,
    layer: &Layer,
    usual: Layout,
    denser: &Variant<ContractI8, Layout>,
) -> bool {
    let (Some(usual), Some(dense)) = (geometry(layer, usual), geometry(layer, denser.layout)) else {
        return false;
    };
    let in_tiles = contract_i8::scratch(denser, &dense, layer.rows) > 0;
    let waits = layer.rows.is_none_or(|rows| rows < MANY_ROWS || in_tiles);
    choices.streams && waits && dense.bytes < usual.bytes / 10 * 9
}

fn asked_or_best<A>(
    choices: &Choices,
    layer: &Layer,
    variants: &'static [Variant<A, Layout>],
) -> Option<(&'static Variant<A, Layout>, Why)> {
    let asked = choices.asked(layer).find_map(|(name, why)| Some((by_name(variants, name)?, why)));
    asked.or_else(|| Some((best(variants, choices.target.features)?, Why::Cheapest)))
}

fn geometry(layer: &Layer, layout: Layout) -> Option<Geometry> {
    Geometry::new(layout, layer.n, layer.k, layer.group).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: Layer = Layer { product: Product::TritsInt8, rows: None, n: 2560, k: 2560, group: 2560 };

    fn target() -> Target {
        let mut target = Target::host().unwrap();
        target.features = Features::AVX512.union(Features::AVX512_VNNI).union(Features::AVX512_VBMI);
        target
    }

    fn chosen(target: &Target, streams: bool, layer: &Layer) -> Choice {
        sign_sum(&Choices { target, streams, tuned: FxHashMap::default() }, layer).unwrap()
    }

    #[test]
    fn bytes_decide_where_weights_come_from_memory() {
        let target = target();
        let layout = |streams, layer: &Layer| chosen(&target, streams, layer).geometry.layout;
        assert_eq!(layout(false, &LAYER), Layout::TwoBit32);
        assert_eq!(layout(true, &LAYER), Layout::FiveInEight16);
        assert_eq!(layout(true, &Layer { rows: Some(32), ..LAYER }), Layout::TwoBit32);
        assert_eq!(layout(true, &Layer { group: 32, ..LAYER }), Layout::TwoBit32);
        let whys = [false, true].map(|streams| chosen(&target, streams, &LAYER).why);
        assert_eq!(whys, [Why::Cheapest, Why::FewestBytes]);
        let without = Target { features: Features::AVX2, ..target };
        assert_eq!(chosen(&without, true, &LAYER).geometry.layout, Layout::TwoBit32);
        let bare = Target { features: Features::NONE, ..without };
        assert_eq!(chosen(&bare, true, &LAYER).why, Why::NoVectors);
    }

    /// Tiles read what the kernels of a few rows read, and want memory unless there are only a few.
    #[test]
    fn tiles_are_preferred_and_given_scratch() {
        let mut target = target();
        let usual = chosen(&target, true, &LAYER).geometry.layout;
        target.features = target.features.union(Features::AMX_INT8);
        let chosen = |rows| chosen(&target, true, &Layer { rows, ..LAYER });
        let of = |choice: Choice| match choice.contraction {
            Contraction::Int8 { symbol, scratch } => (symbol, scratch > 0),
            other => panic!("{other:?}"),
        };
        assert_eq!(chosen(None).geometry.layout, usual);
        assert_eq!(of(chosen(None)), ("trine_signsum_i8_amx_5in8_16", true));
        assert_eq!(of(chosen(Some(1))), ("trine_signsum_i8_amx_5in8_16", false));
        assert_eq!(of(chosen(Some(5))), ("trine_signsum_i8_amx_2bit_32", false));
        assert_eq!(of(chosen(Some(128))), ("trine_signsum_i8_amx_5in8_16", true));
    }

    #[test]
    fn names_force_and_strangers_are_refused() {
        let mut target = target();
        for name in ["signsum_i8_scalar_trits", "signsum_f32_scalar_trits"] {
            force(&mut target, name).unwrap();
        }
        for product in [Product::TritsInt8, Product::TritsF32] {
            let choice = chosen(&target, true, &Layer { product, ..LAYER });
            assert_eq!((choice.geometry.layout, choice.why), (Layout::Trits, Why::Asked));
        }
        let error = force(&mut target, "signsum_i8_mmx").unwrap_err().to_string();
        assert!(error.contains("no microkernel `signsum_i8_mmx`"), "{error}");
        assert!(error.contains("signsum_i8_avx512vnni_2bit_32"), "{error}");
        target.features = Features::NONE;
        assert!(force(&mut target, "signsum_i8_avx2_2bit_32").is_err());
    }
}
