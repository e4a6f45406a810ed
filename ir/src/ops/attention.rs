//! Scaled dot-product attention.

use super::matmul::{Number, product};
use super::real::{Real, in_real};
use super::reduce::softmax;
use super::require::{may_broadcast, may_equal};
use super::*;
use crate::attr::Flag;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `softmax(cap(scale · q·kᵀ) + mask) · v` a head (ONNX Attention-24, arXiv 1706.03762).
    ///
    /// `q` is `[b,h,s,d]`, `k` `[b,hkv,t,d]`, `v` `[b,hkv,t,dv]`; `h` is a multiple of `hkv`, and as many query heads in
    /// sequence share a key head (GQA, arXiv 2305.13245). The past, `[b,hkv,p,d]` and `[b,hkv,p,dv]`, comes before `k`
    /// and `v`. It may be f16 or bf16 where they are f32, which are rounded to it then before anything reads them. `mask` is added to the scores, or, as `bool`, says which keys a query sees; it broadcasts to
    /// `[b,h,s,p+t]`. `causal`: query `i` sees keys up to `p + i`. `softcap` c > 0: `c · tanh(scores / c)`, before the mask.
    /// `hidden`: what takes the place of a score, whatever that is, where the mask is -∞, as `where` does it.
    ///
    /// Results: `y` `[b,h,s,dv]`, and with a past the present keys and values, past and new together. A query that
    /// sees no key, all its scores being -∞, gives 0: NaN would reach other queries through the values of padding.
    /// With `nan_unseen` it gives NaN, as a softmax does; without any key there is it gives 0 even so. With `zero_nan`
    /// weights that are NaN, as all of a row are where one is, become 0 before values are weighed.
    ///
    /// What a mask hides still has a weight, of 0, and NaN and ±∞ of its key and its value reach the query. What
    /// `causal` does not show has none.
    Attention = "attention" (q, k, v, mask: optional, past_k: optional, past_v: optional) {
        scale: f32,
        causal: bool,
        softcap: f32,
        hidden: Option<f32>,
        nan_unseen: Flag,
        zero_nan: Flag,
    }
}

impl OpDef for Attention {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (q, k, v) = (&args[0], &args[1], &args[2]);
        if !(self.softcap >= 0.0 && self.softcap.is_finite()) {
            bail!("a soft cap is a positive number, or 0 for none, not {:?}", self.softcap);
        }
        if self.hidden.is_some() && args.get(3).is_none() {
            bail!("scores are hidden where the mask is -∞, and there is no mask");
        }
        if self.nan_unseen.0 && self.zero_nan.0 {
            bail!("rows that see nothing are NaN or 0, not both");
        }
        for x in [q, k, v] {
            if x.elem != q.elem || !q.elem.is_float() || x.rank() != 4 {
                bail!("expects q, k and v of one float type and four axes, got {q}, {k} and {v}");
            }
        }
        let fits = may_equal(&q.dims[0], &k.dims[0], module)
            && may_equal(&q.dims[3], &k.dims[3], module)
            && (0..3).all(|i| may_equal(&k.dims[i], &v.dims[i], module));
        let groups = q.dims[1].as_const().zip(k.dims[1].as_const());
        if !fits || groups.is_some_and(|(h, hkv)| hkv == 0 || h % hkv != 0) {
            bail!("q {q}, k {k} and v {v} do not fit");
        }
        let mut y = q.clone();
        y.dims[3] = v.dims[3].clone();
        let (mut present_k, mut present_v) = (k.clone(), v.clone());
        match (args.get(4), args.get(5)) {
            (Some(past_k), Some(past_v)) => {
                present_k = extended(past_k, k, module)?;
                present_v = extended(past_v, v, module)?;
            }
            (None, None) => {}
            _ => bail!("past keys and values come together"),
        }
        if let Some(mask) = args.get(3) {
            check_mask(mask, q, &present_k.dims[2], module)?;
        }
        Ok(if args.get(4).is_some() { vec![y, present_k, present_v] } else { vec![y] })
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let past = args.get(4).map_or(0, |p| p.dims().get(2).copied().unwrap_or(0));
        let present = |past: usize, new: usize| match args.get(past) {
            Some(past) => append(past, &kept(&args[new], past.elem())?),
            None => Ok(args[new].clone()),
        };
        let (k, v) = (present(4, 1)?, present(5, 2)?);
        let y = in_real!(args[0].elem(), attend(self, &args[0], &k, &v, args.get(3), past))?;
        Ok(if args.get(4).is_some() { vec![y, k, v] } else { vec![y] })
    }
}

