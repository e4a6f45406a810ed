//! What an emitter says of the kernel that it is about to write.

use std::fmt;

use trine_ir::{Dim, Graph};
use trine_ukernel::Geometry;
use trine_ukernel::matmul::{Codes, Panels};

use super::function::{ClifValue, Emit, Result};
use crate::choice::{self, Why};

/// A body that an emitter has taken. Sizes are `None` where they overflow.
pub trait Kernel {
    /// How argument `arg` lies where it is a constant.
    fn layout(&self, _arg: usize) -> ArgLayout {
        ArgLayout::Dense
    }

    /// The memory that it works in.
    fn scratch(&self) -> Option<Scratch> {
        Some(Scratch::of_parts(Dim::constant(0)))
    }

    /// Elementary operations of a whole call, roughly: what parts are shared by.
    fn work(&self) -> Option<Dim>;

    /// Additions and multiplications of a whole call.
    fn operations(&self) -> Option<Dim> {
        self.work()
    }

    /// The argument of which some rows are read, and not all of it.
    fn table(&self) -> Option<Table> {
        None
    }

    /// Has the kernel read its table as it lies in `panels`, which [`Kernel::table`] named.
    fn read_panels(&mut self, _panels: Panels) {}

    /// The microkernels that are called.
    fn microkernels(&self) -> Vec<Microkernel> {
        vec![]
    }

    /// What sums a quantized layer, by name, and why.
    fn sums(&self) -> Option<(&'static str, Why)> {
        None
    }

    /// Writes the code, and gives the status that it returns.
    fn emit(&self, e: &mut Emit) -> Result<ClifValue>;
}

/// How a kernel reads an argument that is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgLayout {
    /// Row-major, as it is.
    Dense,
    /// Trits or int8 packed for a microkernel.
    Weights(Geometry),
    /// Scales `[n, groups]` as `[groups, n_padded]`.
    Scales(Geometry),
    /// Dense f32 weights packed for a microkernel.
    Panels(Panels),
    /// Codes of a few bits, as panels.
    Codes(Codes),
    /// The scales of their blocks, f32, as panels.
    BlockScales(Codes),
    /// The zeros of their blocks, f32, as panels.
    BlockZeros(Codes),
}

impl ArgLayout {
    /// Bytes of what is packed; none of what is not, and the inner one on overflow.
    pub fn packed_bytes(&self) -> Option<Option<usize>> {
        match self {
            ArgLayout::Dense => None,
            ArgLayout::Weights(geometry) => Some(Some(geometry.bytes)),
            ArgLayout::Scales(geometry) => Some(geometry.groups.checked_mul(4 * geometry.n_padded)),
            ArgLayout::Panels(panels) => Some(panels.packed_len().and_then(|len| len.checked_mul(4))),
            ArgLayout::Codes(codes) => Some(codes.codes_len()),
            ArgLayout::BlockScales(codes) | ArgLayout::BlockZeros(codes) => {
                Some(codes.scales_len().and_then(|len| len.checked_mul(4)))
            }
        }
    }
}

/// The text that `trine inspect` shows.
impl fmt::Display for ArgLayout {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ArgLayout::Dense => f.write_str("dense"),
            ArgLayout::Weights(g) => write!(f, "{}[{},{}] by {}", g.layout.name(), g.n, g.k, g.group),
            ArgLayout::Scales(g) => write!(f, "scales[{},{}]", g.groups, g.n_padded),
            ArgLayout::Panels(p) => write!(f, "panels[{},{}]", p.k, p.n),
            ArgLayout::Codes(c) => write!(f, "codes[{},{}]", c.n, c.k),
            ArgLayout::BlockScales(c) => write!(f, "code scales[{},{}]", c.n, c.k),
            ArgLayout::BlockZeros(c) => write!(f, "code zeros[{},{}]", c.n, c.k),
        }
    }
}

/// Bytes of scratch: what all parts share lies first, then what each has.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// Bytes that all parts share.
    pub shared: Dim,
    /// Bytes of one part.
    pub part: Dim,
}

impl Scratch {
    /// Nothing is shared.
    pub fn of_parts(part: Dim) -> Scratch {
        Scratch { shared: Dim::constant(0), part }
    }
}

/// An argument of which rows are read.
pub struct Table {
    /// Its number among the kernel's arguments.
    pub arg: usize,
    /// How a product that has the same constant for its weights, and reads these rows as columns, would pack it.
    pub panels: Option<Panels>,
}

/// A microkernel that generated code calls. Those of dot products, softmax and exponentials are within these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Microkernel {
    /// What it computes.
    pub family: Family,
    /// Its symbol: `trine_` and its name.
    pub symbol: &'static str,
}

impl Microkernel {
    /// As `trine list kernels` calls it.
    pub fn name(&self) -> &'static str {
        choice::name(self.symbol)
    }
}

/// What a microkernel computes, with the sizes that its work depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// Sums of int8 activations times int8, int4 or trits.
    Int8 {
        /// Inputs of a row.
        k: usize,
        /// Inputs that share a sum.
        group: usize,
    },
    /// The same, scaled by group as they are added.
    Scaled {
        /// Inputs of a row.
        k: usize,
        /// Inputs that share a sum, and its scale.
        group: usize,
    },
    /// Sums of f32 activations by the signs of trits.
    F32 {
        /// Inputs of a row.
        k: usize,
        /// Inputs that share a sum.
        group: usize,
    },
    /// Products of f32.
    Matmul {
        /// Inputs of a row, where they are known.
        k: Option<usize>,
        /// Whether weights are packed in panels.
        packed: bool,
    },
    /// Products of f32 with weights of a few bits.
    Blocks(Codes),
    /// SiLU of each element of a row.
    Silu,
    /// RMSNorm of a row.
    RmsNorm,
    /// A row of f32 to int8, and its scale.
    Quantize,
    /// Rows of int8, each group padded with zeros, and the sums of groups.
    Pad,
    /// The sums of a quantized layer to its outputs.
    Rescale,
    /// Attention of a block of queries.
    Attention,
}

/// Where a kernel's arguments are: operands, results, scratch.
pub struct Shape {
    arguments: usize,
    results: usize,
}

impl Shape {
    pub fn of(graph: &Graph) -> Shape {
        Shape { arguments: graph.params().len(), results: graph.outputs().len() }
    }

    pub fn result(&self, i: usize) -> usize {
        self.arguments + i
    }

    pub fn scratch(&self) -> usize {
        self.arguments + self.results
    }
}
