//! `matmul(x, W)  →  ternary_matmul(x, t, scale)` with `W ≈ scale · t`
//!
//! Lossy, and only by name. Options: `method`, one of [`METHODS`]; `group`, weights a scale serves instead of
//! the method's own; `activations`, `i8` (default) or `f32`; `keep`, the layers to leave as they are: `none`,
//! `last` (default, the classifier or the head of a language model), or names of weights with `*`, behind one
//! another with `|`.

use std::cell::RefCell;
use std::rc::Rc;

use trine_ir::{Function, Kind, Module, NodeId, Stage};

use crate::pass::{Cx, PassError};
use crate::pattern::{Rule, Scope, any, refuse, rule};
use crate::ternarize::{self, Layer, METHODS, Method};

const NAME: &str = "ternarize";

pub fn run(module: &mut Module, cx: &mut Cx) -> Result<usize, PassError> {
    let refused = |message: String| Err(PassError::Refused { pass: NAME, message });
    if module.stage > Stage::Ternary {
        return refused(format!("the module is `{}` already", module.stage.name()));
    }
    let name = cx.options.get("method").unwrap_or("exact");
    let Some(method) = Method::named(name) else {
        let known: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        return refused(format!("no method `{}`; there are {}", name.escape_debug(), known.join(", ")));
    };
    let group = match cx.options.value(NAME, "group", 0usize)? {
        0 if cx.options.get("group").is_some() => return refused("a group has no weights".into()),
        0 => None,
        group => Some(group),
    };
    let int8 = match cx.options.get("activations").unwrap_or("i8") {
        "i8" => true,
        "f32" => false,
        other => return refused(format!("activations are `i8` or `f32`, not `{}`", other.escape_debug())),
    };
    let keep = Keep::new(cx.options.get("keep").unwrap_or("last"), module);
    let layers = Rc::new(RefCell::new(vec![]));
    let settings = Settings { method, group, int8, keep };
    let count = cx.apply(module, &[round(settings, layers.clone()), ternarize::absorb_bias()]);
    module.stage = Stage::Ternary;
    cx.layers.append(&mut layers.borrow_mut());
    Ok(count)
}

struct Settings {
    method: &'static Method,
    group: Option<usize>,
    int8: bool,
    keep: Keep,
}

fn round(settings: Settings, layers: Rc<RefCell<Vec<Layer>>>) -> Rule {
    let (x, w) = (any(), any());
    let root = ternarize::linear(&x, &w);
    rule(NAME, root.clone(), move |m, g| {
        let base = ternarize::weights_name(g, m[&w]);
        if settings.keep.holds(m[&root].node, &base) {
            return refuse("kept");
        }
        let matrix = ternarize::weights(g, m[&root], m[&w], true)?;
        if matrix.values.iter().any(|v| !v.is_finite()) {
            return refuse("the weights are not finite");
        }
        let ternary = settings.method.apply(&matrix, settings.group);
        layers.borrow_mut().push(ternary.report(&base, settings.method.name, &matrix));
        ternary.matmul(g, m[&x], &base, settings.int8)
    })
}

/// The layers that stay as they are.
enum Keep {
    /// The last linear layer of `@main`.
    Node(Option<NodeId>),
    /// Those whose weights have such names.
    Names(Vec<String>),
}

impl Keep {
    fn new(text: &str, module: &Module) -> Keep {
        match text {
            "none" => Keep::Names(vec![]),
            "last" => Keep::Node(module.main().and_then(|f| last_linear(f, module))),
            names => Keep::Names(names.split('|').map(|n| n.trim().to_string()).collect()),
        }
    }

    fn holds(&self, node: NodeId, weights: &str) -> bool {
        match self {
            Keep::Node(kept) => *kept == Some(node),
            Keep::Names(names) => names.iter().any(|pattern| glob(pattern, weights)),
        }
    }
}

fn last_linear(function: &Function, module: &Module) -> Option<NodeId> {
    let graph = &function.graph;
    let scope = Scope { graph, consts: &module.consts };
    let is_linear = |node: &NodeId| {
        graph.kind(*node) == Some(Kind::Matmul) && graph.operand(*node, 1).is_some_and(|w| scope.is_known(w))
    };
    graph.order().into_iter().rev().find(is_linear)
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
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
