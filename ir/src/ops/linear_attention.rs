//! Attention whose state does not grow with the sequence.

use super::real::{Real, in_real};
use super::require::{may_broadcast, may_equal};
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `S ← S·exp(decay)`, `S ← S + k ⊗ u`, `y = scale · qᵀS`, token by token (ONNX LinearAttention-27).
    ///
    /// `u` is `v`, or with `beta` the correction `beta · (v - Sᵀk)` of the delta rule (arXiv 2412.06464). `q` is
    /// `[b,h,s,dk]`, `k` `[b,hkv,s,dk]`, `v` `[b,hkv,s,dv]`; as many query heads in sequence share a state. `state` is
    /// `[b,hkv,dk,dv]`, zero if absent, `decay` `[b,hkv,s,1|dk]`, `beta` `[b,1|hkv,s,1]`. Sums run in order of `dk`.
    ///
    /// Results: `y` `[b,h,s,dv]` and the state after the last token, of the element type of `state` if given.
    LinearAttention = "linear_attention" (q, k, v, state: optional, decay: optional, beta: optional) { scale: f32 }
}

/// Whether `x` is of rank 4 and each axis is as long as that allowed, or 1 where that is allowed before.
fn check(name: &str, x: &Type, allowed: [&[&Dim]; 4], module: &dyn Signatures) -> OpResult<()> {
    let fits = |(d, allowed): (&Dim, &&[&Dim])| match allowed {
        [only] => may_equal(d, only, module),
        [_, to] => may_broadcast(d, to, module),
        _ => false,
    };
    if x.rank() != 4 || !x.elem.is_float() || !x.dims.iter().zip(&allowed).all(fits) {
        let axes: Vec<_> =
            allowed.iter().map(|a| a.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("|")).collect();
        bail!("{name} is floats [{}], got {x}", axes.join(","));
    }
    Ok(())
}

impl OpDef for LinearAttention {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (q, k, v) = (&args[0], &args[1], &args[2]);
        if [q, k, v].iter().any(|x| x.rank() != 4 || x.elem != q.elem) || !q.elem.is_float() {
            bail!("expects q, k and v of one float type and four axes, got {q}, {k} and {v}");
        }
        let [b, h, s, dk] = [0, 1, 2, 3].map(|i| &q.dims[i]);
        let (hkv, dv, one) = (&k.dims[1], &v.dims[3], &Dim::constant(1));
        check("k", k, [&[b], &[hkv], &[s], &[dk]], module)?;
        check("v", v, [&[b], &[hkv], &[s], &[dv]], module)?;
        if h.as_const().zip(hkv.as_const()).is_some_and(|(h, hkv)| hkv == 0 || h % hkv != 0) {
            bail!("{h} query heads do not share {hkv} states");
        }
        if let Some(decay) = args.get(4) {
            check("decay", decay, [&[b], &[hkv], &[s], &[one, dk]], module)?;
        }
        if let Some(beta) = args.get(5) {
            check("beta", beta, [&[b], &[one, hkv], &[s], &[one]], module)?;
        }
        let mut state = Type { elem: q.elem, dims: vec![b.clone(), hkv.clone(), dk.clone(), dv.clone()] };
        if let Some(given) = args.get(3) {
            check("state", given, [&[b], &[hkv], &[dk], &[dv]], module)?;
            state.elem = given.elem;
        }
        let mut y = q.clone();
        y.dims[3] = dv.clone();
        Ok(vec![y, state])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        in_real!(args[0].elem(), recur(self.scale, &args))
    }
}

/// A per-token input `[b,h,s,d]` whose axes of 1 are shared.
struct Gate<T> {
    values: Vec<T>,
    dims: [usize; 4],
}

impl<T: Real> Gate<T> {
    fn new(x: &Tensor, full: [usize; 4]) -> OpResult<Gate<T>> {
        let &[b, h, s, d] = x.dims() else { bail!("expects four axes") };
        let fits = [b, h, s, d].iter().zip(full).all(|(d, full)| *d == 1 || *d == full);
        if !fits {
            bail!("{} does not broadcast to {full:?}", x.ty());
        }
        Ok(Gate { values: T::read(x)?.into_owned(), dims: [b, h, s, d] })
    }

    fn at(&self, index: [usize; 4]) -> T {
        let offset =
            index.iter().zip(self.dims).fold(0, |offset, (i, d)| offset * d + if d == 1 { 0 } else { *i });
        self.values[offset]
    }
}

