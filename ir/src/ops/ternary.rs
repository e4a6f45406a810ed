//! Linear layers over trits, whole and lowered to sign selection, addition and one rescaling.
//!
//! Weights are stored `[n, k]`, a row an output, and scales `[n, groups]`: the row's `k` inputs fall into
//! groups of `group`, the last of which may be short. In the lowered form the integer sums are exact and
//! the few f32 operations have one order, so every kernel gives the interpreter's bits.

use super::int8::product_sums;
use super::*;
use crate::attr::Flag;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `y[b,j] = Σ_g scale[j,g] · Σ_{i in g} t[j,i]·x[b,i]  [+ bias[j]]`, the activations as they are (f32).
    ///
    /// Each group's sum has one order: `acc += (t0·x0 + t1·x1) + t2·x2` by triples of inputs from the group's
    /// start, then `y = acc_0·scale_0`, `y += acc_g·scale_g` in order of groups.
    TernaryMatmul = "ternary_matmul" (x, w, scale, bias: optional) {
        /// Inputs a scale serves.
        group: usize,
        /// Whether `x` is quantized to int8 a row first, by `quantize_rows` (lossy).
        int8: bool,
        /// The `floor` of that.
        floor: Option<f32>,
        /// The `reciprocal` of that.
        reciprocal: Flag,
        /// Whether each group of inputs is quantized by itself, as a row is.
        blocks: Flag,
    }
}

op! {
    /// `q = round(x·(127/m))` to even and `s = m/127`, a row of the last axis, with `m` the largest `|x|` of the row, and
    /// no less than `floor`. Where `m` is 0, `q` is 0. A row with NaN has `s = NaN`, one with ±∞ `s = ∞`, and both `q = 0`.
    /// Where `127/m` overflows, `s` is 0. `reciprocal`: `(1/m)·127`, rounded twice, takes the place of `127/m`.
    QuantizeRows = "quantize_rows" (x) { floor: Option<f32>, reciprocal: Flag }
}

op! {
    /// `+x`, `-x` or `0` by the sign of the weight, for every output: `[.., k]` by `[n, k]` gives `[.., n, k]`. Of i8,
    /// -128, which `quantize_rows` never gives, is its own negative.
    SignSelect = "sign_select" (x, w) {}
}

op! {
    /// The sums of groups of `group` along the last axis, as `[.., groups]`: i8 and i16 into i32 exactly, f32 by triples
    /// `acc += (x0 + x1) + x2` from each group's start.
    GroupSum = "group_sum" (x) { group: usize }
}

op! {
    /// `y[b,j] = ((f32(t[b,j,0])·scale[j,0]) + f32(t[b,j,1])·scale[j,1] + …) · s[b] [+ bias[j]]`, left to right; `t` is i32 or f32,
    /// and without `s` the factor is left out. Where `s` has as many elements a row as there are groups, more than one, each
    /// group has its own: `(f32(t[b,j,g])·scale[j,g])·s[b,g]`.
    Rescale = "rescale" (t, scale, s: optional, bias: optional) {}
}

/// The number of groups of `group` in `k` inputs.
pub fn groups(k: usize, group: usize) -> usize {
    k.div_ceil(group.max(1)).max(1)
}

impl OpDef for TernaryMatmul {
    const STAGES: (Stage, Stage) = (Stage::Ternary, Stage::Ternary);

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        check_floor(self.floor)?;
        if self.floor.is_some() && !self.int8 {
            bail!("a floor is for rows that are quantized");
        }
        if self.reciprocal.0 && !self.int8 {
            bail!("a reciprocal is for rows that are quantized");
        }
        check_blocks(self.blocks.0, self.int8, &args[0], self.group)?;
        infer_linear(args, &[Elem::Trit], self.group)
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (mut x, mut row_scale) = (args[0].clone(), None);
        if self.int8 {
            let blocks = self.blocks.0.then_some(self.group);
            let (q, s) =
                quantized(QuantizeRows { floor: self.floor, reciprocal: self.reciprocal }, &x, blocks, cx)?;
            (x, row_scale) = (q, Some(s));
        }
        let sums = sign_sums(&x, &args[1], self.group)?;
        let operands = [Some(&sums), Some(&args[2]), row_scale.as_ref(), args.get(3)];
        Rescale {}.eval(Args::new(&operands), cx)
    }
}

