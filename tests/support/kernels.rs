//! Compiled kernels beside the interpreter.

use std::sync::Arc;

use trine::codegen::Target;
use trine::codegen::image::program::build;
use trine::codegen::plan::form::form;
use trine_ir::{Dim, DimEnv, Elem, Module, Tensor, Type, eval, text, verify};
use trine_runtime::{Session, SessionOptions};

use crate::numbers;

/// Deterministic values: floats in (-2, 2), trits, any i8 and u8, small i64.
pub fn fill(ty: &Type, dims: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    let count = dims.iter().product();
    match ty.elem {
        Elem::F32 => {
            let values = (0..count).map(|_| (next() % 4001) as f32 / 1000.0 - 2.0).collect();
            Tensor::from_vec::<f32>(dims.to_vec(), values).unwrap()
        }
        Elem::I64 => {
            Tensor::from_vec::<i64>(dims.to_vec(), (0..count).map(|_| (next() % 7) as i64).collect()).unwrap()
        }
        Elem::U8 => {
            Tensor::from_vec::<u8>(dims.to_vec(), (0..count).map(|_| next() as u8).collect()).unwrap()
        }
        Elem::Bool => Tensor::from_bools(dims.to_vec(), (0..count).map(|_| next() % 2 == 0)).unwrap(),
        Elem::I8 => {
            Tensor::from_vec::<i8>(dims.to_vec(), (0..count).map(|_| next() as i8).collect()).unwrap()
        }
        elem => {
            let (values, least) = if elem == Elem::I4 { (16, -8) } else { (3, -1) };
            let bytes: Vec<u8> = (0..count).map(|_| ((next() % values) as i8 + least) as u8).collect();
            Tensor::pack(elem, dims.to_vec(), &bytes).unwrap()
        }
    }
}

pub fn parse(source: &str) -> Module {
    let module = text::parse_with(source, &|name, ty| {
        let seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(b));
        Some(fill(ty, &ty.static_dims()?, seed))
    })
    .unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&module).unwrap_or_else(|e| panic!("{e}\n{source}"));
    module
}

/// Runs `source` interpreted and compiled, and compares: bits, or within `tolerance` of the largest magnitude. Returns the
/// text after kernels were formed.
pub fn compare(source: &str, symbols: &[(&str, usize)], tolerance: f32) -> String {
    let module = parse(source);
    let mut env = DimEnv::default();
    for (s, v) in symbols {
        env.set((*s).into(), *v);
    }
    let main = &module.main().unwrap().graph;
    let inputs: Vec<Tensor> = main
        .params()
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let ty = main.ty(*p);
            let dims: Vec<usize> = ty.dims.iter().map(|d: &Dim| d.eval(&env).unwrap()).collect();
            fill(ty, &dims, i as u64 + 1)
        })
        .collect();
    let want = eval::run(&module, inputs.clone()).unwrap();
    let target = Target::host().unwrap();
    let mut formed = module.clone();
    form(&mut formed, &target);
    verify(&formed).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&formed)));
    let dump = text::print(&formed);
    let program = Arc::new(build(formed, &target).unwrap_or_else(|e| panic!("{e}\n{dump}")));
    // What is interpreted on both sides is compared with itself.
    assert!(program.step_counts().0 > 0, "no step is compiled\n{dump}");
    let guards = [Session::new, Session::guarded];
    for (threads, make) in [1, 2, 3].into_iter().flat_map(|threads| guards.map(|make| (threads, make))) {
        let mut session = make(program.clone(), &SessionOptions { threads, ..SessionOptions::default() });
        let got = session.run(&inputs).unwrap_or_else(|e| panic!("{e}\n{dump}"));
        assert_eq!(got.len(), want.len(), "outputs\n{dump}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.ty(), want.ty(), "output {i}\n{dump}");
            let same = if tolerance == 0.0 { got == want } else { distance(got, want) <= tolerance };
            assert!(same, "output {i}, {threads} threads, {symbols:?}\n{dump}\n{}", difference(got, want));
        }
    }
    dump
}

/// As `numbers::distance` says it, of tensors of f32.
pub fn distance(got: &Tensor, want: &Tensor) -> f32 {
    numbers::distance(&got.values::<f32>().unwrap(), &want.values::<f32>().unwrap())
}

pub fn difference(got: &Tensor, want: &Tensor) -> String {
    if got.elem() != Elem::F32 {
        return format!(
            "{:?}\n{:?}",
            &got.bytes()[..got.bytes().len().min(40)],
            &want.bytes()[..want.bytes().len().min(40)]
        );
    }
    let (g, w) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    let mut bad: Vec<_> = (0..g.len()).filter(|i| g[*i].to_bits() != w[*i].to_bits()).collect();
    bad.sort_by(|i, j| (g[*j] - w[*j]).abs().total_cmp(&(g[*i] - w[*i]).abs()));
    let shown: Vec<_> = bad.iter().take(5).map(|i| format!("[{i}] {:e} for {:e}", g[*i], w[*i])).collect();
    format!("{} of {} differ: {}", bad.len(), g.len(), shown.join(", "))
}