/// Keys or values as elements of `elem`.
fn kept(new: &Tensor, elem: Elem) -> OpResult<Tensor> {
    match new.elem() == elem {
        true => Ok(new.clone()),
        false => f32::write(elem, new.dims().to_vec(), f32::read(new)?.into_owned()),
    }
}

/// The type of `past` and `new` together along axis 2.
fn extended(past: &Type, new: &Type, module: &dyn Signatures) -> OpResult<Type> {
    let same = |i: usize| may_equal(&past.dims[i], &new.dims[i], module);
    let keeps = past.elem == new.elem || new.elem == Elem::F32 && matches!(past.elem, Elem::F16 | Elem::Bf16);
    if !keeps || past.rank() != 4 || !(same(0) && same(1) && same(3)) {
        bail!("past {past} does not go before {new}");
    }
    let mut all = new.with(past.elem);
    all.dims[2] = past.dims[2].add(&new.dims[2]).ok_or("the sequence is too long")?;
    Ok(all)
}

fn check_mask(mask: &Type, q: &Type, total: &Dim, module: &dyn Signatures) -> OpResult<()> {
    let scores = [&q.dims[0], &q.dims[1], &q.dims[2], total];
    let fits = mask.dims.iter().rev().zip(scores.iter().rev()).all(|(m, s)| may_broadcast(m, s, module));
    if mask.rank() > 4 || !fits || (mask.elem != q.elem && mask.elem != Elem::Bool) {
        bail!("mask {mask} does not broadcast to scores of {q} with `{total}` keys");
    }
    Ok(())
}

/// `past`, then `new`, along axis 2.
fn append(past: &Tensor, new: &Tensor) -> OpResult<Tensor> {
    let (&[b, h, p, d], &[nb, nh, t, nd]) = (past.dims(), new.dims()) else { bail!("expects four axes") };
    if (b, h, d) != (nb, nh, nd) || past.elem() != new.elem() {
        bail!("past {} does not go before {}", past.ty(), new.ty());
    }
    let total = p.checked_add(t).ok_or("the sequence is too long")?;
    let size = new.elem().bits() / 8;
    let mut bytes = Vec::with_capacity(past.bytes().len() + new.bytes().len());
    for head in 0..b * h {
        bytes.extend_from_slice(&past.bytes()[head * p * d * size..][..p * d * size]);
        bytes.extend_from_slice(&new.bytes()[head * t * d * size..][..t * d * size]);
    }
    Ok(Tensor::new(new.elem(), vec![b, h, total, d], bytes.into())?)
}

