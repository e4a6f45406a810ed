//! A norm before every linear layer of a language model: the same function, and ternary layers whose inputs are normed and
//! rounded by one kernel.

use std::sync::Arc;

use trine::codegen::Target;
use trine::codegen::plan::form::form;
use trine::generate::Decoder;
use trine::passes::LEVELS;
use trine::{Module, Options};
use trine_ir::{FunctionKind, Graph, Kind, NodeId, Op};

use crate::command::model;
use crate::numbers::distance;

/// The default pipeline with steps before ternary layers are lowered.
fn pipeline(steps: &str) -> Options {
    let passes = LEVELS[2].replace("fuse-siblings", &format!("{steps}fuse-siblings"));
    Options { passes: Some(passes.parse().unwrap()), ..Options::default() }
}

fn optimized(name: &str, options: &Options) -> Module {
    let mut module = trine::load(model(name)).unwrap();
    trine::optimize(&mut module, options).unwrap();
    module
}

fn logits(module: Module, options: &Options) -> Vec<f32> {
    let program = Arc::new(trine::build_program(module, options).unwrap());
    let mut decoder = Decoder::new(program, 2, 64).unwrap();
    let tokens: Vec<u32> = (0..48).map(|i| i * 37 % 512).collect();
    decoder.feed(&tokens).unwrap().to_vec()
}

/// The ops of a kernel that a node calls.
fn called(module: &Module, graph: &Graph, node: NodeId) -> Vec<Kind> {
    let Some(Op::Call(call)) = graph.op(node) else { return vec![] };
    let kernel = module.functions.get(&call.f.0).filter(|f| f.kind == FunctionKind::Kernel);
    kernel.map_or(vec![], |f| f.graph.order().into_iter().filter_map(|n| f.graph.kind(n)).collect())
}

#[test]
fn norms_that_take_back_what_they_do_leave_logits_as_they_are() {
    for name in ["lm_float/f32.onnx", "lm/f32.onnx"] {
        let [plain, normed] = ["", "norm-inputs,"].map(|steps| {
            let options = pipeline(steps);
            logits(optimized(name, &options), &options)
        });
        let off = distance(&normed, &plain);
        assert!(plain != normed, "{name}: nothing was done");
        assert!(off < 1e-5, "{name}: logits are {off} off");
    }
}

#[test]
fn every_ternary_layer_reads_a_norm_that_is_fused() {
    let options = pipeline("norm-inputs,ternarize{method=exact,keep=none},");
    let mut module = optimized("lm_float/f32.onnx", &options);
    form(&mut module, &Target::host().unwrap());
    let graph = &module.main().unwrap().graph;
    let mut layers = 0;
    for node in graph.order() {
        let ops = called(&module, graph, node);
        if !ops.contains(&Kind::SignSelect) {
            continue;
        }
        layers += 1;
        let before = graph.operands(node).into_iter().flatten().map(|v| called(&module, graph, v.node));
        let fused = |ops: &Vec<Kind>| ops.contains(&Kind::RmsNorm) && ops.contains(&Kind::QuantizeRows);
        assert!(
            before.into_iter().any(|ops| fused(&ops)),
            "`%{}`",
            graph.name(graph.results(node).next().unwrap())
        );
    }
    // Four blocks: q, k and v; o; gate and up; down. And the head.
    assert_eq!(layers, 4 * 4 + 1);
}
