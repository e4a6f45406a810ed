//! A session that is warm allocates nothing: not to bind inputs, not to run kernels, not to share them.
//!
//! The counting allocator counts for the whole process, so that this file holds one test, and what prepares a
//! run comes before the count starts.

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use trine::{Options, Program, Session, SessionOptions, Tensor, View};
use trine_ir::Elem;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn warm_sessions_allocate_nothing() {
    for threads in [1, 2] {
        let mlp = compile("digits/mlp.onnx");
        let image = Tensor::from_vec(vec![4, 64], vec![0.5f32; 256]).unwrap();
        let mut session = Session::new(mlp, &SessionOptions { threads, ..SessionOptions::default() });
        for _ in 0..3 {
            session.execute(&[View::from(&image)]).unwrap();
        }
        let count = allocations(|| session.execute(&[View::from(&image)]).unwrap());
        assert_eq!(count, 0, "the MLP on {threads} threads");
        assert_eq!(session.output(0).dims, [4, 10]);

        for spelling in ["f32", "nbits", "qdq", "opset23"] {
            decode(spelling, threads);
        }
    }
}

/// Steps of the language model, whose caches the session holds.
fn decode(spelling: &str, threads: usize) {
    let program = compile(&format!("lm/{spelling}.onnx"));
    let interpreted: Vec<_> = interpreted(&program);
    assert_eq!(interpreted, Vec::<&str>::new(), "{spelling}: steps without a kernel");
    let options = SessionOptions { threads, state_capacity: Some(64), ..SessionOptions::default() };
    let mut session = Session::new(program.clone(), &options);
    let step = |session: &mut Session, position: usize| {
        let (token, at) = ([5i64], [position as i64]);
        let (seen, dims, past) = ([1i64; 64], [1, 1], [1, position + 1]);
        let view = |name: &str| match name {
            "input_ids" => View { elem: Elem::I64, dims: &dims, data: bytes(&token) },
            "position_ids" => View { elem: Elem::I64, dims: &dims, data: bytes(&at) },
            _ => View { elem: Elem::I64, dims: &past, data: &bytes(&seen)[..8 * (position + 1)] },
        };
        let held = program.states.len();
        let open = program.inputs.len() - held;
        let mut views = [view("input_ids"); 3];
        let names = program.inputs.iter().enumerate().filter(|(i, _)| !session.is_state(*i));
        for (slot, (_, port)) in views.iter_mut().zip(names) {
            *slot = view(&port.name);
        }
        session.execute(&views[..open]).unwrap();
    };
    for position in 0..8 {
        step(&mut session, position);
    }
    let count = allocations(|| step(&mut session, 8));
    assert_eq!(count, 0, "{spelling} on {threads} threads");
    assert_eq!(session.filled(), 9, "{spelling}");
}

fn interpreted(program: &Program) -> Vec<&str> {
    let steps = program.steps.iter().filter(|s| matches!(s.kind, trine_runtime::StepKind::Interpret(_)));
    steps.map(|s| s.place.as_str()).collect()
}

fn compile(name: &str) -> Arc<Program> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name);
    Arc::new(trine::compile(path, &Options::default()).unwrap())
}

fn allocations(run: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    run();
    let change = region.change();
    change.allocations + change.reallocations
}

fn bytes(numbers: &[i64]) -> &[u8] {
    bytemuck::cast_slice(numbers)
}
