//! Compiled kernels against the interpreter: the same bits, whatever the shape and however many threads.

use crate::kernels;

fn same_bits(source: &str, symbols: &[(&str, usize)]) -> String {
    kernels::compare(source, symbols, 0.0)
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

/// A number that lies after others, over a domain that is one row.
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

/// Of one row, of a few, and of as many as matrix units are for and two threads share, but not three.
#[test]
fn linear_layers_give_the_interpreters_bits() {
    for (n, k, group) in [(64, 64, 64), (40, 70, 70), (33, 100, 32), (7, 5, 5), (96, 576, 128)] {
        for kind in [Linear::TernaryF32, Linear::TernaryInt8, Linear::Int8, Linear::Int4] {
            for batch in [1, 3, 70] {
                same_bits(&linear(n, k, group, kind), &[("batch", batch)]);
            }
        }
    }
}

/// A gate and what it lets through, as SwiGLU and its kin have them, the product either way round.
#[test]
fn gated_layers_are_one_kernel() {
    let gates = [
        "%g = silu %u : {ty}\n  %y = mul %g, %v : {ty}",
        "%g = silu %v : {ty}\n  %y = mul %u, %g : {ty}",
        "%h = relu %u : {ty}\n  %g = mul %h, %h : {ty}\n  %y = mul %g, %v : {ty}",
        "%g = sigmoid %u : {ty}\n  %h = mul %g, %u : {ty}\n  %y = mul %v, %h : {ty}",
    ];
    // Half of the outputs, and whether that is a whole number of tiles; the last is more than a chunk.
    for (half, whole, group) in
        [(64, true, 48), (192, true, 48), (20, false, 48), (4096, true, 48), (64, true, 16), (4096, true, 16)]
    {
        let (n, k) = (2 * half, 48);
        for kind in [Linear::TernaryF32, Linear::TernaryInt8, Linear::Int8] {
            let plain = linear(n, k, group, kind).replace(&format!(", %r: f32[batch,{n}]"), "");
            let (layer, _) = plain.split_once("  %y").unwrap();
            let layer =
                layer.replace(&format!("-> (%y: f32[batch,{n}])"), &format!("-> (%y: f32[batch,{half}])"));
            for (gate, batch) in gates.iter().flat_map(|gate| [1, 3, 70].map(|batch| (gate, batch))) {
                let ty = format!("f32[batch,{half}]");
                let gate = gate.replace("{ty}", &ty);
                let source = format!(
                    "{layer}  %u, %v = split %o {{axis=1, sizes=[{half},{half}]}} : {ty}, {ty}\n  {gate}\n}}\n"
                );
                let dump = same_bits(&source, &[("batch", batch)]);
                let calls = usize::from(kind != Linear::TernaryF32) + if whole { 1 } else { 2 };
                assert_eq!(dump.matches(" = call").count(), calls, "{dump}");
            }
        }
    }
}

/// Each block of a row was rounded by its own largest value; the layer is gated, or has results that are parts.
#[test]
fn sums_of_blocks_have_a_factor_each() {
    for (n, k, block, weights) in
        [(64, 96, 32, "trit"), (40, 64, 16, "trit"), (72, 60, 20, "i8"), (2048, 96, 32, "i4")]
    {
        let (blocks, half) = (k / block, n / 2);
        let (op, elem) = if weights == "trit" { ("sign_select", "i8") } else { ("weight_products", "i16") };
        let layer = format!(
            "  %b = reshape %x {{shape=[batch,{blocks},{block}]}} : f32[batch,{blocks},{block}]
  %q, %s = quantize_rows %b : i8[batch,{blocks},{block}], f32[batch,{blocks},1]
  %f = reshape %q {{shape=[batch,{k}]}} : i8[batch,{k}]
  %e = reshape %s {{shape=[batch,{blocks}]}} : f32[batch,{blocks}]
  %p = {op} %f, @w : {elem}[batch,{n},{k}]
  %t = group_sum %p {{group={block}}} : i32[batch,{n},{blocks}]
  %o = rescale %t, @scale, %e, @bias : f32[batch,{n}]
"
        );
        let head = format!(
            "stage lowered\nconst @w: {weights}[{n},{k}]\nconst @scale: f32[{n},{blocks}]\nconst @bias: f32[{n}]\n"
        );
        let split = format!(
            "  %u, %v = split %o {{axis=1, sizes=[{half},{half}]}} : f32[batch,{half}], f32[batch,{half}]\n"
        );
        let graphs = [
            format!(
                "graph @main(%x: f32[batch,{k}]) -> (%y: f32[batch,{n}]) {{\n{layer}  %y = neg %o : f32[batch,{n}]\n}}\n"
            ),
            format!(
                "graph @main(%x: f32[batch,{k}]) -> (%u: f32[batch,{half}], %v: f32[batch,{half}]) {{\n{layer}{split}}}\n"
            ),
            format!(
                "graph @main(%x: f32[batch,{k}]) -> (%y: f32[batch,{half}]) {{\n{layer}{split}  \
                 %g = silu %u : f32[batch,{half}]\n  %y = mul %g, %v : f32[batch,{half}]\n}}\n"
            ),
        ];
        for (graph, batch) in graphs.iter().flat_map(|graph| [1, 3, 70].map(|batch| (graph, batch))) {
            same_bits(&format!("{head}{graph}"), &[("batch", batch)]);
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
    for s in [3, 35] {
        let dump = same_bits(source, &[("b", 2), ("s", s)]);
        assert_eq!(dump.matches("call").count(), 2, "{dump}");
    }
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
/// What one reduction keeps of a row, another reads only after it was written.
#[test]
fn numbers_of_rows_beside_norms_are_of_their_rows() {
    let source = "\
const @ones: f32[24]
graph @main(%x: f32[n,24]) -> (%s: f32[n,1], %y: f32[n,24]) {
  %t = tanh %x : f32[n,24]
  %m = mul %t, %t : f32[n,24]
  %mean = reduce_mean %m {axes=[1], keepdims=true} : f32[n,1]
  %s = sqrt %mean : f32[n,1]
  %y = rms_norm %t, @ones {eps=0.0} : f32[n,24]
}
";
    for n in [1, 3] {
        let dump = same_bits(source, &[("n", n)]);
        assert_eq!(dump.matches("call").count(), 1, "{dump}");
    }
}

#[test]
fn products_may_have_no_columns() {
    let source = "\
graph @main(%a: f32[2,0,8], %b: f32[2,8,0]) -> (%y: f32[2,0,0]) {
  %y = matmul %a, %b {trans_b=false} : f32[2,0,0]
}
";
    same_bits(source, &[]);
}

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
fn casts_between_integers_keep_the_low_bits() {
    const ELEMS: [&str; 9] = ["bool", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"];
    for first in ELEMS {
        let mut body = String::new();
        let mut results = vec![];
        for (i, second) in ELEMS.iter().enumerate() {
            body += &format!(
                "  %b{i} = cast %a {{to={second}}} : {second}[n,5]\n  %c{i} = cast %b{i} {{to=i64}} : i64[n,5]\n"
            );
            results.push(format!("%c{i}: i64[n,5]"));
        }
        if !["i32", "u32", "i64", "u64"].contains(&first) {
            body += "  %f = cast %a {to=f32} : f32[n,5]\n";
            results.push("%f: f32[n,5]".into());
        }
        let source = format!(
            "graph @main(%x: u8[n,5]) -> ({}) {{\n  %w = cast %x {{to=i64}} : i64[n,5]\n  \
             %m = mul %w, 81985529216486895i64 : i64[n,5]\n  %a = cast %m {{to={first}}} : {first}[n,5]\n{body}}}\n",
            results.join(", ")
        );
        let dump = same_bits(&source, &[("n", 9)]);
        assert_eq!(dump.matches("call").count(), 1, "{dump}");
    }
}

/// Factors near powers of two, and one more and one less, give integers beside the halves' ties and limits.
#[test]
fn integers_are_rounded_to_halves_once() {
    let mut body = String::new();
    let mut results = vec![];
    for factor in
        [1i64, 3, 255, 257, 32767, 65519, 65535, 16777217, 4294967295, 1099511627777, 36028797018963969]
    {
        for add in [-1i64, 0, 1] {
            for (elem, half) in
                [("i64", "f16"), ("i64", "bf16"), ("i32", "bf16"), ("u32", "f16"), ("u32", "bf16")]
            {
                let i = results.len();
                body += &format!(
                    "  %m{i} = mul %s, {factor}i64 : i64[n,5]\n  %a{i} = add %m{i}, {add}i64 : i64[n,5]\n  \
                     %b{i} = cast %a{i} {{to={elem}}} : {elem}[n,5]\n  %h{i} = cast %b{i} {{to={half}}} : {half}[n,5]\n"
                );
                results.push(format!("%h{i}: {half}[n,5]"));
            }
        }
    }
    // What is multiplied has both signs, and is near multiples of 2^23.
    let source = format!(
        "graph @main(%x: i64[n,5], %y: i64[n,1]) -> ({}) {{\n  %p = mul %x, 8388607i64 : i64[n,5]\n  \
         %q = sub %p, 25165824i64 : i64[n,5]\n  %s = mul %q, %y : i64[n,5]\n{body}}}\n",
        results.join(", ")
    );
    same_bits(&source, &[("n", 9)]);
}

/// Which of two sizes is 1, and is repeated, only a run tells.
#[test]
fn sizes_that_may_be_one_are_repeated() {
    let source = "\
require broadcast(j,k)
require broadcast(m,n)
require broadcast(k,w) == w
graph @main(%x: f32[n,k], %y: f32[m,j], %z: f32[w]) -> (%s: f32[broadcast(m,n),broadcast(j,k)], %t: f32[3,n,w], %q: i8[2,broadcast(m,n),broadcast(j,k)], %d: f32[2,broadcast(m,n),1]) {
  %a = sub %x, %y : f32[broadcast(m,n),broadcast(j,k)]
  %s = mul %a, %x : f32[broadcast(m,n),broadcast(j,k)]
  %e = expand %x {shape=[3,n,w]} : f32[3,n,w]
  %t = add %e, %z : f32[3,n,w]
  %r = reshape %y {shape=[1,m,j]} : f32[1,m,j]
  %u = expand %r {shape=[2,broadcast(m,n),broadcast(j,k)]} : f32[2,broadcast(m,n),broadcast(j,k)]
  %v = neg %u : f32[2,broadcast(m,n),broadcast(j,k)]
  %q, %d = quantize_rows %v : i8[2,broadcast(m,n),broadcast(j,k)], f32[2,broadcast(m,n),1]
}
";
    let sizes = [
        [1, 1, 1, 1],
        [1, 5, 4, 5],
        [4, 1, 1, 7],
        [4, 6, 4, 1],
        [0, 3, 1, 3],
        [1, 0, 3, 1],
        [3, 70, 1, 1],
        [1, 70, 9, 70],
    ];
    for [n, k, m, j] in sizes {
        for w in [k, if k == 1 { 6 } else { k }] {
            let dump = same_bits(source, &[("n", n), ("k", k), ("m", m), ("j", j), ("w", w)]);
            let main = dump.split("kernel @").next().unwrap_or_default();
            assert!(
                !["= sub", "= mul", "= add", "= expand", "= neg"].iter().any(|op| main.contains(op)),
                "{dump}"
            );
        }
    }
}

#[test]
fn sums_of_integers_have_kernels() {
    let source = "\
graph @main(%mask: u8[b,n], %i: i64[b,n]) -> (%s: i64[b,1], %t: i32[b,1], %u: i64[b,1]) {
  %wide = cast %mask {to=i64} : i64[b,n]
  %sum = reduce_sum %wide {axes=[1], keepdims=true} : i64[b,1]
  %s = sub %sum, 1i64 : i64[b,1]
  %half = cast %i {to=i32} : i32[b,n]
  %t = reduce_sum %half {axes=[1], keepdims=true} : i32[b,1]
  %large = mul %i, 4611686018427387904i64 : i64[b,n]
  %u = reduce_sum %large {axes=[1], keepdims=true} : i64[b,1]
}
";
    for n in [0, 1, 7, 40] {
        let dump = same_bits(source, &[("b", 3), ("n", n)]);
        let main = dump.split("kernel @").next().unwrap_or_default();
        assert!(!main.contains("= reduce_sum"), "{dump}");
    }
}

#[test]
fn extremes_of_rows_are_those_of_the_interpreter() {
    // Roots of what is negative are not numbers; a product with 0 gives zeros of both signs.
    let source = "\
graph @main(%x: f32[b,3], %h: f32[b,3]) -> (%a: f32[b,1], %c: f32[b,1], %d: f32[b,1], %e: f16[b,1]) {
  %root = sqrt %x : f32[b,3]
  %a = reduce_max %root {axes=[1], keepdims=true} : f32[b,1]
  %c = reduce_min %root {axes=[1], keepdims=true} : f32[b,1]
  %zero = mul %x, 0.0 : f32[b,3]
  %d = reduce_max %zero {axes=[1], keepdims=true} : f32[b,1]
  %half = cast %h {to=f16} : f16[b,3]
  %e = reduce_min %half {axes=[1], keepdims=true} : f16[b,1]
}
";
    let dump = same_bits(source, &[("b", 40)]);
    let main = dump.split("kernel @").next().unwrap_or_default();
    assert!(!main.contains("= reduce"), "{dump}");
}

#[test]
fn what_only_moves_has_kernels() {
    let source = "\
graph @main(%x: f32[b,n,6], %z: f32[b,2,6], %i: i64[b,n], %h: u8[b,n,3], %p: f32[b,9,6], %k: i64[b]) -> (%c: f32[b,n+2,6], %l: i64[b,n], %m: i64[b,n], %f: f32[b,n,6], %g: u8[b,2,3], %s: f32[b,9,6]) {
  %c = concat %x, %z {axis=1} : f32[b,n+2,6]
  %l = cumsum %i, 1i64 {exclusive=false, reverse=false} : i64[b,n]
  %m = cumsum %i, -2i64 {exclusive=true, reverse=true} : i64[b,n]
  %f = cumsum %x, 1i64 {exclusive=false, reverse=true} : f32[b,n,6]
  %j = range 0i64, 2i64, 1i64 {count=2} : i64[2]
  %g = gather %h, %j {axis=1} : u8[b,2,3]
  %s = tensor_scatter %p, %z, %k {axis=1, circular=false} : f32[b,9,6]
}
";
    for n in [2, 5] {
        let dump = same_bits(source, &[("b", 3), ("n", n)]);
        let main = dump.split("kernel @").next().unwrap_or_default();
        for op in ["concat", "cumsum", "gather", "tensor_scatter"] {
            assert!(!main.contains(&format!("= {op}")), "{dump}");
        }
    }
}

#[test]
fn rotated_halves_round_each_product() {
    let source = "\
graph @main(%x: f32[b,2,s,8], %cos: f32[1,s,4], %sin: f32[1,s,4]) -> (%y: f32[b,2,s,8], %z: f32[b,2,s,8]) {
  %y = rotary %x, %cos, %sin {interleaved=false, rounded=f16} : f32[b,2,s,8]
  %z = rotary %x, %cos, %sin {interleaved=true, rounded=bf16} : f32[b,2,s,8]
}
";
    same_bits(source, &[("b", 2), ("s", 3)]);
}