fn attend<T: Real + Number>(
    op: &Attention,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    past: usize,
) -> OpResult<Tensor> {
    let (&[b, h, s, d], &[kb, hkv, t, kd], &[vb, hv, tv, dv]) = (q.dims(), k.dims(), v.dims()) else {
        bail!("expects four axes");
    };
    if (kb, kd) != (b, d) || (vb, hv, tv) != (b, hkv, t) || hkv == 0 || h % hkv != 0 {
        bail!("q {}, k {} and v {} do not fit", q.ty(), k.ty(), v.ty());
    }
    let y_dims = vec![b, h, s, dv];
    let mask = mask.map(|m| Mask::new(m, [b, h, s, t])).transpose()?;
    let (qs, ks, vs) = (T::read(q)?, T::read(k)?, T::read(v)?);
    let mut y = vec![T::default(); result_count(T::ELEM, &y_dims)?];
    let mut scores = vec![T::default(); result_count(T::ELEM, &[s, t])?];
    for head in 0..b * h {
        let kv = head / h * hkv + head % h / (h / hkv);
        let (q, k) = (&qs[head * s * d..][..s * d], &ks[kv * t * d..][..t * d]);
        scores.fill(T::default());
        product(q, k, true, d, t, &mut scores);
        for (i, row) in scores.chunks_mut(t.max(1)).enumerate() {
            for score in row.iter_mut() {
                *score = *score * T::of(op.scale);
                if op.softcap > 0.0 {
                    *score = (*score / T::of(op.softcap)).tanh() * T::of(op.softcap);
                }
            }
            if let Some(mask) = &mask {
                mask.apply([head / h, head % h, i], row, op.hidden);
            }
            let seen = if op.causal { (past + i + 1).min(t) } else { t };
            let row = &mut row[..seen];
            let unseen = row.iter().all(|score| *score == T::of(f32::NEG_INFINITY));
            if unseen && !op.nan_unseen.0 && !op.zero_nan.0 {
                continue;
            }
            softmax(row);
            if op.zero_nan.0 {
                let is_nan = |weight: &&mut T| weight.partial_cmp(weight).is_none();
                row.iter_mut().filter(is_nan).for_each(|weight| *weight = T::default());
            }
            let (v, y) = (&vs[kv * t * dv..][..seen * dv], &mut y[(head * s + i) * dv..][..dv]);
            product(row, v, false, seen, dv, y);
        }
    }
    T::write(q.elem(), y_dims, y)
}

/// What is added to scores `[b,h,s,t]`, with a stride of zero along axes that broadcast.
struct Mask<T> {
    values: Vec<T>,
    strides: [usize; 4],
}

impl<T: Real> Mask<T> {
    fn new(mask: &Tensor, scores: [usize; 4]) -> OpResult<Mask<T>> {
        let mut strides = [0; 4];
        let mut stride = 1;
        for (i, d) in mask.dims().iter().rev().enumerate() {
            let Some(axis) = 3usize.checked_sub(i) else { bail!("a mask has at most four axes") };
            if *d != 1 && *d != scores[axis] {
                bail!("mask {} does not broadcast to {scores:?}", mask.ty());
            }
            strides[axis] = if *d == 1 { 0 } else { stride };
            stride *= d;
        }
        let values = match mask.elem() {
            Elem::Bool => {
                mask.bools()?.map(|b| if b { T::default() } else { T::of(f32::NEG_INFINITY) }).collect()
            }
            _ => T::read(mask)?.into_owned(),
        };
        Ok(Mask { values, strides })
    }

