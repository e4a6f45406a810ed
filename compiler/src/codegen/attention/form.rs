//! What attention of either kind asks for.

use trine_ir::{Dim, Op};

/// Whether an op is attention of either kind.
pub fn attends(op: &Op) -> bool {
    matches!(op, Op::Attention(_) | Op::CachedAttention(_))
}

/// What an op asks for that is not an operand.
pub struct Form {
    pub scale: f32,
    pub softcap: f32,
    pub hidden: Option<f32>,
    pub nan_unseen: bool,
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
                nan_unseen: op.nan_unseen.0,
                causal: op.causal,
                window: None,
                rows: None,
            },
            Op::CachedAttention(op) => Form {
                scale: op.scale,
                softcap: op.softcap,
                hidden: None,
                nan_unseen: false,
                causal: op.causal,
                window: op.window,
                rows: Some(op.rows.clone()),
            },
            _ => return None,
        })
    }
}
