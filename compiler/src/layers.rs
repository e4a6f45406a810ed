//! Linear layers in graphs: where their weights are, and how they become ternary.

use trine_ir::attr::Flag;
use trine_ir::ops::{Add, Matmul, Mul, TernaryMatmul, groups};
use trine_ir::{Dim, Elem, Kind, Op, Tensor, Value};

use trine_ternarize::{Matrix, Plane, Quantized, could_be};

use crate::pattern::{Pat, Refusal, Rewrite, Rule, any, constant, matmul, op, refuse, rule};

/// `x · w` where `w` depends on constants alone.
pub fn linear(x: &Pat, w: &Pat) -> Pat {
    matmul(x, w).filter(|scope, y| {
        let w = scope.graph.operand(y.node, Matmul::b);
        w.is_some_and(|w| scope.is_known(w) && scope.graph.ty(w).rank() > 1)
    })
}

/// The weights of a matmul as a matrix, a row an output. `dense` weights may be anything; else they are
/// wanted only if they could be ternary.
pub fn weights(g: &Rewrite, y: Value, w: Value, dense: bool) -> Result<Matrix, Refusal> {
    let Some(Op::Matmul(Matmul { trans_b })) = g.op(y) else { return refuse("not a matmul") };
    let ty = g.ty(w);
    let (Elem::F32, Some(&[rows, columns])) = (ty.elem, ty.static_dims().as_deref()) else {
        return refuse(format!("weights {ty} are not an f32 matrix"));
    };
    let Some(tensor) = g.scope().known(w) else { return refuse("the weights cannot be evaluated") };
    let values = tensor.values::<f32>()?;
    if *trans_b {
        let first = values.iter().take(columns).copied();
        if !dense && !could_be(first) {
            return refuse("the weights are not ternary");
        }
        return Ok(Matrix { n: rows, k: columns, values: values.into_owned() });
    }
    if !dense && !could_be(values.iter().step_by(columns.max(1)).copied()) {
        return refuse("the weights are not ternary");
    }
    let mut turned = vec![0f32; values.len()];
    // Tiles, so that neither side walks memory by whole rows.
    const TILE: usize = 32;
    for i0 in (0..rows).step_by(TILE) {
        for j0 in (0..columns).step_by(TILE) {
            for i in i0..rows.min(i0 + TILE) {
                for j in j0..columns.min(j0 + TILE) {
                    turned[j * rows + i] = values[i * columns + j];
                }
            }
        }
    }
    Ok(Matrix { n: columns, k: rows, values: turned })
}

/// The constant that most of a known value is made of, by which people know the layer.
pub fn weights_name(g: &Rewrite, w: Value) -> String {
    let graph = g.graph();
    let size = |v: Value| graph.ty(v).count().and_then(|c| c.as_const()).unwrap_or(0);
    let (mut best, mut stack) = (None::<Value>, vec![w]);
    while let Some(v) = stack.pop() {
        if graph.const_key(v).is_some() && best.is_none_or(|b| size(v) > size(b)) {
            best = Some(v);
        }
        stack.extend(graph.operands(v.node).into_iter().flatten());
    }
    best.and_then(|v| graph.const_key(v)).unwrap_or("weights").to_string()
}

/// `x` times the weights: a ternary matmul for each plane, and one with ones for an offset. Constants are named
/// after `base`.
pub fn product(
    weights: &Quantized,
    g: &mut Rewrite,
    x: Value,
    base: &str,
    int8: bool,
) -> Result<Value, Refusal> {
    planes(weights, g, x, base, (int8, Flag(false)))
}

/// [`product`] with activations that are rounded to int8 a block of so many at a time; a row at a time where blocks do not fill
/// rows, or scales serve parts of a block.
pub fn product_of_blocks(
    weights: &Quantized,
    g: &mut Rewrite,
    x: Value,
    base: &str,
    block: usize,
) -> Result<Value, Refusal> {
    let whole = |group: usize| group >= weights.k || group.is_multiple_of(block);
    let fit =
        block < weights.k && weights.k.is_multiple_of(block) && weights.planes.iter().all(|p| whole(p.group));
    if !fit {
        return product(weights, g, x, base, true);
    }
    let mut finer = weights.clone();
    for plane in &mut finer.planes {
        let (n, from, to) = (weights.n, groups(weights.k, plane.group), weights.k / block);
        let spread = |scales: &[f32]| -> Vec<f32> {
            let of_block = |i: usize| scales[i / to * from + i % to * block / plane.group];
            (0..n * to).map(of_block).collect()
        };
        let (scales, offset) = (spread(&plane.scales), plane.offset.as_deref().map(spread));
        (plane.scales, plane.offset) = (scales, offset);
        plane.group = block;
    }
    planes(&finer, g, x, base, (true, Flag(true)))
}