fn recur<T: Real>(scale: f32, args: &Args<Tensor>) -> OpResult<Vec<Tensor>> {
    let (&[b, h, s, dk], &[kb, hkv, ks, kdk], &[vb, vh, vs, dv]) =
        (args[0].dims(), args[1].dims(), args[2].dims())
    else {
        bail!("expects four axes");
    };
    if (kb, ks, kdk) != (b, s, dk) || (vb, vh, vs) != (b, hkv, s) || hkv == 0 || h % hkv != 0 {
        bail!("q {}, k {} and v {} do not fit", args[0].ty(), args[1].ty(), args[2].ty());
    }
    let elem = args[0].elem();
    let (y_dims, state_dims) = (vec![b, h, s, dv], vec![b, hkv, dk, dv]);
    let mut y = vec![T::default(); result_count(elem, &y_dims)?];
    let (mut states, state_elem) = match args.get(3) {
        Some(t) if t.dims() == state_dims => (T::read(t)?.into_owned(), t.elem()),
        Some(t) => bail!("state {} is not {state_dims:?}", t.ty()),
        None => (vec![T::default(); result_count(elem, &state_dims)?], elem),
    };
    let decay = args.get(4).map(|t| Gate::<T>::new(t, [b, hkv, s, dk])).transpose()?;
    let beta = args.get(5).map(|t| Gate::<T>::new(t, [b, hkv, s, 1])).transpose()?;
    let (q, k, v) = (T::read(&args[0])?, T::read(&args[1])?, T::read(&args[2])?);
    let group = h / hkv;
    for (at, state) in states.chunks_mut((dk * dv).max(1)).enumerate() {
        let (batch, head) = (at / hkv, at % hkv);
        for token in 0..s {
            let k = &k[(at * s + token) * dk..][..dk];
            let mut update = v[(at * s + token) * dv..][..dv].to_vec();
            if let Some(decay) = &decay {
                for (d, row) in state.chunks_mut(dv.max(1)).enumerate() {
                    let factor = decay.at([batch, head, token, d]).exp();
                    row.iter_mut().for_each(|v| *v = *v * factor);
                }
            }
            if let Some(beta) = &beta {
                let beta = beta.at([batch, head, token, 0]);
                let recalled = weighted_rows(k, state, dv);
                for (u, recalled) in update.iter_mut().zip(recalled) {
                    *u = beta * (*u - recalled);
                }
            }
            for (row, k) in state.chunks_mut(dv.max(1)).zip(k) {
                row.iter_mut().zip(&update).for_each(|(s, u)| *s += *k * *u);
            }
            for head in 0..group {
                let at = (at * group + head) * s + token;
                let sums = weighted_rows(&q[at * dk..][..dk], state, dv);
                for (y, sum) in y[at * dv..][..dv].iter_mut().zip(sums) {
                    *y = T::of(scale) * sum;
                }
            }
        }
    }
    Ok(vec![T::write(elem, y_dims, y)?, write_state(state_elem, state_dims, states)?])
}

/// A state keeps its own precision, which may differ from that of the activations.
fn write_state<T: Real>(elem: Elem, dims: Vec<usize>, values: Vec<T>) -> OpResult<Tensor> {
    if elem == Elem::F64 && T::ELEM == Elem::F32 {
        let wide = Tensor::from_vec(dims.clone(), values)?;
        return f64::write(elem, dims, f64::read(&wide)?.into_owned());
    }
    T::write(elem, dims, values)
}

/// `Σ_d weights[d] · rows[d]`.
fn weighted_rows<T: Real>(weights: &[T], rows: &[T], width: usize) -> Vec<T> {
    let mut sum = vec![T::default(); width];
    for (weight, row) in weights.iter().zip(rows.chunks(width.max(1))) {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += *weight * *v);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(dims.to_vec(), values.to_vec()).unwrap()
    }

    fn run(args: &[Option<&Tensor>]) -> Vec<Vec<f32>> {
        let op = Op::from(LinearAttention { scale: 0.5 });
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let results = op.eval(args, &DimEnv::default()).unwrap();
        assert_eq!(op.infer(&types, &()).unwrap(), results.iter().map(Tensor::ty).collect::<Vec<_>>());
        results.iter().map(|t| t.values().unwrap().to_vec()).collect()
    }

    #[test]
    fn states_decay_and_are_corrected() {
        // One state of one number, two query heads, two tokens.
        let (q, k) = (tensor(&[1, 2, 2, 1], &[2.0, 2.0, 4.0, 4.0]), tensor(&[1, 1, 2, 1], &[1.0, 2.0]));
        let v = tensor(&[1, 1, 2, 1], &[3.0, 5.0]);
        assert_eq!(run(&[Some(&q), Some(&k), Some(&v)]), [vec![3.0, 13.0, 6.0, 26.0], vec![13.0]]);
        let (state, halve) = (tensor(&[1, 1, 1, 1], &[4.0]), tensor(&[1, 1, 2, 1], &[0.5f32.ln(); 2]));
        // 4/2 + 1·3 = 5, 5/2 + 2·5 = 12.5
        let y = run(&[Some(&q), Some(&k), Some(&v), Some(&state), Some(&halve)]);
        assert_eq!(y, [vec![5.0, 12.5, 10.0, 25.0], vec![12.5]]);
        let beta = tensor(&[1, 1, 2, 1], &[1.0, 0.5]);
        // 0 + 1·1·(3 - 0) = 3, 3 + 2·0.5·(5 - 3·2) = 2
        let y = run(&[Some(&q), Some(&k), Some(&v), None, None, Some(&beta)]);
        assert_eq!(y, [vec![3.0, 2.0, 6.0, 4.0], vec![2.0]]);
    }

    #[test]
    fn shapes_must_fit() {
        let ty = |dims: [usize; 4]| Type::new(Elem::F32, dims);
        let op = Op::from(LinearAttention { scale: 1.0 });
        let (q, k, v) = (ty([1, 4, 2, 8]), ty([1, 2, 2, 8]), ty([1, 2, 2, 3]));
        assert!(op.infer(&[Some(&q), Some(&k), Some(&v)], &()).is_ok());
        let message = op.infer(&[Some(&q), Some(&k), Some(&v), Some(&v)], &()).unwrap_err();
        assert_eq!(message.to_string(), "state is floats [1,2,8,3], got f32[1,2,2,3]");
        assert!(op.infer(&[Some(&q), Some(&ty([1, 3, 2, 8])), Some(&v)], &()).is_err());
    }
}
