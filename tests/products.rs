//! Products of floats, attention and tables as kernels: against the interpreter, whatever the shape and however many threads.

use std::sync::Arc;

use trine::codegen::Target;
use trine::codegen::image::program::build;
use trine::codegen::plan::form::form;
use trine_ir::{Tensor, Type, eval};
use trine_runtime::{Program, Session, SessionOptions};

use crate::kernels::{compare, difference, distance, fill, parse};

/// Sums have another order than the interpreter's: within 1e-5 of the largest magnitude.
fn close(source: &str, symbols: &[(&str, usize)]) -> String {
    compare(source, symbols, 1e-5)
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

/// A constant that something else in the kernel reads too cannot lie as the product wants it.
#[test]
fn weights_that_are_read_twice_stay_as_they_are() {
    for body in [
        "%t = transpose @w {perm=[1,0]} : f32[24,40]\n  %u = transpose %t {perm=[1,0]} : f32[40,24]\n  \
         %y = matmul %t, %u {trans_b=false} : f32[24,24]",
        "%u = transpose @w {perm=[1,0]} : f32[24,40]\n  %y = matmul %u, @w {trans_b=false} : f32[24,24]",
        "%u = reshape @w {shape=[24,40]} : f32[24,40]\n  %m = matmul %u, @w {trans_b=false} : f32[24,24]\n  \
         %y = add %m, %x : f32[24,24]",
        "%u = transpose @w {perm=[1,0]} : f32[24,40]\n  %m = matmul %x, %u {trans_b=false} : f32[24,40]\n  \
         %y = add %m, %u : f32[24,40]",
    ] {
        let ty = body.rsplit(": ").next().unwrap();
        close(
            &format!("const @w: f32[40,24]\ngraph @main(%x: f32[24,24]) -> (%y: {ty}) {{\n  {body}\n}}\n"),
            &[],
        );
    }
}

/// Weights and scales that are inputs, or that something else reads, cannot be packed.
#[test]
fn ternary_layers_that_cannot_be_packed_are_right() {
    let layer = "%p = sign_select %x, WEIGHTS : f32[2,48,64]\n  %t = group_sum %p {group=32} : f32[2,48,2]\n  \
                 %r = rescale %t, SCALE : f32[2,48]";
    for (weights, scale, after) in [
        ("%w", "@s", "%y = relu %r : f32[2,48]"),
        ("@w", "%z", "%y = relu %r : f32[2,48]"),
        ("@w", "@s", "%u = reshape @s {shape=[2,48]} : f32[2,48]\n  %y = add %r, %u : f32[2,48]"),
    ] {
        let layer = layer.replace("WEIGHTS", weights).replace("SCALE", scale);
        let source = format!(
            "stage lowered\nconst @w: trit[48,64]\nconst @s: f32[48,2]\n\
             graph @main(%x: f32[2,64], %w: trit[48,64], %z: f32[48,2]) -> (%y: f32[2,48]) {{\n  {layer}\n  {after}\n}}\n"
        );
        close(&source, &[]);
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
    // Queries and keys are turned on the way; the third has more queries than a block, the last none.
    for (b, s, past) in [(1, 1, 0), (2, 5, 3), (1, 70, 2), (1, 1, 17), (3, 1, 5), (1, 0, 0)] {
        let dump = close(ATTENTION, &[("b", b), ("s", s), ("past", past)]);
        assert_eq!(dump.matches("call").count(), 1, "{dump}");
        for kept in ["", ", %ck: f32[b,2,past+s,8]", ", %cv: f32[b,2,past+s,8]"] {
            let all = ", %ck: f32[b,2,past+s,8], %cv: f32[b,2,past+s,8]) {";
            let source = ATTENTION.replace(all, &format!("{kept}) {{"));
            let dump = close(&source, &[("b", b), ("s", s), ("past", past)]);
            assert_eq!(dump.matches("call").count(), 1, "where `{kept}` is kept: {dump}");
        }
    }
}

#[test]
fn a_session_keeps_the_past_in_place() {
    keeps_the_past(Session::new);
    keeps_the_past(Session::guarded);
}

fn keeps_the_past(make: fn(Arc<Program>, &SessionOptions) -> Session) {
    let target = Target::host().unwrap();
    let module = parse(ATTENTION);
    let mut formed = module.clone();
    form(&mut formed, &target);
    let program = Arc::new(build(formed, &target).unwrap());
    assert_eq!(program.states.len(), 2);
    let mut session = make(
        program.clone(),
        &SessionOptions { threads: 2, state_capacity: Some(9), ..SessionOptions::default() },
    );
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

/// A product with weights of `bits`, in blocks, whose zeros are of a type, or none.
fn blocks(n: usize, k: usize, bits: usize, block: usize, zero: &str) -> String {
    let blocks = k.div_ceil(block);
    let (bytes, zeros) = (block * bits / 8, (blocks * bits).div_ceil(8));
    let (constant, operand) = match zero {
        "u8" => (format!("const @zero: u8[{n},{zeros}]\n"), ", @zero"),
        "f32" => (format!("const @zero: f32[{n},{blocks}]\n"), ", @zero"),
        _ => (String::new(), ""),
    };
    format!(
        "\
const @q: u8[{n},{blocks},{bytes}]
const @scale: f32[{n},{blocks}]
{constant}const @bias: f32[{n}]
graph @main(%x: f32[b,s,{k}]) -> (%y: f32[b,s,{n}]) {{
  %w = dequantize_blocks @q, @scale{operand} {{bits={bits}, block={block}, k={k}, int8=false}} : f32[{n},{k}]
  %p = matmul %x, %w {{trans_b=true}} : f32[b,s,{n}]
  %y = add %p, @bias : f32[b,s,{n}]
}}
"
    )
}

#[test]
fn weights_of_a_few_bits_stay_so() {
    let cases = [
        (100, 64, 4, 32, ""),
        (49, 33, 4, 16, "u8"),
        (48, 40, 4, 8, "f32"),
        (7, 70, 8, 32, ""),
        (96, 96, 8, 48, "u8"),
        (50, 24, 2, 16, "f32"),
        (5, 16, 1, 8, ""),
    ];
    for (n, k, bits, block, zero) in cases {
        let source = blocks(n, k, bits, block, zero);
        for (b, s) in [(1, 1), (1, 3), (2, 9)] {
            let dump = close(&source, &[("b", b), ("s", s)]);
            assert_eq!(dump.matches("= call ").count(), 1, "{dump}");
        }
        let target = Target::host().unwrap();
        let mut module = parse(&source);
        form(&mut module, &target);
        let program = build(module, &target).unwrap();
        assert_eq!(program.step_counts().1, 0, "no step is interpreted");
    }
}

#[test]
fn weights_that_two_products_read_are_made_once() {
    let source = "\
const @q: u8[4,1,8]
const @scale: f32[4,1]
graph @main(%x: f32[n,16]) -> (%y: f32[n,4], %z: f32[n,4]) {
  %w = dequantize_blocks @q, @scale {bits=4, block=16, k=16, int8=false} : f32[4,16]
  %y = matmul %x, %w {trans_b=true} : f32[n,4]
  %a = abs %x : f32[n,16]
  %z = matmul %a, %w {trans_b=true} : f32[n,4]
}
";
    let dump = close(source, &[("n", 3)]);
    assert_eq!(dump.matches("= dequantize_blocks ").count(), 1, "{dump}");
}

#[test]
fn embeddings_are_gathered_and_bad_indices_are_errors() {
    let source = "\
const @table: f32[7,5]
graph @main(%ids: i64[b,s]) -> (%x: f32[b,s,5]) {
  %x = gather @table, %ids {axis=0} : f32[b,s,5]
}
";
    let dump = compare(source, &[("b", 2), ("s", 3)], 0.0);
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
