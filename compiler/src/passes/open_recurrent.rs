//! `lstm(x, w, r, …)  →  scan(step, x·wᵀ)` with `step(h, c, g) = (…, g + h·rᵀ)`, and so `gru` and `rnn`
//!
//! The product with the whole input is one matmul in front of the loop; that with the state is one in each step. Both are
//! then linear layers like any other. Option: `weights`, `any` (default) or `ternary`, the layers some of whose weights are
//! ternary as they stand.

use trine_ir::Module;

use crate::pass::{Cx, PassError};
use crate::recurrent::{Settings, open};

const NAME: &str = "open-recurrent";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let only_ternary = match cx.options.get("weights").unwrap_or("any") {
        "any" => false,
        "ternary" => true,
        other => {
            let message = format!("`weights` are `any` or `ternary`, not `{}`", other.escape_debug());
            return Err(PassError::Option { pass: NAME, message });
        }
    };
    Ok(open(module, cx, NAME, &Settings { only_ternary, ..Settings::default() }))
}
