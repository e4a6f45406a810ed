//! Compiled kernels against the interpreter: the same bits, whatever the shape and however many threads.

use std::sync::Arc;

use trine::build::build;
use trine::codegen::Target;
use trine::passes::form_kernels::form;
use trine_ir::{Dim, DimEnv, Elem, Module, Tensor, Type, eval, text, verify};
use trine_runtime::{Session, SessionOptions};

/// Deterministic values: floats in (-2, 2), trits, any i8, small i64.
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
    compare(source, symbols, 0.0)
}

/// As `same_bits`, for kernels whose sums have another order: within 1e-5 of the largest magnitude.
fn close(source: &str, symbols: &[(&str, usize)]) -> String {
    compare(source, symbols, 1e-5)
}

fn compare(source: &str, symbols: &[(&str, usize)], tolerance: f32) -> String {
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
            let same = if tolerance == 0.0 { got == want } else { distance(got, want) <= tolerance };
            assert!(same, "output {i}, {threads} threads, {symbols:?}\n{dump}\n{}", difference(got, want));
        }
    }
    dump
}

/// The largest difference over the largest magnitude.
fn distance(got: &Tensor, want: &Tensor) -> f32 {
    let (g, w) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    let largest = w.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    g.iter().zip(w.iter()).map(|(g, w)| (g - w).abs() / largest).fold(0.0, f32::max)
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
    let mut bad: Vec<_> = (0..g.len()).filter(|i| g[*i].to_bits() != w[*i].to_bits()).collect();
    bad.sort_by(|i, j| (g[*j] - w[*j]).abs().total_cmp(&(g[*i] - w[*i]).abs()));
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

/// A number that lies behind others, over a domain that is one row.
#[test]
fn single_elements_are_read_where_they_lie() {
    let dump = same_bits(
        "graph @main(%x: f32[3], %z: f32[n,4]) -> (%y: f32[n,4], %s: f32[]) {
  %a, %b, %c = split %x {axis=0,sizes=[1,1,1]} : f32[1], f32[1], f32[1]
  %y = mul %z, %c : f32[n,4]
  %first = reshape %b {shape=[]} : f32[]
  %second = reshape %c {shape=[]} : f32[]
  %s = sub %first, %second : f32[]
}",
        &[("n", 5)],
    );
    assert!(!dump.contains("@split"), "{dump}");
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

/// What a linear layer of a test is made of.
#[derive(Clone, Copy, PartialEq)]
enum Linear {
    TernaryF32,
    TernaryInt8,
    Int8,
    Int4,
}

fn linear(n: usize, k: usize, group: usize, kind: Linear) -> String {
    let groups = k.div_ceil(group);
    let (weights, op, elem, sum) = match kind {
        Linear::TernaryF32 => ("trit", "sign_select", "f32", "f32"),
        Linear::TernaryInt8 => ("trit", "sign_select", "i8", "i32"),
        Linear::Int8 => ("i8", "weight_products", "i16", "i32"),
        Linear::Int4 => ("i4", "weight_products", "i16", "i32"),
    };
    let (quantize, x, scale) = match kind {
        Linear::TernaryF32 => (String::new(), "%x", "_"),
        _ => (format!("  %q, %s = quantize_rows %x : i8[batch,{k}], f32[batch,1]\n"), "%q", "%s"),
    };
    format!(
        "\
stage lowered
const @w: {weights}[{n},{k}]
const @scale: f32[{n},{groups}]
const @bias: f32[{n}]
graph @main(%x: f32[batch,{k}], %r: f32[batch,{n}]) -> (%y: f32[batch,{n}]) {{
{quantize}  %p = {op} {x}, @w : {elem}[batch,{n},{k}]
  %t = group_sum %p {{group={group}}} : {sum}[batch,{n},{groups}]
  %o = rescale %t, @scale, {scale}, @bias : f32[batch,{n}]
  %y = add %o, %r : f32[batch,{n}]
}}
"
    )
}

/// Of one row, of a few, and of as many as matrix units are for.
#[test]
fn linear_layers_give_the_interpreters_bits() {
    for (n, k, group) in [(64, 64, 64), (40, 70, 70), (33, 100, 32), (7, 5, 5), (96, 576, 128)] {
        for kind in [Linear::TernaryF32, Linear::TernaryInt8, Linear::Int8, Linear::Int4] {
            for batch in [1, 3, 40] {
                same_bits(&linear(n, k, group, kind), &[("batch", batch)]);
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

#[test]
fn functions_and_row_reductions_give_the_interpreters_bits() {
    let source = "\
const @gain: f32[45]
graph @main(%x: f32[b,s,45], %y: f32[b,s,45]) -> (%p: f32[b,s,45], %q: f32[b,s,45], %m: f32[b,s,1]) {
  %a = silu %x : f32[b,s,45]
  %g = mul %a, %y : f32[b,s,45]
  %p = softmax %g {axis=2} : f32[b,s,45]
  %t = tanh %y : f32[b,s,45]
  %e = gelu %t {form=erf} : f32[b,s,45]
  %q = layer_norm %e, @gain {eps=1e-5} : f32[b,s,45]
  %m = reduce_mean %x {axes=[2], keepdims=true} : f32[b,s,1]
}
";
    same_bits(source, &[("b", 2), ("s", 3)]);
}

/// More sums than the second cache is to hold at once, of one group and of several, with results that are split
/// between chunks and in them.
#[test]
fn sums_of_many_outputs_run_in_chunks() {
    for (k, group, groups) in [(24, 24, 1), (40, 16, 3)] {
        for result in ["%y: f32[b,7000]", "%u: f32[b,3900], %v: f32[b,3100]"] {
            let split = match result.starts_with("%u") {
                true => "  %u, %v = split %y {axis=1, sizes=[3900,3100]} : f32[b,3900], f32[b,3100]\n",
                false => "",
            };
            let source = format!(
                "\
stage lowered
const @w: trit[7000,{k}]
const @scale: f32[7000,{groups}]
graph @main(%x: f32[b,{k}]) -> ({result}) {{
  %q, %r = quantize_rows %x : i8[b,{k}], f32[b,1]
  %p = sign_select %q, @w : i8[b,7000,{k}]
  %t = group_sum %p {{group={group}}} : i32[b,7000,{groups}]
  %y = rescale %t, @scale, %r : f32[b,7000]
{split}}}
"
            );
            same_bits(&source, &[("b", 130)]);
        }
    }
}

/// Rows that are long enough for a microkernel: of an argument, of what was computed, and of a quantized result; norms
/// with gains that lie in a row, and that do not.
#[test]
fn functions_of_long_rows_give_the_interpreters_bits() {
    let source = "\
stage lowered
const @gain: f32[150]
graph @main(%x: f32[b,s,150], %y: f32[b,s,150]) -> (%h: f32[b,s,150], %q: i8[b,s,150], %r: f32[b,s,1], %n: f32[b,s,150], %p: i8[b,s,150], %t: f32[b,s,1]) {
  %n = rms_norm %x, @gain {eps=1e-5} : f32[b,s,150]
  %m = rms_norm %n, @gain {eps=1e-5} : f32[b,s,150]
  %p, %t = quantize_rows %m : i8[b,s,150], f32[b,s,1]
  %a = silu %x : f32[b,s,150]
  %h = mul %a, %y : f32[b,s,150]
  %d = add %x, %y : f32[b,s,150]
  %e = silu %d : f32[b,s,150]
  %q, %r = quantize_rows %e : i8[b,s,150], f32[b,s,1]
}
";
    same_bits(source, &[("b", 2), ("s", 3)]);
}

#[test]
fn integers_and_truth_values_have_kernels() {
    let source = "\
graph @main(%i: i64[b,9], %x: f32[b,9]) -> (%z: f32[b,9], %t: bool[b,9]) {
  %j = add %i, 1i64 : i64[b,9]
  %t = less %j, 4i64 : bool[b,9]
  %f = cast %j {to=f32} : f32[b,9]
  %z = where %t, %f, %x : f32[b,9]
}
";
    let dump = same_bits(source, &[("b", 3)]);
    assert_eq!(dump.matches("call").count(), 1, "{dump}");
}

#[test]
fn products_run_in_blocks_with_what_follows() {
    for (n, k) in [(40, 24), (1100, 33)] {
        for trans in [true, false] {
            let w = if trans { format!("{n},{k}") } else { format!("{k},{n}") };
            let source = format!(
                "\
const @w: f32[{w}]
graph @main(%x: f32[b,s,{k}], %r: f32[b,s,{n}]) -> (%y: f32[b,s,{n}]) {{
  %m = matmul %x, @w {{trans_b={trans}}} : f32[b,s,{n}]
  %g = silu %m : f32[b,s,{n}]
  %y = add %g, %r : f32[b,s,{n}]
}}
"
            );
            for (b, s) in [(1, 1), (2, 3), (1, 9)] {
                let dump = close(&source, &[("b", b), ("s", s)]);
                assert_eq!(dump.matches("call").count(), 1, "{dump}");
            }
        }
    }
}

#[test]
fn batched_products_read_views() {
    let source = "\
graph @main(%q: f32[b,s,24], %k: f32[b,t,24]) -> (%y: f32[b,3,s,t]) {
  %q4 = reshape %q {shape=[b,s,3,8]} : f32[b,s,3,8]
  %k4 = reshape %k {shape=[b,t,3,8]} : f32[b,t,3,8]
  %qh = transpose %q4 {perm=[0,2,1,3]} : f32[b,3,s,8]
  %kh = transpose %k4 {perm=[0,2,1,3]} : f32[b,3,t,8]
  %y = matmul %qh, %kh {trans_b=true} : f32[b,3,s,t]
}
";
    let dump = close(source, &[("b", 2), ("s", 5), ("t", 7)]);
    assert_eq!(dump.matches("call").count(), 1, "{dump}");
}

const ATTENTION: &str = "\
graph @main(%q: f32[b,s,32], %k: f32[b,s,16], %v: f32[b,s,16], %cos: f32[b,s,4], %sin: f32[b,s,4], %mask: f32[b,1,s,past+s], %pk: f32[b,2,past,8], %pv: f32[b,2,past,8]) -> (%y: f32[b,s,32], %ck: f32[b,2,past+s,8], %cv: f32[b,2,past+s,8]) {
  %q4 = reshape %q {shape=[b,s,4,8]} : f32[b,s,4,8]
  %k4 = reshape %k {shape=[b,s,2,8]} : f32[b,s,2,8]
  %v4 = reshape %v {shape=[b,s,2,8]} : f32[b,s,2,8]
  %qh = transpose %q4 {perm=[0,2,1,3]} : f32[b,4,s,8]
  %kh = transpose %k4 {perm=[0,2,1,3]} : f32[b,2,s,8]
  %vh = transpose %v4 {perm=[0,2,1,3]} : f32[b,2,s,8]
  %qr = rotary %qh, %cos, %sin {interleaved=false} : f32[b,4,s,8]
  %kr = rotary %kh, %cos, %sin {interleaved=true} : f32[b,2,s,8]
  %a, %ck, %cv = attention %qr, %kr, %vh, %mask, %pk, %pv {scale=0.35, causal=true, softcap=0.0} : f32[b,4,s,8], f32[b,2,past+s,8], f32[b,2,past+s,8]
  %t = transpose %a {perm=[0,2,1,3]} : f32[b,s,4,8]
  %y = reshape %t {shape=[b,s,32]} : f32[b,s,32]
}
";

#[test]
fn attention_reads_views_and_extends_the_past() {
    for (b, s, past) in [(1, 1, 0), (2, 5, 3), (1, 1, 17)] {
        let dump = close(ATTENTION, &[("b", b), ("s", s), ("past", past)]);
        assert_eq!(dump.matches("call").count(), 3, "{dump}");
    }
}

#[test]
fn a_session_keeps_the_past_in_place() {
    let target = Target::host().unwrap();
    let module = parse(ATTENTION);
    let mut formed = module.clone();
    form(&mut formed, &target);
    let program = Arc::new(build(formed, &target).unwrap());
    assert_eq!(program.states.len(), 2);
    let mut session = Session::new(program.clone(), &SessionOptions { threads: 2, state_capacity: Some(9) });
    let types =
        module.main().unwrap().graph.params().iter().map(|p| module.main().unwrap().graph.ty(*p).clone());
    let types: Vec<Type> = types.collect();
    let (mut past_k, mut past_v) = (fill(&types[6], &[1, 2, 0, 8], 0), fill(&types[7], &[1, 2, 0, 8], 0));
    for (step, s) in [4, 1, 3].into_iter().enumerate() {
        let past = past_k.dims()[2];
        let dims = [
            vec![1, s, 32],
            vec![1, s, 16],
            vec![1, s, 16],
            vec![1, s, 4],
            vec![1, s, 4],
            vec![1, 1, s, past + s],
        ];
        let mut inputs: Vec<Tensor> =
            dims.iter().enumerate().map(|(i, d)| fill(&types[i], d, (10 * step + i) as u64)).collect();
        let views: Vec<_> = inputs.iter().map(trine_runtime::View::from).collect();
        session.execute(&views).unwrap();
        assert_eq!(session.filled(), past + s);
        let got = session.output(0);
        let got = Tensor::new(got.elem, got.dims.to_vec(), got.data.to_vec().into()).unwrap();
        inputs.extend([past_k, past_v]);
        let mut want = eval::run(&module, inputs).unwrap();
        assert!(distance(&got, &want[0]) < 1e-5, "{}", difference(&got, &want[0]));
        past_v = want.remove(2);
        past_k = want.remove(1);
    }
    let more = [
        fill(&types[0], &[1, 2, 32], 1),
        fill(&types[1], &[1, 2, 16], 1),
        fill(&types[2], &[1, 2, 16], 1),
        fill(&types[3], &[1, 2, 4], 1),
        fill(&types[4], &[1, 2, 4], 1),
        fill(&types[5], &[1, 1, 2, 10], 1),
    ];
    let views: Vec<_> = more.iter().map(trine_runtime::View::from).collect();
    let error = session.execute(&views).unwrap_err();
    assert_eq!(error.to_string(), "the state holds 9 positions, 10 are needed");
}

#[test]
fn embeddings_are_gathered_and_bad_indices_are_errors() {
    let source = "\
const @table: f32[7,5]
graph @main(%ids: i64[b,s]) -> (%x: f32[b,s,5]) {
  %x = gather @table, %ids {axis=0} : f32[b,s,5]
}
";
    let dump = same_bits(source, &[("b", 2), ("s", 3)]);
    assert_eq!(dump.matches("call").count(), 1, "{dump}");
    let target = Target::host().unwrap();
    let mut module = parse(source);
    form(&mut module, &target);
    let mut session = Session::new(Arc::new(build(module, &target).unwrap()), &SessionOptions::default());
    let ids = Tensor::from_vec(vec![1, 2], vec![-7i64, 7]).unwrap();
    let error = session.run(&[ids]).unwrap_err();
    assert_eq!(error.to_string(), "`%x` (`call`) in `@main`: an index is out of range");
}

#[test]
fn a_table_that_is_a_head_too_is_in_memory_once() {
    let source = "\
const @table: f32[100,7]
graph @main(%ids: i64[n]) -> (%logits: f32[n,100], %x: f32[n,7]) {
  %x = gather @table, %ids {axis=0} : f32[n,7]
  %logits = matmul %x, @table {trans_b=true} : f32[n,100]
}
";
    let dump = close(source, &[("n", 5)]);
    assert_eq!(dump.matches("call").count(), 2, "{dump}");
    let target = Target::host().unwrap();
    let mut module = parse(source);
    let table = module.consts["table"].clone();
    form(&mut module, &target);
    let program = Arc::new(build(module, &target).unwrap());
    // Panels of 48 rows.
    assert_eq!(program.consts.iter().map(|c| c.bytes().len()).collect::<Vec<_>>(), [144 * 7 * 4]);
    let mut session = Session::new(program, &SessionOptions::default());
    let rows = [0i64, 47, 48, 99, -1, -100];
    let outputs = session.run(&[Tensor::vector(rows.to_vec())]).unwrap();
    let (got, table) = (outputs[1].values::<f32>().unwrap(), table.values::<f32>().unwrap());
    for (row, got) in rows.into_iter().zip(got.chunks(7)) {
        let row = row.rem_euclid(100) as usize;
        assert_eq!(got, &table[7 * row..][..7], "{row}");
    }
    let error = session.run(&[Tensor::vector(vec![100i64])]).unwrap_err();
    assert_eq!(error.to_string(), "`%x` (`call`) in `@main`: an index is out of range");
}
