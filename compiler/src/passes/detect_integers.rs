//! `matmul(x, dequantize_blocks(q, scale, zero))  →  int8_matmul(x, q - zero, scale)`, where the model lets
//! activations be int8
//!
//! Weights of 4 and 8 bits stay what they are in the file: half a byte or one to read, in place of four. As in
//! `detect-ternary`, which comes first, activations become int8 only where the model says that they may (`accuracy_level` 4
//! of MatMulNBits).

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::attr::Flag;
use trine_ir::ops::{Int8Matmul, Matmul};
use trine_ir::{Elem, Kind, Module, Op, Stage, Tensor};

use super::sharing::{Sharing, in_blocks};
use crate::layers;
use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, any, constant, matmul, maybe, op, refuse, rule};

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        return Ok(0);
    }
    let notes = Rc::new(RefCell::new(vec![]));
    let count = cx.apply(module, &[detect(notes.clone(), Asked::No)]);
    notes.take().into_iter().for_each(|note| cx.note(note));
    module.stage = Stage::Ternary;
    Ok(count)
}

/// Whether int8 activations are what the user wants, whatever the model says.
#[derive(Clone, Copy, PartialEq)]
pub enum Asked {
    No,
    /// With scales that so many inputs share.
    Yes(Sharing),
}

/// The rule. Weights stay exactly what they are where they are of 4 or 8 bits, less their zeros are int8, and have scales
/// of f32; what activations lose is what the model allows.
pub fn detect(notes: Rc<RefCell<Vec<String>>>, asked: Asked) -> Rule {
    let (x, q, scale, zero) = (any(), constant(), constant(), constant());
    let blocks = op(Kind::DequantizeBlocks, [&q, &scale, &maybe(&zero)]);
    let root = matmul(&x, &blocks);
    rule("detect-integers", root.clone(), move |m, g| {
        let (Some(Op::DequantizeBlocks(layout)), Some(Op::Matmul(Matmul { trans_b: true }))) =
            (g.op(m[&blocks]).cloned(), g.op(m[&root]))
        else {
            return refuse("not a product with rows of blocks");
        };
        if !layout.int8 && asked == Asked::No {
            return refuse("the model wants activations of f32");
        }
        if !matches!(layout.bits, 4 | 8) {
            return refuse(format!("weights of {} bits", layout.bits));
        }
        let scale = g.tensor(m[&scale])?;
        if scale.elem() != Elem::F32 {
            return refuse(format!("scales of {}", scale.elem()));
        }
        let zero = m.get(&zero).map(|zero| g.tensor(zero)).transpose()?;
        let Some(codes) = layout.integers(&g.tensor(m[&q])?, zero.as_ref())? else {
            return refuse("weights less their zeros are not int8");
        };
        let elem = if codes.iter().all(|q| (-8..=7).contains(q)) { Elem::I4 } else { Elem::I8 };
        let dims = vec![scale.dims()[0], layout.k];
        let base = layers::weights_name(g, m[&blocks]);
        notes.borrow_mut().push(match asked {
            Asked::Yes(_) => format!("@{base}: int8 activations, weights of {elem}"),
            Asked::No => format!("@{base}: weights of {elem}, activations of i8, as the model says"),
        });
        let w =
            g.constant(&format!("{base}.{elem}"), Tensor::pack(elem, dims, bytemuck::cast_slice(&codes))?);
        let scale = g.constant(&format!("{base}.scale"), scale);
        let group = layout.block.min(layout.k);
        // As onnxruntime rounds them: by the blocks of weights. Those that do not fill a row are rounded as one.
        let sharing = match asked {
            Asked::No => Sharing::Block(group),
            Asked::Yes(sharing) => sharing,
        };
        if let Some(block) = sharing.block(layout.k, group)
            && let Some(scale) = in_blocks(g, scale, (layout.k, group), block)?
        {
            return Ok(g.add(Int8Matmul { group: block, blocks: Flag(true) }, &[m[&x], w, scale])?);
        }
        Ok(g.add(Int8Matmul { group, blocks: Flag(false) }, &[m[&x], w, scale])?)
    })
}