    fn apply(&self, at: [usize; 3], row: &mut [T], hidden: Option<f32>) {
        let start: usize = at.iter().zip(self.strides).map(|(i, s)| i * s).sum();
        for (j, score) in row.iter_mut().enumerate() {
            let mask = self.values[start + j * self.strides[3]];
            match hidden.filter(|_| mask == T::of(f32::NEG_INFINITY)) {
                Some(hidden) => *score = T::of(hidden),
                None => *score += mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(dims.to_vec(), values.to_vec()).unwrap()
    }

    fn plain() -> Attention {
        Attention {
            scale: 1.0,
            causal: false,
            softcap: 0.0,
            hidden: None,
            nan_unseen: Flag(false),
            zero_nan: Flag(false),
        }
    }

    fn run(op: Attention, args: &[Option<&Tensor>]) -> OpResult<Vec<Tensor>> {
        let op = Op::from(op);
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let inferred = op.infer(&types, &())?;
        let results = op.eval(args, &DimEnv::default())?;
        assert_eq!(inferred, results.iter().map(Tensor::ty).collect::<Vec<_>>());
        Ok(results)
    }

    fn floats(t: &Tensor) -> Vec<f32> {
        t.values::<f32>().unwrap().to_vec()
    }

    #[test]
    fn weights_are_a_softmax_of_scores() {
        let q = tensor(&[1, 1, 1, 1], &[1.0]);
        let k = tensor(&[1, 1, 2, 1], &[0.0, 3f32.ln()]);
        let v = tensor(&[1, 1, 2, 2], &[4.0, 0.0, 0.0, 8.0]);
        let y = run(plain(), &[Some(&q), Some(&k), Some(&v)]).unwrap();
        for (got, want) in floats(&y[0]).iter().zip([1.0, 6.0]) {
            assert!((got - want).abs() < 1e-6);
        }
        let capped = run(Attention { softcap: 1e-9, ..plain() }, &[Some(&q), Some(&k), Some(&v)]).unwrap();
        for (got, want) in floats(&capped[0]).iter().zip([2.0, 4.0]) {
            assert!((got - want).abs() < 1e-6);
        }
    }

    #[test]
    fn causal_queries_see_the_past_and_themselves() {
        // Zero scores: each query averages the values that it sees.
        let zeros = |dims: &[usize]| tensor(dims, &vec![0.0; dims.iter().product()]);
        let (q, k, past_k) = (zeros(&[1, 2, 2, 3]), zeros(&[1, 1, 2, 3]), zeros(&[1, 1, 1, 3]));
        let (v, past_v) = (tensor(&[1, 1, 2, 1], &[4.0, 9.0]), tensor(&[1, 1, 1, 1], &[2.0]));
        let causal = Attention { causal: true, ..plain() };
        let y = run(causal, &[Some(&q), Some(&k), Some(&v), None, Some(&past_k), Some(&past_v)]).unwrap();
        assert_eq!(floats(&y[0]), [3.0, 5.0, 3.0, 5.0]);
        assert_eq!(floats(&y[2]), [2.0, 4.0, 9.0]);
        assert_eq!(y[1].dims(), [1, 1, 3, 3]);
    }

    #[test]
    fn unseen_queries_give_what_is_asked_for() {
        let tensors = [tensor(&[1, 1, 2, 1], &[1.0, f32::NAN]), tensor(&[1, 1, 2, 1], &[0.0, 1.0])];
        let [q, k] = &tensors;
        let v = tensor(&[1, 1, 2, 1], &[2.0, 6.0]);
        // The first query sees nothing, the second the first key alone.
        let mask = tensor(&[2, 2], &[f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        let y = |op: Attention| {
            let y = run(op, &[Some(q), Some(k), Some(&v), Some(&mask)]).unwrap();
            floats(&y[0])
        };
        assert_eq!(y(plain())[0], 0.0);
        assert!(y(plain())[1].is_nan());
        assert!(y(Attention { nan_unseen: Flag(true), ..plain() })[0].is_nan());
        // Finite scores weigh alike what is hidden.
        assert_eq!(y(Attention { hidden: Some(-1e4), ..plain() })[0], 4.0);
        let hidden = Attention { hidden: Some(f32::NEG_INFINITY), nan_unseen: Flag(true), ..plain() };
        assert!(y(hidden).iter().all(|v| v.is_nan()));
        let bad = [Attention { softcap: -30.0, ..plain() }, Attention { softcap: f32::NAN, ..plain() }];
        for op in bad {
            assert!(run(op, &[Some(q), Some(k), Some(&v)]).is_err());
        }
        assert!(run(Attention { hidden: Some(-1.0), ..plain() }, &[Some(q), Some(k), Some(&v)]).is_err());
    }

    #[test]
    fn masks_broadcast_and_bools_choose() {
        let zeros = |dims: &[usize]| tensor(dims, &vec![0.0; dims.iter().product()]);
        let (q, k) = (zeros(&[2, 1, 1, 1]), zeros(&[2, 1, 2, 1]));
        let v = tensor(&[2, 1, 2, 1], &[1.0, 3.0, 5.0, 7.0]);
        let chosen = Tensor::from_bools(vec![2, 1, 1, 2], [true, false, false, true]).unwrap();
        let y = run(plain(), &[Some(&q), Some(&k), Some(&v), Some(&chosen)]).unwrap();
        assert_eq!(floats(&y[0]), [1.0, 7.0]);
        let added = tensor(&[2], &[f32::NEG_INFINITY, 0.0]);
        let y = run(plain(), &[Some(&q), Some(&k), Some(&v), Some(&added)]).unwrap();
        assert_eq!(floats(&y[0]), [3.0, 7.0]);
        let wrong = zeros(&[3]);
        assert!(run(plain(), &[Some(&q), Some(&k), Some(&v), Some(&wrong)]).is_err());
    }
}
