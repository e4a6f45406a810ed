//! Weights of a few bits with a scale a block, times f32: they stay so in memory, and become f32 in the microkernel.

use trine_ir::ops::{DequantizeBlocks, Matmul};
use trine_ir::{Elem, Graph, NodeId, Op, Value};
use trine_ukernel::best;
use trine_ukernel::matmul::{Codes, MatmulF32, WIDTH, blocks};

use super::super::ArgLayout;
use super::super::arguments::{Arguments, arguments};
use super::super::function::Emit;
use super::super::view::packable;
use crate::Target;

/// Constants that together are the right-hand side of a product.
pub struct Blocks {
    pub codes: Codes,
    q: usize,
    scale: usize,
    zero: Option<usize>,
    /// The microkernel that multiplies.
    pub symbol: &'static str,
}

impl Blocks {
    /// The op that makes the right-hand side of `product`, by output, and what it reads, if that is all constant.
    pub fn of(graph: &Graph, product: NodeId, target: &Target) -> Option<(NodeId, Blocks)> {
        let weights = graph.operand(product, Matmul::b)?;
        let Some(Op::DequantizeBlocks(op)) = graph.op(weights.node) else { return None };
        let constant = |v: Value| packable(graph, v, v);
        let zero = match graph.operand(weights.node, DequantizeBlocks::zero) {
            Some(zero) => Some(constant(zero)?),
            None => None,
        };
        let [n, k] = graph.ty(weights).static_dims()?.try_into().ok()?;
        let alone = graph.ty(weights).elem == Elem::F32 && graph.use_count(weights) == 1;
        let blocks = Blocks {
            codes: Codes { k, n, bits: op.bits, block: op.block },
            q: constant(graph.operand(weights.node, DequantizeBlocks::q)?)?,
            scale: constant(graph.operand(weights.node, DequantizeBlocks::scale)?)?,
            zero,
            symbol: best(blocks::VARIANTS, target.features)?.symbol,
        };
        (alone && n * k > 0).then_some((weights.node, blocks))
    }

    pub fn layout(&self, arg: usize) -> ArgLayout {
        match arg {
            _ if arg == self.q => ArgLayout::Codes(self.codes),
            _ if arg == self.scale => ArgLayout::BlockScales(self.codes),
            _ if Some(arg) == self.zero => ArgLayout::BlockZeros(self.codes),
            _ => ArgLayout::Dense,
        }
    }

    /// Bytes of a panel as f32.
    pub fn part_scratch(&self) -> usize {
        4 * WIDTH * self.codes.k
    }

    /// What the microkernel is told of the product and of the weights.
    pub fn arguments(&self, e: &mut Emit, product: Arguments<MatmulF32>) -> Arguments<blocks::BlocksF32> {
        let [codes, scales] = [self.q, self.scale].map(|arg| e.arg(arg));
        let zeros = self.zero.map(|arg| e.arg(arg)).unwrap_or_else(|| e.int(0));
        let sizes = [self.codes.middle(), self.codes.block, self.codes.packed_bits()];
        let [zero, block, bits] = sizes.map(|size| e.int(size as i64));
        arguments!(blocks::BlocksF32 { product, codes, scales, zeros, zero, block, bits })
    }
}
