//! Inputs for any module, made from the types of its parameters.

use trine_ir::{DimEnv, Elem, Module, Tensor, Type};

/// Elements of a value that are not worth the time of a run.
const MANY: usize = 1 << 20;

/// Inputs of the module's types: zeros, or the least and greatest numbers there are. `None` if values would be large.
pub fn inputs(module: &Module, wild: bool) -> Option<Vec<Tensor>> {
    let graph = &module.main()?.graph;
    let mut env = DimEnv::default();
    for symbol in graph.params().iter().flat_map(|p| &graph.ty(*p).dims).flat_map(|d| d.symbols()) {
        env.set(symbol, 2);
    }
    let small = |ty: &Type| {
        let dims = ty.eval_dims(&env).unwrap_or_default();
        trine_ir::tensor::count(&dims).is_some_and(|n| n <= MANY)
    };
    let values = graph.order().into_iter().flat_map(|node| graph.results(node).collect::<Vec<_>>());
    if !values.into_iter().all(|v| small(graph.ty(v))) {
        return None;
    }
    graph.params().iter().map(|p| input(graph.ty(*p), &env, wild)).collect()
}

fn input(ty: &Type, env: &DimEnv, wild: bool) -> Option<Tensor> {
    let dims = ty.eval_dims(env).ok()?;
    let count = trine_ir::tensor::count(&dims)?;
    let mut bytes = vec![0; ty.elem.bytes(count)?];
    let width = (ty.elem.bits() / 8).max(1);
    for (i, element) in bytes.chunks_mut(width).enumerate().filter(|_| wild) {
        match (ty.elem, i % 4) {
            (Elem::Bool, i) => element.fill(i as u8 % 2),
            (_, 0) => element.fill(0xff),
            (_, 1) => element[width - 1] = 0x80,
            (_, 2) => element.fill(0),
            _ => {
                element.fill(0xff);
                element[width - 1] = 0x7f;
            }
        }
    }
    Tensor::new(ty.elem, dims, bytes.into()).ok()
}