impl OpDef for QuantizeRows {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        if x.elem != Elem::F32 || x.rank() == 0 {
            bail!("expects rows of f32, got {x}");
        }
        check_floor(self.floor)?;
        let mut s = x.clone();
        *s.dims.last_mut().expect("not a scalar") = Dim::constant(1);
        Ok(vec![x.with(Elem::I8), s])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = args[0].values::<f32>()?;
        let k = *args[0].dims().last().unwrap_or(&1);
        let mut scales = vec![];
        let mut q = Vec::with_capacity(x.len());
        for row in x.chunks(k.max(1)) {
            // The bits of magnitudes are ordered as they are, with NaN above all.
            let absmax = f32::from_bits(row.iter().map(|v| v.abs().to_bits()).max().unwrap_or(0));
            let absmax = self.floor.filter(|floor| absmax < *floor).unwrap_or(absmax);
            let inverse = match self.reciprocal.0 {
                _ if absmax <= 0.0 || absmax.is_nan() => 0.0,
                true => 1.0 / absmax * 127.0,
                false => 127.0 / absmax,
            };
            // `as` turns NaN into 0 and saturates.
            q.extend(row.iter().map(|v| ((v * inverse).round_ties_even() as i32).clamp(-127, 127) as i8));
            scales.push(if inverse.is_infinite() { 0.0 } else { absmax / 127.0 });
        }
        let mut s_dims = args[0].dims().to_vec();
        *s_dims.last_mut().ok_or("expects rows")? = 1;
        scales.resize(s_dims.iter().product(), 0.0);
        Ok(vec![Tensor::from_vec(args[0].dims().to_vec(), q)?, Tensor::from_vec(s_dims, scales)?])
    }
}

impl OpDef for SignSelect {
    const STAGES: (Stage, Stage) = (Stage::Lowered, Stage::Kernel);

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, w) = (&args[0], &args[1]);
        let (n, k) = weight_dims(w, &[Elem::Trit])?;
        if !matches!(x.elem, Elem::F32 | Elem::I8) || x.back(0) != Some(&Dim::constant(k)) {
            bail!("operands {x} and {w} do not fit: the last axis must be {k} of f32 or i8");
        }
        let mut y = x.clone();
        y.dims.insert(y.rank() - 1, Dim::constant(n));
        Ok(vec![y])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, w) = (&args[0], &args[1]);
        let trits = w.unpacked()?;
        let k = w.dims()[1];
        let mut dims = x.dims().to_vec();
        dims.insert(dims.len() - 1, w.dims()[0]);
        let total = crate::tensor::result_count(x.elem(), &dims)?;
        if x.elem() == Elem::I8 {
            let x = x.values::<i8>()?;
            let y = select(&x, &trits, k, total, i8::wrapping_mul);
            return Ok(vec![Tensor::from_vec(dims, y)?]);
        }
        // A multiplication, so that infinities and NaN spread as they do in a matmul.
        let x = x.values::<f32>()?;
        let y = select(&x, &trits, k, total, |t, v| f32::from(t) * v);
        Ok(vec![Tensor::from_vec(dims, y)?])
    }
}

impl OpDef for GroupSum {
    const STAGES: (Stage, Stage) = (Stage::Lowered, Stage::Kernel);

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        let Some(k) = x.back(0).and_then(Dim::as_const) else {
            bail!("the last axis of {x} is not constant")
        };
        let elem = match x.elem {
            Elem::I8 | Elem::I16 => Elem::I32,
            Elem::F32 => Elem::F32,
            _ => bail!("expects i8, i16 or f32, got {x}"),
        };
        if self.group == 0 {
            bail!("a group has no elements");
        }
        let mut y = x.with(elem);
        *y.dims.last_mut().expect("has a last axis") = Dim::constant(groups(k, self.group));
        Ok(vec![y])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let k = *x.dims().last().ok_or("expects rows")?;
        let mut dims = x.dims().to_vec();
        *dims.last_mut().ok_or("expects rows")? = groups(k, self.group);
        if k == 0 {
            let elem = if x.elem() == Elem::F32 { Elem::F32 } else { Elem::I32 };
            let bytes = vec![0; crate::tensor::result_count(elem, &dims)? * 4];
            return Ok(vec![Tensor::new(elem, dims, bytes.into())?]);
        }
        if x.elem() == Elem::I8 {
            return Ok(vec![Tensor::from_vec(dims, integer_sums(&x.values::<i8>()?, k, self.group))?]);
        }
        if x.elem() == Elem::I16 {
            return Ok(vec![Tensor::from_vec(dims, integer_sums(&x.values::<i16>()?, k, self.group))?]);
        }
        let x = x.values::<f32>()?;
        let rows = x.chunks(k).flat_map(|row| row.chunks(self.group));
        Ok(vec![Tensor::from_vec(dims, rows.map(|g| sum_triples(g.iter().copied())).collect())?])
    }
}

