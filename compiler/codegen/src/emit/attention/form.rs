//! What attention of either kind asks for.

use trine_ir::ops::Attention;
use trine_ir::{Dim, Op};
use trine_ukernel::attention;

/// Whether an op is attention of either kind.
pub fn attends(op: &Op) -> bool {
    matches!(op, Op::Attention(_) | Op::CachedAttention(_))
}

/// What an op asks for that is not an operand.
pub struct Form {
    pub scale: f32,
    pub softcap: f32,
    pub hidden: Option<f32>,
    /// [`attention::NAN_UNSEEN`] and its like.
    pub modes: u32,
    pub causal: bool,
    /// Keys that a query sees at most.
    pub window: Option<usize>,
    /// Rows of a cache that are given by number.
    pub rows: Option<Dim>,
}

impl Form {
    pub fn of(op: &Op) -> Option<Form> {
        Some(match op {
            Op::Attention(op) => Form {
                scale: op.scale,
                softcap: op.softcap,
                hidden: op.hidden,
                modes: modes(op),
                causal: op.causal,
                window: None,
                rows: None,
            },
            Op::CachedAttention(op) => Form {
                scale: op.scale,
                softcap: op.softcap,
                hidden: None,
                modes: 0,
                causal: op.causal,
                window: op.window,
                rows: Some(op.rows.clone()),
            },
            _ => return None,
        })
    }
}

/// What the microkernel is asked for by flags.
fn modes(op: &Attention) -> u32 {
    let modes = [
        (op.hidden.is_some(), attention::HIDES),
        (op.nan_unseen.0, attention::NAN_UNSEEN),
        (op.zero_nan.0, attention::ZERO_NAN),
    ];
    modes.into_iter().filter(|(asked, _)| *asked).map(|(_, mode)| mode).sum()
}
