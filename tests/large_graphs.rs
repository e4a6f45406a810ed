//! Graphs of many nodes. What takes a few steps a node is done within a test; what takes a step for each pair of nodes
//! would not be, nor what recurses from node to node.

use std::fmt::Write;
use std::sync::Arc;

use trine::{Backend, Options, Program, Session, SessionOptions, Tensor};
use trine_ir::{Module, text};

/// Nodes of each graph.
const NODES: usize = 6_000;

/// Kernels of a graph whose ops are of a few instructions each.
const FEW: usize = NODES * 12 / trine::codegen::emit::MAX_CODE;

/// `@main` of `%x`, and the results of the statements that are given.
fn module(statements: &str, outputs: &[String]) -> Module {
    let outputs: Vec<String> = outputs.iter().map(|name| format!("%{name}: f32[2,8]")).collect();
    let source = format!("graph @main(%x: f32[2,8]) -> ({}) {{\n{statements}}}\n", outputs.join(", "));
    text::parse(&source).unwrap()
}

fn compiled(module: &Module, backend: Backend) -> Arc<Program> {
    let options = Options { backend, ..Options::default() };
    let mut module = module.clone();
    trine::optimize(&mut module, &options).unwrap();
    Arc::new(trine::build_program(module, &options).unwrap())
}

/// Compiles the module, and runs it as the interpreter does. Returns how many kernels and ops it calls.
fn calls(module: &Module) -> usize {
    trine_ir::verify(module).unwrap();
    let x = Tensor::from_vec(vec![2, 8], (0..16).map(|i| i as f32 * 0.25 - 2.0).collect()).unwrap();
    let program = compiled(module, Backend::Auto);
    let calls = program.steps.len();
    let got = Session::new(program, &SessionOptions::default()).run(std::slice::from_ref(&x)).unwrap();
    let want = trine_ir::eval::run(module, vec![x]).unwrap();
    assert!(got == want, "compiled and interpreted differ");
    calls
}

fn last(count: usize) -> Vec<String> {
    vec![format!("v{}", count - 1)]
}

/// A chain of `count` ops, the first of which reads `%x`.
fn chain(count: usize, op: impl Fn(usize, &str) -> String) -> String {
    let mut statements = String::new();
    let mut before = "x".to_string();
    for i in 0..count {
        writeln!(statements, "  %v{i} = {} : f32[2,8]", op(i, &before)).unwrap();
        before = format!("v{i}");
    }
    statements
}

fn elementwise(i: usize, x: &str) -> String {
    match i % 4 {
        0 => format!("add %{x}, 0.5"),
        1 => format!("mul %{x}, {}.0", if i % 8 == 1 { "2" } else { "-1" }),
        2 => format!("relu %{x}"),
        _ => format!("sub %{x}, 1.5"),
    }
}

#[test]
fn chains_become_few_kernels() {
    let calls = calls(&module(&chain(NODES, elementwise), &last(NODES)));
    assert!(calls <= FEW, "{calls}");
}

#[test]
fn every_value_may_be_a_result() {
    let outputs: Vec<String> = (0..NODES).map(|i| format!("v{i}")).collect();
    let calls = calls(&module(&chain(NODES, elementwise), &outputs));
    assert!(calls <= FEW, "{calls}");
}

#[test]
fn diamonds_become_few_kernels() {
    let mut statements = String::new();
    for i in 0..NODES / 3 {
        let before = if i == 0 { "x".into() } else { format!("v{}", i - 1) };
        writeln!(statements, "  %a{i} = neg %{before} : f32[2,8]").unwrap();
        writeln!(statements, "  %b{i} = mul %{before}, 0.5 : f32[2,8]").unwrap();
        writeln!(statements, "  %v{i} = max %a{i}, %b{i} : f32[2,8]").unwrap();
    }
    let calls = calls(&module(&statements, &last(NODES / 3)));
    assert!(calls <= 2 * FEW, "{calls}");
}

#[test]
fn branches_of_one_value_are_summed() {
    let mut statements = String::new();
    for i in 0..NODES / 2 {
        let before = if i == 0 { "x".into() } else { format!("v{}", i - 1) };
        writeln!(statements, "  %b{i} = mul %x, {}.0 : f32[2,8]", i % 7).unwrap();
        writeln!(statements, "  %v{i} = add %{before}, %b{i} : f32[2,8]").unwrap();
    }
    assert!(calls(&module(&statements, &last(NODES / 2))) < NODES / 16);
}

#[test]
fn chains_reach_far_back() {
    let op = |i: usize, x: &str| match i {
        0..1000 => format!("neg %{x}"),
        _ => format!("max %{x}, %v{}", i - 1000),
    };
    assert!(calls(&module(&chain(NODES, op), &last(NODES))) < NODES / 8);
}

#[test]
fn views_of_views_are_copied_in_parts() {
    // Shapes that never come back to what they were, or views would cancel.
    let mut statements = String::new();
    for i in 0..NODES / 2 {
        let before = if i == 0 { "x".into() } else { format!("v{}", i - 1) };
        writeln!(statements, "  %t{i} = transpose %{before} {{perm=[1,0]}} : f32[8,2]").unwrap();
        writeln!(statements, "  %v{i} = reshape %t{i} {{shape=[2,8]}} : f32[2,8]").unwrap();
    }
    assert!(calls(&module(&statements, &last(NODES / 2))) <= NODES);
}

#[test]
fn reductions_and_what_only_the_interpreter_knows_alternate() {
    let op = |i: usize, x: &str| match i % 3 {
        0 => format!("softmax %{x} {{axis=1}}"),
        1 => format!("mul %{x}, 4.0"),
        _ => format!("cumprod %{x}, 1i64 {{exclusive=false, reverse=false}}"),
    };
    let count = NODES / 4;
    let module = module(&chain(count, op), &last(count));
    let program = compiled(&module, Backend::Auto);
    assert_eq!(program.step_counts(), (count / 3, count / 3));
}

#[test]
fn reductions_are_cut_into_kernels() {
    let op = |i: usize, x: &str| match i % 2 {
        0 => format!("softmax %{x} {{axis=1}}"),
        _ => format!("mul %{x}, {}.0", 2 + i % 5),
    };
    let calls = calls(&module(&chain(200, op), &last(200)));
    assert!((10..30).contains(&calls), "{calls}");
}

#[test]
fn branches_side_by_side_become_few_kernels() {
    let mut statements = String::new();
    for i in 0..NODES / 4 {
        writeln!(statements, "  %v{i} = mul %x, {}.5 : f32[2,8]", i % 1000).unwrap();
    }
    let outputs: Vec<String> = (0..NODES / 4).map(|i| format!("v{i}")).collect();
    assert!(calls(&module(&statements, &outputs)) <= FEW / 4 + 1);
}