impl OpDef for Rescale {
    const STAGES: (Stage, Stage) = (Stage::Lowered, Stage::Kernel);

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (t, scale) = (&args[0], &args[1]);
        let (Some(groups), Some(n)) = (t.back(0).and_then(Dim::as_const), t.back(1).and_then(Dim::as_const))
        else {
            bail!("the last two axes of {t} are not constant");
        };
        if !matches!(t.elem, Elem::I32 | Elem::F32) {
            bail!("sums are i32 or f32, got {t}");
        }
        if *scale != Type::new(Elem::F32, [n, groups]) {
            bail!("scales of {t} are f32[{n},{groups}], got {scale}");
        }
        check_bias(args.get(3), n)?;
        let y = Type { elem: Elem::F32, dims: t.dims[..t.rank() - 1].to_vec() };
        if let Some(s) = args.get(2) {
            let mut rows = y.clone();
            *rows.dims.last_mut().expect("has an axis") = Dim::constant(1);
            let of_groups = groups > 1 && s.back(0).and_then(Dim::as_const) == Some(groups);
            if of_groups {
                *rows.dims.last_mut().expect("has an axis") = Dim::constant(groups);
            }
            if *s != rows {
                bail!("row scales of {t} are {rows}, got {s}");
            }
        }
        Ok(vec![y])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (t, scale) = (&args[0], args[1].values::<f32>()?);
        let (n, groups) = (args[1].dims()[0], args[1].dims()[1]);
        let sums: Vec<f32> = match t.elem() {
            Elem::I32 => t.values::<i32>()?.iter().map(|v| *v as f32).collect(),
            _ => t.values::<f32>()?.into_owned(),
        };
        let row_scales = args.get(2).map(|s| s.values::<f32>()).transpose()?;
        let bias = args.get(3).map(|b| b.values::<f32>()).transpose()?;
        let by_group = groups > 1 && args.get(2).and_then(|s| s.dims().last()) == Some(&groups);
        let y = sums.chunks(groups).enumerate().map(|(i, sums)| {
            let scales = &scale[i % n * groups..][..groups];
            let of_group = |g: usize| match &row_scales {
                Some(s) if by_group => sums[g] * scales[g] * s[i / n * groups + g],
                _ => sums[g] * scales[g],
            };
            let mut y = of_group(0);
            for g in 1..groups {
                y += of_group(g);
            }
            if let Some(s) = row_scales.as_ref().filter(|_| !by_group) {
                y *= s[i / n];
            }
            if let Some(b) = &bias {
                y += b[i % n];
            }
            y
        });
        let dims = t.dims()[..t.rank() - 1].to_vec();
        Ok(vec![Tensor::from_vec(dims, y.collect())?])
    }
}

/// Rows of `x`, or blocks of them, as int8, and their scales, one an element of the last axis.
pub(super) fn quantized(
    op: QuantizeRows,
    x: &Tensor,
    block: Option<usize>,
    cx: &dyn Context,
) -> OpResult<(Tensor, Tensor)> {
    let dims = x.dims().to_vec();
    let mut rows = dims.clone();
    if let (Some(block), Some(k)) = (block, rows.pop()) {
        rows.extend([groups(k, block), block]);
    } else {
        rows = dims.clone();
    }
    let x = x.reshape(rows)?;
    let mut results = op.eval(Args::new(&[Some(&x)]), cx)?;
    let (s, q) = (results.pop().ok_or("no scales")?, results.pop().ok_or("no rows")?);
    let mut s_dims = s.dims().to_vec();
    if block.is_some() {
        s_dims.pop();
    }
    Ok((q.reshape(dims)?, s.reshape(s_dims)?))
}

/// Blocks are of rows that are quantized, and fill them.
pub(super) fn check_blocks(blocks: bool, int8: bool, x: &Type, group: usize) -> OpResult<()> {
    let fill = |k: usize| group > 0 && k.is_multiple_of(group);
    if blocks && !(int8 && x.back(0).and_then(Dim::as_const).is_some_and(fill)) {
        bail!("blocks of {group} are not those of quantized rows of {x}");
    }
    Ok(())
}

fn check_floor(floor: Option<f32>) -> OpResult<()> {
    match floor.filter(|floor| !(*floor > 0.0 && floor.is_finite())) {
        Some(floor) => bail!("a floor of rows is positive, not {floor:?}"),
        None => Ok(()),
    }
}

/// The type of a linear layer of `x`, quantized weights of such elements, scales and perhaps a bias.
pub(super) fn infer_linear(args: Args<Type>, weights: &[Elem], group: usize) -> OpResult<Vec<Type>> {
    let (x, w, scale) = (&args[0], &args[1], &args[2]);
    let (n, k) = weight_dims(w, weights)?;
    if x.elem != Elem::F32 || x.back(0) != Some(&Dim::constant(k)) {
        bail!("operands {x} and {w} do not multiply: the last axis must be {k} of f32");
    }
    check_scale(scale, n, groups(k, group), group)?;
    check_bias(args.get(3), n)?;
    let mut y = x.clone();
    *y.dims.last_mut().expect("has a last axis") = Dim::constant(n);
    Ok(vec![y])
}

