//! `matmul(x, W)  →  ternary_matmul(x, t, scale)` with `W ≈ scale · t`
//!
//! Lossy, and only by name. Options: those of [`Ternarize`], of which the recipe's steps are `method` and its settings
//! have their own names; and `activations`, `i8` (default) or `f32`.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::ops::Matmul;
use trine_ir::{Kind, Module, NodeId, Stage};

use crate::layers;
use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, Scope, any, refuse, rule};
use crate::rounding::{Keep, Request, Ternarize};
use trine_ternarize::{Layer, Recipe};

const NAME: &str = "ternarize";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    if module.stage > Stage::Ternary {
        let message = format!("the module is `{}` already", module.stage.name());
        return Err(PassError::Refused { pass: NAME, message });
    }
    let Ternarize { recipe, keep, seed } = Ternarize::read(&cx.options)?;
    if recipe.needs_calibration() {
        return Ternarize::refuse(format!(
            "`{recipe}` needs statistics of the layers' inputs: see `trine ternarize`"
        ));
    }
    let int8 = match cx.options.get("activations").unwrap_or("i8") {
        "i8" => true,
        "f32" => false,
        other => {
            let other = other.escape_debug();
            return Ternarize::refuse(format!("activations are `i8` or `f32`, not `{other}`"));
        }
    };
    let layers = Rc::new(RefCell::new(vec![]));
    let settings = Settings { recipe, seed, int8, kept: Kept::new(keep, module) };
    let count = cx.apply(module, &[round(settings, layers.clone()), layers::absorb_bias()]);
    module.stage = Stage::Ternary;
    cx.layers.append(&mut layers.borrow_mut());
    Ok(count)
}

struct Settings {
    recipe: Recipe,
    seed: u64,
    int8: bool,
    kept: Kept,
}

fn round(settings: Settings, layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (x, w) = (any(), any());
    let root = layers::linear(&x, &w);
    rule(NAME, root.clone(), move |m, g| {
        let base = layers::weights_name(g, m[&w]);
        if settings.kept.holds(m[&root].node, &base) {
            return refuse("kept");
        }
        let matrix = layers::weights(g, m[&root], m[&w], true)?;
        let ternary = match settings.recipe.apply(&matrix, None, settings.seed) {
            Ok(ternary) => ternary,
            Err(refusal) => return refuse(refusal.to_string()),
        };
        layers.borrow_mut().push(ternary.report(&base, &settings.recipe.name(), &matrix));
        layers::product(&ternary, g, m[&x], &base, settings.int8)
    })
}

/// The layers that stay as they are.
enum Kept {
    Node(Option<NodeId>),
    Named(Vec<String>),
}

impl Kept {
    fn new(keep: Keep, module: &Module) -> Kept {
        match keep {
            Keep::None => Kept::Named(vec![]),
            Keep::Last => Kept::Node(last_linear(module)),
            Keep::Named(names) => Kept::Named(names),
        }
    }

    fn holds(&self, node: NodeId, weights: &str) -> bool {
        match self {
            Kept::Node(kept) => *kept == Some(node),
            Kept::Named(names) => names.iter().any(|pattern| glob(pattern, weights)),
        }
    }
}

/// The last linear layer of `@main`, which for a language model is its head.
pub(super) fn last_linear(module: &Module) -> Option<NodeId> {
    let graph = &module.main()?.graph;
    let scope = Scope { graph, consts: &module.consts };
    let is_linear = |node: &NodeId| {
        graph.kind(*node) == Some(Kind::Matmul)
            && graph.operand(*node, Matmul::b).is_some_and(|w| scope.is_known(w))
    };
    graph.order().into_iter().rev().find(is_linear)
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or("");
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, expected) in [
            ("lm_head", "lm_head", true),
            ("lm_head", "lm_head.weight", false),
            ("*head*", "lm_head.weight", true),
            ("layers.*.up*", "layers.3.mlp.up_proj", true),
            ("layers.*.up", "layers.3.up_proj", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