fn planes(
    weights: &Quantized,
    g: &mut Rewrite,
    x: Value,
    base: &str,
    (int8, blocks): (bool, Flag),
) -> Result<Value, Refusal> {
    let x = match &weights.column_scale {
        Some(scale) => {
            let scale =
                g.constant(&format!("{base}.columns"), Tensor::from_vec(vec![weights.k], scale.clone())?);
            g.add(Mul {}, &[x, scale])?
        }
        None => x,
    };
    let mut sum = None;
    for (p, plane) in weights.planes.iter().enumerate() {
        let base = if p == 0 { base.to_string() } else { format!("{base}.{p}") };
        add_plane(weights, g, x, &mut sum, plane, &base, (int8, blocks))?;
        if let Some(offset) = &plane.offset {
            let ones = Plane {
                trits: vec![1; weights.n * weights.k],
                scales: offset.clone(),
                offset: None,
                ..plane.clone()
            };
            add_plane(weights, g, x, &mut sum, &ones, &format!("{base}.offset"), (int8, blocks))?;
        }
    }
    let Some(sum) = sum else { return refuse("weights without a plane") };
    match &weights.bias {
        Some(bias) => {
            let bias = g.constant(&format!("{base}.bias"), Tensor::from_vec(vec![weights.n], bias.clone())?);
            Ok(g.add(Add {}, &[sum, bias])?)
        }
        None => Ok(sum),
    }
}

fn add_plane(
    weights: &Quantized,
    g: &mut Rewrite,
    x: Value,
    sum: &mut Option<Value>,
    plane: &Plane,
    base: &str,
    (int8, blocks): (bool, Flag),
) -> Result<(), Refusal> {
    let w = g.constant(&format!("{base}.trits"), plane.weights(weights.n, weights.k)?);
    let scale = g.constant(&format!("{base}.scale"), plane.scale(weights.n, weights.k)?);
    let reciprocal = Flag(false);
    let op = TernaryMatmul { group: plane.group, int8, floor: None, reciprocal, blocks };
    let y = g.add(op, &[x, w, scale])?;
    *sum = Some(match *sum {
        Some(sum) => g.add(Add {}, &[sum, y])?,
        None => y,
    });
    Ok(())
}

/// `ternary_matmul(x, w, scale) · c  →  ternary_matmul(x, w, scale·c)` for one number, or one an output; and so for
/// `/ c`. Where a scale would overflow or lose bits among the denormal numbers, the factor stays.
pub fn absorb_factor() -> Rule {
    let (x, w, scale, factor) = (any(), constant(), constant(), constant());
    let product = op(Kind::TernaryMatmul, [&x, &w, &scale]);
    let divided = &product / &factor;
    let root = (&product * &factor) | &divided;
    rule("absorb-factor", root, move |m, g| {
        let Some(Op::TernaryMatmul(matmul)) = g.op(m[&product]).cloned() else {
            return refuse("not a ternary matmul");
        };
        if g.graph().use_count(m[&product]) > 1 {
            return refuse("the product without its factor is used elsewhere");
        }
        let scales = g.tensor(m[&scale])?;
        let factors = g.tensor(m[&factor])?;
        let (n, groups) = (scales.dims()[0], scales.dims()[1]);
        let one_an_output = factors
            .dims()
            .split_last()
            .is_some_and(|(last, rest)| *last == n && rest.iter().all(|d| *d == 1));
        if factors.len() != 1 && !one_an_output {
            return refuse(format!("the factor is {}, not f32[{n}]", factors.ty()));
        }
        let (values, factors) = (scales.values::<f32>()?, factors.values::<f32>()?);
        let is_divided = m.get(&divided).is_some();
        let of_output = |j: usize| factors[if factors.len() == 1 { 0 } else { j }];
        let scaled = values.iter().enumerate().map(|(i, s)| {
            let factor = of_output(i / groups.max(1));
            let product = if is_divided { s / factor } else { s * factor };
            (*s == 0.0 && factor.is_finite() && factor != 0.0 || product.is_normal()).then_some(product)
        });
        let Some(scaled) = scaled.collect::<Option<Vec<f32>>>() else {
            return refuse("a scale times the factor is not a normal number");
        };
        let name = g.graph().const_key(m[&scale]).unwrap_or("scale").to_string();
        let scale = g.constant(&name, Tensor::from_vec(vec![n, groups], scaled)?);
        let node = g.add_node(matmul, &[Some(m[&x]), Some(m[&w]), Some(scale)])?;
        Ok(Value { node, result: 0 })
    })
}

/// `ternary_matmul(x, w, scale) + bias  →  ternary_matmul(x, w, scale, bias)`: the bias is added last
/// either way, so the bits stay.
pub fn absorb_bias() -> Rule {
    let (x, w, scale, bias) = (any(), constant(), constant(), constant());
    let product = op(Kind::TernaryMatmul, [&x, &w, &scale]);
    rule("absorb-bias", &product + &bias, move |m, g| {
        let Some(Op::TernaryMatmul(matmul)) = g.op(m[&product]).cloned() else {
            return refuse("not a ternary matmul");
        };
        if g.graph().use_count(m[&product]) > 1 {
            return refuse("the product without its bias is used elsewhere");
        }
        let n = g.ty(m[&product]).back(0).and_then(Dim::as_const);
        let dims = g.ty(m[&bias]).static_dims().unwrap_or_default();
        let (Some(n), Some((last, rest))) = (n, dims.split_last()) else {
            return refuse("the bias is a scalar");
        };
        if *last != n || rest.iter().any(|d| *d != 1) {
            return refuse(format!("the bias is {}, not f32[{n}]", g.ty(m[&bias])));
        }
        let bias = match rest {
            [] => m[&bias],
            _ => {
                let key = g.graph().const_key(m[&bias]).unwrap_or("bias").to_string();
                let flat = g.tensor(m[&bias])?.reshape(vec![n])?;
                g.constant(&key, flat)
            }
        };
        let args = [m[&x], m[&w], m[&scale], bias].map(Some);
        Ok(Value { node: g.add_node(matmul, &args)?, result: 0 })
    })
}
