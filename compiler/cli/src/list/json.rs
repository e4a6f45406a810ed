//! What `trine list` says, as JSON.

use serde_json::{Value, json};
use trine::codegen::choice;
use trine::pass::Exactness;
use trine::passes::{LEVELS, PASSES};
use trine::ternarize::{METHODS, OPTIONS};
use trine_ir::Kind;
use trine_ir::op::Slot;
use trine_ukernel::Features;

use super::What;
use super::onnx::DOMAINS;

pub fn value(what: What) -> Value {
    match what {
        What::Passes => passes(),
        What::Methods => methods(),
        What::Ops => ops(),
        What::Kernels => kernels(),
        What::Onnx => onnx(),
    }
}

fn passes() -> Value {
    let pass = |p: &trine::pass::Pass| {
        let exactness = match p.exactness {
            Exactness::Exact => "exact",
            Exactness::Reassociates => "reassociates",
            Exactness::Lossy => "lossy",
        };
        json!({ "name": p.name, "about": p.about, "exactness": exactness, "options": p.options })
    };
    json!({ "passes": PASSES.iter().map(pass).collect::<Vec<_>>(), "levels": LEVELS })
}

fn methods() -> Value {
    let methods = METHODS.iter().map(|m| {
        json!({
            "name": m.name,
            "about": m.about,
            "paper": m.paper,
            "tier": m.tier.number(),
            "projection": m.axes.projection,
            "optimizer": m.axes.optimizer,
            "granularity": m.axes.granularity,
            "planes": m.axes.planes,
        })
    });
    let options = OPTIONS.iter().map(|(name, about)| json!({ "name": name, "about": about }));
    json!({ "methods": methods.collect::<Vec<_>>(), "options": options.collect::<Vec<_>>() })
}

fn ops() -> Value {
    let op = |kind: &Kind| {
        let operands = kind.operands().iter().map(|o| {
            let slot = match o.slot {
                Slot::Required => "required",
                Slot::Optional => "optional",
                Slot::Variadic => "variadic",
            };
            json!({ "name": o.name, "slot": slot })
        });
        let (first, last) = kind.stages();
        json!({
            "name": kind.mnemonic(),
            "operands": operands.collect::<Vec<_>>(),
            "attributes": kind.attrs(),
            "stages": [first.name(), last.name()],
        })
    };
    json!({ "ops": Kind::ALL.iter().map(op).collect::<Vec<_>>() })
}

fn kernels() -> Value {
    let host = Features::detect();
    let kernels = trine_ukernel::all().map(
        |k| json!({ "name": k.name, "needs": k.needs.to_string(), "runs_here": host.contains(k.needs) }),
    );
    json!({
        "machine": host.to_string(),
        "kernels": kernels.collect::<Vec<_>>(),
        "choices": choice::names(host).collect::<Vec<_>>(),
    })
}

fn onnx() -> Value {
    let domains = DOMAINS.iter().map(|d| {
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            d.ops.iter().partition(|op| trine::import::supports(d.domain, op));
        let domain = if d.domain.is_empty() { "ai.onnx" } else { d.domain };
        json!({ "domain": domain, "supported": known, "unsupported": unknown })
    });
    json!({ "onnx": domains.collect::<Vec<_>>() })
}
