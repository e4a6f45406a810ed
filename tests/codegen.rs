//! Compiled kernels against the interpreter: the same bits, whatever the shape and however many threads.

use std::sync::Arc;

use trine::build::build;
use trine::codegen::Target;
use trine::passes::form_kernels::form;
use trine_ir::{Dim, DimEnv, Elem, Module, Tensor, Type, eval, text, verify};
use trine_runtime::{Session, SessionOptions};

/// Deterministic values: floats in (-2, 2), trits, small integers.
fn fill(ty: &Type, dims: &[usize], seed: u64) -> Tensor {
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
        Elem::Bool => Tensor::from_bools(dims.to_vec(), (0..count).map(|_| next() % 2 == 0)).unwrap(),
        elem => {
            let bytes: Vec<u8> = (0..count).map(|_| ((next() % 3) as i8 - 1) as u8).collect();
            Tensor::pack(elem, dims.to_vec(), &bytes).unwrap()
        }
    }
}

fn parse(source: &str) -> Module {
    let module = text::parse_with(source, &|name, ty| {
        let seed = name.bytes().fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(b));
        Some(fill(ty, &ty.static_dims()?, seed))
    })
    .unwrap_or_else(|e| panic!("{e}\n{source}"));
    verify(&module).unwrap_or_else(|e| panic!("{e}\n{source}"));
    module
}

/// Runs `source` interpreted and compiled, and compares bits. Returns the text after kernels were formed.
fn same_bits(source: &str, symbols: &[(&str, usize)]) -> String {
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
    for threads in [1, 2, 3] {
        let mut session = Session::new(program.clone(), &SessionOptions { threads, state_capacity: None });
        let got = session.run(&inputs).unwrap_or_else(|e| panic!("{e}\n{dump}"));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.ty(), want.ty(), "output {i}\n{dump}");
            assert!(
                got == want,
                "output {i}, {threads} threads, {symbols:?}\n{dump}\n{}",
                difference(got, want)
            );
        }
    }
    dump
}

fn difference(got: &Tensor, want: &Tensor) -> String {
    if got.elem() != Elem::F32 {
        return format!(
            "{:?}\n{:?}",
            &got.bytes()[..got.bytes().len().min(40)],
            &want.bytes()[..want.bytes().len().min(40)]
        );
    }
    let (g, w) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    let bad: Vec<_> = (0..g.len()).filter(|i| g[*i].to_bits() != w[*i].to_bits()).collect();
    let shown: Vec<_> = bad.iter().take(5).map(|i| format!("[{i}] {:e} for {:e}", g[*i], w[*i])).collect();
    format!("{} of {} differ: {}", bad.len(), g.len(), shown.join(", "))
}

#[test]
fn elementwise_ops_fuse_and_broadcast() {
    let source = "\
const @bias: f32[37]
graph @main(%x: f32[batch,37], %y: f32[batch,1]) -> (%z: f32[batch,37]) {
  %a = add %x, @bias : f32[batch,37]
  %b = mul %a, %y : f32[batch,37]
  %c = sub %b, 0.5 : f32[batch,37]
  %z = div %c, %x : f32[batch,37]
}
";
    for batch in [0, 1, 5] {
        let dump = same_bits(source, &[("batch", batch)]);
        assert_eq!(dump.matches("call").count(), 1, "{dump}");
    }
}

#[test]
fn views_are_read_in_place() {
    let source = "\
graph @main(%x: f32[b,s,24], %y: f32[b,3,s,8]) -> (%z: f32[b,3,s,8], %t: f32[s,b,24]) {
  %r = reshape %x {shape=[b,s,3,8]} : f32[b,s,3,8]
  %h = transpose %r {perm=[0,2,1,3]} : f32[b,3,s,8]
  %z = add %h, %y : f32[b,3,s,8]
  %t = transpose %x {perm=[1,0,2]} : f32[s,b,24]
}
";
    same_bits(source, &[("b", 2), ("s", 5)]);
    same_bits(source, &[("b", 1), ("s", 1)]);
}

#[test]
fn norms_and_quantization_give_the_interpreters_bits() {
    let source = "\
const @gain: f32[45]
graph @main(%x: f32[batch,45], %r: f32[batch,45]) -> (%h: f32[batch,45], %q: i8[batch,45], %s: f32[batch,1]) {
  %h = add %x, %r : f32[batch,45]
  %n = rms_norm %h, @gain {eps=1e-5} : f32[batch,45]
  %q, %s = quantize_rows %n : i8[batch,45], f32[batch,1]
}
";
    for batch in [1, 4] {
        let dump = same_bits(source, &[("batch", batch)]);
        assert_eq!(dump.matches("call").count(), 1, "{dump}");
    }
}

fn linear(n: usize, k: usize, group: usize, int8: bool) -> String {
    let groups = k.div_ceil(group);
    let (quantize, scale, elem, sum) = match int8 {
        true => (format!("  %q, %s = quantize_rows %x : i8[batch,{k}], f32[batch,1]\n"), "%s", "i8", "i32"),
        false => (String::new(), "_", "f32", "f32"),
    };
    let q = if int8 { "%q" } else { "%x" };
    format!(
        "\
stage lowered
const @w: trit[{n},{k}]
const @scale: f32[{n},{groups}]
const @bias: f32[{n}]
graph @main(%x: f32[batch,{k}], %r: f32[batch,{n}]) -> (%y: f32[batch,{n}]) {{
{quantize}  %p = sign_select {q}, @w : {elem}[batch,{n},{k}]
  %t = group_sum %p {{group={group}}} : {sum}[batch,{n},{groups}]
  %o = rescale %t, @scale, {scale}, @bias : f32[batch,{n}]
  %y = add %o, %r : f32[batch,{n}]
}}
"
    )
}

#[test]
fn ternary_linear_layers_give_the_interpreters_bits() {
    for (n, k, group) in [(64, 64, 64), (40, 70, 70), (33, 100, 32), (7, 5, 5), (96, 576, 128)] {
        for int8 in [true, false] {
            for batch in [1, 3] {
                same_bits(&linear(n, k, group, int8), &[("batch", batch)]);
            }
        }
    }
}

#[test]
fn sibling_layers_split_in_one_kernel() {
    let source = "\
stage lowered
const @w: trit[72,48]
const @scale: f32[72,1]
graph @main(%x: f32[b,s,48]) -> (%u: f32[b,s,40], %v: f32[b,s,32]) {
  %q, %r = quantize_rows %x : i8[b,s,48], f32[b,s,1]
  %p = sign_select %q, @w : i8[b,s,72,48]
  %t = group_sum %p {group=48} : i32[b,s,72,1]
  %o = rescale %t, @scale, %r : f32[b,s,72]
  %u, %v = split %o {axis=2, sizes=[40,32]} : f32[b,s,40], f32[b,s,32]
}
";
    let dump = same_bits(source, &[("b", 2), ("s", 3)]);
    assert_eq!(dump.matches("call").count(), 2, "{dump}");
}