/// `[n, k]` of weights of one of such elements.
pub(super) fn weight_dims(w: &Type, elems: &[Elem]) -> OpResult<(usize, usize)> {
    match w.static_dims().as_deref() {
        Some([n, k]) if elems.contains(&w.elem) => Ok((*n, *k)),
        _ => {
            let expected: Vec<_> = elems.iter().map(|elem| format!("{elem}[n,k]")).collect();
            bail!("expects weights {}, got {w}", expected.join(" or "))
        }
    }
}

fn check_scale(scale: &Type, n: usize, groups: usize, group: usize) -> OpResult<()> {
    if group == 0 {
        bail!("a group has no elements");
    }
    if *scale != Type::new(Elem::F32, [n, groups]) {
        bail!("scales are f32[{n},{groups}], got {scale}");
    }
    Ok(())
}

fn check_bias(bias: Option<&Type>, n: usize) -> OpResult<()> {
    match bias {
        Some(b) if *b != Type::new(Elem::F32, [n]) => bail!("the bias is f32[{n}], got {b}"),
        _ => Ok(()),
    }
}

impl GroupSum {
    /// The sums of what `products` gives on its operands, without those products, which are `n` times as much as there is
    /// to read. `None` if the op is none of those that lowered layers have.
    pub fn of(&self, products: &Op, args: Args<Tensor>) -> Option<OpResult<Tensor>> {
        match products {
            Op::SignSelect(_) => Some(sign_sums(&args[0], &args[1], self.group)),
            Op::WeightProducts(_) => Some(product_sums(&args[0], &args[1], self.group)),
            _ => None,
        }
    }

    /// Whether `of` takes such products.
    pub fn is_of(products: &Op) -> bool {
        matches!(products, Op::SignSelect(_) | Op::WeightProducts(_))
    }
}

/// `group_sum(sign_select(x, w))` without the intermediate.
fn sign_sums(x: &Tensor, w: &Tensor, group: usize) -> OpResult<Tensor> {
    let trits = w.unpacked()?;
    let (n, k) = (w.dims()[0], w.dims()[1]);
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.extend([n, groups(k, group)]);
    let elem = if x.elem() == Elem::I8 { Elem::I32 } else { Elem::F32 };
    let count = crate::tensor::result_count(elem, &dims)?;
    if k == 0 {
        return Ok(Tensor::new(elem, dims, vec![0; count * 4].into())?);
    }
    let rows = || trits.chunks(k).take(n);
    if x.elem() == Elem::I8 {
        let mut sums: Vec<i32> = Vec::with_capacity(count);
        for x in x.values::<i8>()?.chunks(k) {
            for (x, t) in rows().flat_map(|w| x.chunks(group).zip(w.chunks(group))) {
                sums.push(sum_wrapping(x.iter().zip(t).map(|(x, t)| i32::from(x.wrapping_mul(*t as i8)))));
            }
        }
        return Ok(Tensor::from_vec(dims, sums)?);
    }
    let mut sums: Vec<f32> = Vec::with_capacity(count);
    for x in x.values::<f32>()?.chunks(k) {
        for (x, t) in rows().flat_map(|w| x.chunks(group).zip(w.chunks(group))) {
            sums.push(sum_triples(x.iter().zip(t).map(|(x, t)| f32::from(*t as i8) * x)));
        }
    }
    Ok(Tensor::from_vec(dims, sums)?)
}

/// Exact for up to 2^24 numbers of i8 and 2^16 of i16, and beyond them modulo 2^32.
pub(super) fn sum_wrapping(values: impl Iterator<Item = i32>) -> i32 {
    values.fold(0, i32::wrapping_add)
}

fn integer_sums<T: Copy + Into<i32>>(x: &[T], k: usize, group: usize) -> Vec<i32> {
    let rows = x.chunks(k).flat_map(|row| row.chunks(group));
    rows.map(|g| sum_wrapping(g.iter().map(|v| (*v).into()))).collect()
}

/// `acc += (x0 + x1) + x2` by triples from the start; a short triple is filled with `+0.0`.
fn sum_triples(mut values: impl Iterator<Item = f32>) -> f32 {
    let mut acc = 0f32;
    while let Some(first) = values.next() {
        let second = values.next().unwrap_or(0.0);
        acc += (first + second) + values.next().unwrap_or(0.0);
    }
    acc
}

fn select<T: Copy>(x: &[T], trits: &[u8], k: usize, total: usize, f: impl Fn(i8, T) -> T) -> Vec<T> {
    let mut y = Vec::with_capacity(total);
    for row in x.chunks(k.max(1)) {
        for w in trits.chunks(k.max(1)) {
            y.extend(row.iter().zip(w).map(|(v, t)| f(*t as i8, *v)));
        }
    }
    y
}

#[cfg(test)]
mod tests;
