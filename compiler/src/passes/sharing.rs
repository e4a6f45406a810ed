//! Which activations share a scale where they are rounded to int8.

use std::str::FromStr;

use trine_ir::ops::groups;
use trine_ir::{Tensor, Value};

use crate::pattern::{Refusal, Rewrite};

/// Which inputs share a scale.
#[derive(Clone, Copy, PartialEq)]
pub enum Sharing {
    /// All of a row.
    Row,
    /// So many, at most those that share a scale of the weights.
    Block(usize),
}

impl Sharing {
    /// How many of `k` inputs share a scale, whose weights have one for each `group`; `None` for all of them.
    pub fn block(self, k: usize, group: usize) -> Option<usize> {
        match self {
            Sharing::Row => None,
            Sharing::Block(block) => Some(block.min(group)).filter(|block| *block < k),
        }
    }
}

/// `row`, `group` of the weights, or a number of inputs.
impl FromStr for Sharing {
    type Err = ();

    fn from_str(text: &str) -> Result<Sharing, ()> {
        match text {
            "row" => Ok(Sharing::Row),
            "group" => Ok(Sharing::Block(usize::MAX)),
            _ => text.parse().ok().filter(|block| *block > 0).map(Sharing::Block).ok_or(()),
        }
    }
}

/// Scales of groups of `group` of `k` inputs as those of blocks, if blocks fill groups and rows.
pub fn in_blocks(
    g: &mut Rewrite,
    scale: Value,
    (k, group): (usize, usize),
    block: usize,
) -> Result<Option<Value>, Refusal> {
    let group = group.min(k);
    if block > group || !group.is_multiple_of(block) || !k.is_multiple_of(block) {
        return Ok(None);
    }
    let scales = g.tensor(scale)?;
    let (values, from, to) = (scales.values::<f32>()?, groups(k, group), k / block);
    let of_block = |i: usize| values[i / to * from + i % to * block / group];
    let n = scales.dims()[0];
    let finer = Tensor::from_vec(vec![n, to], (0..n * to).map(of_block).collect())?;
    let name = g.graph().const_key(scale).unwrap_or("scale").to_string();
    Ok(Some(g.constant(&name, finer)))
}
