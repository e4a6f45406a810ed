//! Attention over a cache in which each sequence has a length of its own.

use super::attention::{Mask, keeps, kept};
use super::matmul::{Number, product};
use super::real::{Real, in_real};
use super::require::{may_broadcast, may_equal};
use super::*;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// As [`attention`](Attention), with new keys and values written into rows `starts[b], starts[b]+1, …` of a cache of `rows`
    /// rows that begins with the past (com.microsoft GroupQueryAttention-1). Operands up to the past have the slots that
    /// they have there.
    ///
    /// `q` is `[b,h,s,d]`, `k` `[b,hkv,s,d]`, `v` `[b,hkv,s,dv]`, the past `[b,hkv,p,d]` and `[b,hkv,p,dv]`, `starts`
    /// `i64[b]`; without starts, new rows come after the past. It may be f16 or bf16 as there. Rows between
    /// the past and the new ones are 0, and so are all after those. With `causal`,
    /// query `i` sees rows up to `starts[b]+i`, with a `window` the last so many of them; without, all rows up to the last new
    /// one. `mask` is as in attention, and broadcasts to `[b,h,s,rows]`. `sink`, `[h]`, is a score that weighs nothing:
    /// the denominators of a head's softmax have `exp(sink)` more (arXiv 2309.17453).
    ///
    /// Results: `y` `[b,h,s,dv]` and the caches, `[b,hkv,rows,d]` and `[b,hkv,rows,dv]`.
    CachedAttention = "cached_attention" (
        q, k, v, mask: optional, past_k: optional, past_v: optional, starts: optional, sink: optional
    ) {
        scale: f32,
        causal: bool,
        softcap: f32,
        window: Option<usize>,
        rows: Dim,
    }
}

impl OpDef for CachedAttention {
    const SIZES: Sizes = Sizes::Read;

    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (q, k, v) = (&args[0], &args[1], &args[2]);
        if !(self.softcap >= 0.0 && self.softcap.is_finite()) {
            bail!("a soft cap is a positive number, or 0 for none, not {:?}", self.softcap);
        }
        if self.window.is_some() && !self.causal {
            bail!("a window is one of queries that see what is before them");
        }
        for x in [q, k, v] {
            if x.elem != q.elem || !q.elem.is_float() || x.rank() != 4 {
                bail!("expects q, k and v of one float type and four axes, got {q}, {k} and {v}");
            }
        }
        let fits = (0..4).filter(|i| *i != 1).all(|i| may_equal(&q.dims[i], &k.dims[i], module))
            && (0..3).all(|i| may_equal(&k.dims[i], &v.dims[i], module));
        let groups = q.dims[1].as_const().zip(k.dims[1].as_const());
        if !fits || groups.is_some_and(|(h, hkv)| hkv == 0 || h % hkv != 0) {
            bail!("q {q}, k {k} and v {v} do not fit");
        }
        match (args.get(4), args.get(5)) {
            (Some(past_k), Some(past_v)) => {
                for (past, new) in [(past_k, k), (past_v, v)] {
                    let same = |i: usize| may_equal(&past.dims[i], &new.dims[i], module);
                    if !keeps(past, new) || past.rank() != 4 || !(same(0) && same(1) && same(3)) {
                        bail!("past {past} does not go before {new}");
                    }
                }
                if !may_equal(&past_k.dims[2], &past_v.dims[2], module) {
                    bail!("past keys {past_k} and values {past_v} differ in length");
                }
            }
            (None, None) => {}
            _ => bail!("past keys and values come together"),
        }
        if let Some(starts) = args.get(6)
            && (starts.elem != Elem::I64
                || starts.rank() != 1
                || !may_equal(&starts.dims[0], &q.dims[0], module))
        {
            bail!("starts are i64[{}], got {starts}", q.dims[0]);
        }
        if let Some(sink) = args.get(7)
            && (sink.elem != q.elem || sink.rank() != 1 || !may_equal(&sink.dims[0], &q.dims[1], module))
        {
            bail!("sinks are {}[{}], got {sink}", q.elem, q.dims[1]);
        }
        if let Some(mask) = args.get(3) {
            let scores = [&q.dims[0], &q.dims[1], &q.dims[2], &self.rows];
            let fits =
                mask.dims.iter().rev().zip(scores.iter().rev()).all(|(m, s)| may_broadcast(m, s, module));
            if mask.rank() > 4 || !fits || (mask.elem != q.elem && mask.elem != Elem::Bool) {
                bail!("mask {mask} does not broadcast to scores of {q} with `{}` keys", self.rows);
            }
        }
        let mut y = q.clone();
        let [mut cache_k, mut cache_v] =
            [(4, k), (5, v)].map(|(past, new)| new.with(args.get(past).map_or(new.elem, |past| past.elem)));
        y.dims[3] = v.dims[3].clone();
        cache_k.dims[2] = self.rows.clone();
        cache_v.dims[2] = self.rows.clone();
        Ok(vec![y, cache_k, cache_v])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let rows = resolve(std::slice::from_ref(&self.rows), cx.dims())?[0];
        let (&[b, _, s, _], past) = (args[0].dims(), args.get(4)) else { bail!("expects four axes") };
        let past = past.map_or(0, |p| p.dims().get(2).copied().unwrap_or(0));
        let starts = match args.get(6) {
            Some(starts) => starts.values::<i64>()?.to_vec(),
            None => vec![i64::try_from(past).map_err(|e| e.to_string())?; b],
        };
        if starts.len() != b {
            bail!("{} starts for {b} sequences", starts.len());
        }
        let at =
            |start: &i64| match usize::try_from(*start).ok().and_then(|at| Some((at, at.checked_add(s)?))) {
                Some((at, end)) if end <= rows => Ok(at),
                _ => bail!("{s} rows from {start} on exceed a cache of {rows}"),
            };
        let starts = starts.iter().map(at).collect::<OpResult<Vec<_>>>()?;
        let cached = |past: usize, new: usize| {
            let past = args.get(past);
            let new = kept(&args[new], past.map_or(args[new].elem(), Tensor::elem))?;
            cache(past, &new, &starts, rows)
        };
        let (k, v) = (cached(4, 1)?, cached(5, 2)?);
        let y = in_real!(args[0].elem(), attend(self, &args, &k, &v, &starts))?;
        Ok(vec![y, k, v])
    }
}

/// `rows` rows: the past, and over it the new ones from `starts` on.
fn cache(past: Option<&Tensor>, new: &Tensor, starts: &[usize], rows: usize) -> OpResult<Tensor> {
    let &[b, h, s, d] = new.dims() else { bail!("expects four axes") };
    let size = new.elem().bits() / 8 * d;
    let mut bytes = vec![0; result_count(new.elem(), &[b, h, rows, d])? * (new.elem().bits() / 8)];
    if let Some(past) = past {
        let &[pb, ph, p, pd] = past.dims() else { bail!("expects four axes") };
        if (pb, ph, pd) != (b, h, d) || past.elem() != new.elem() || p > rows {
            bail!("past {} does not go before {} in {rows} rows", past.ty(), new.ty());
        }
        for head in 0..b * h {
            let kept = p.min(starts[head / h.max(1)]) * size;
            bytes[head * rows * size..][..kept].copy_from_slice(&past.bytes()[head * p * size..][..kept]);
        }
    }
    for head in 0..b * h {
        let at = head * rows + starts[head / h.max(1)];
        bytes[at * size..][..s * size].copy_from_slice(&new.bytes()[head * s * size..][..s * size]);
    }
    Ok(Tensor::new(new.elem(), vec![b, h, rows, d], bytes.into())?)
}

fn attend<T: Real + Number>(
    op: &CachedAttention,
    args: &Args<Tensor>,
    k: &Tensor,
    v: &Tensor,
    starts: &[usize],
) -> OpResult<Tensor> {
    let q = &args[0];
    let (&[b, h, s, d], &[kb, hkv, t, kd], &[vb, hv, tv, dv]) = (q.dims(), k.dims(), v.dims()) else {
        bail!("expects four axes");
    };
    if (kb, kd) != (b, d) || (vb, hv, tv) != (b, hkv, t) || hkv == 0 || h % hkv != 0 {
        bail!("q {}, k {} and v {} do not fit", q.ty(), k.ty(), v.ty());
    }
    let y_dims = vec![b, h, s, dv];
    let mask = args.get(3).map(|m| Mask::new(m, [b, h, s, t])).transpose()?;
    let sinks = args.get(7).map(T::read).transpose()?;
    if sinks.as_ref().is_some_and(|sinks| sinks.len() != h) {
        bail!("expects a sink for each of {h} heads");
    }
    let hidden = T::of(f32::NEG_INFINITY);
    let (qs, ks, vs) = (T::read(q)?, T::read(k)?, T::read(v)?);
    let mut y = vec![T::default(); result_count(T::ELEM, &y_dims)?];
    let mut scores = vec![T::default(); result_count(T::ELEM, &[s, t])?];
    for head in 0..b * h {
        let (kv, start) = (head / h * hkv + head % h / (h / hkv), starts[head / h]);
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
                mask.apply([head / h, head % h, i], row, None);
            }
            let end = start + if op.causal { i + 1 } else { s };
            let begin = op.window.map_or(0, |width| end.saturating_sub(width));
            row[end..].fill(hidden);
            row[..begin].fill(hidden);
            weights(row, sinks.as_ref().map(|sinks| sinks[head % h]));
            // What is not seen adds nothing, whatever lies there.
            let out = &mut y[(head * s + i) * dv..][..dv];
            product(
                &row[begin..end],
                &vs[(kv * t + begin) * dv..][..(end - begin) * dv],
                false,
                end - begin,
                dv,
                out,
            );
        }
    }
    T::write(q.elem(), y_dims, y)
}

/// The softmax of a row with one more score, which is left out. A row that sees nothing weighs nothing.
fn weights<T: Real>(row: &mut [T], sink: Option<T>) {
    let hidden = T::of(f32::NEG_INFINITY);
    if row.iter().all(|score| *score == hidden) {
        return row.fill(T::default());
    }
    let Some(sink) = sink else { return reduce::softmax(row) };
    let most = row.iter().fold(sink, |most, score| most.larger(*score));
    let mut sum = (sink - most).exp();
    for score in row.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    row.iter_mut().for_each(|score| *score = *score / sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(dims.to_vec(), values.to_vec()).unwrap()
    }

    fn op(rows: usize) -> CachedAttention {
        CachedAttention { scale: 1.0, causal: true, softcap: 0.0, window: None, rows: Dim::constant(rows) }
    }

    fn run(op: CachedAttention, args: &[Option<&Tensor>]) -> OpResult<Vec<Vec<f32>>> {
        let op = Op::from(op);
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let types: Vec<_> = types.iter().map(Option::as_ref).collect();
        let inferred = op.infer(&types, &())?;
        let results = op.eval(args, &DimEnv::default())?;
        assert_eq!(inferred, results.iter().map(Tensor::ty).collect::<Vec<_>>());
        Ok(results.iter().map(|t| t.values::<f32>().unwrap().to_vec()).collect())
    }

    fn close(y: &[f32], want: &[f32]) {
        assert_eq!(y.len(), want.len());
        assert!(y.iter().zip(want).all(|(a, b)| (a - b).abs() <= 1e-5), "{y:?} {want:?}");
    }

    /// Two sequences of one key head each, whose keys are 0, so that a query averages the values it sees.
    fn ages(op: CachedAttention, starts: [i64; 2], sink: Option<&Tensor>) -> OpResult<Vec<Vec<f32>>> {
        let (q, k) = (tensor(&[2, 1, 1, 1], &[1.0; 2]), tensor(&[2, 1, 1, 1], &[0.0; 2]));
        let v = tensor(&[2, 1, 1, 1], &[100.0, 200.0]);
        let past_k = tensor(&[2, 1, 3, 1], &[0.0; 6]);
        let past_v = tensor(&[2, 1, 3, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let starts = Tensor::vector(starts.to_vec());
        run(op, &[Some(&q), Some(&k), Some(&v), None, Some(&past_k), Some(&past_v), Some(&starts), sink])
    }

    #[test]
    fn each_sequence_goes_on_where_it_ends() {
        let y = ages(op(5), [3, 1], None).unwrap();
        assert_eq!(y[0], [106.0 / 4.0, 204.0 / 2.0]);
        assert_eq!(y[2], [1.0, 2.0, 3.0, 100.0, 0.0, 4.0, 200.0, 0.0, 0.0, 0.0]);
        let y = ages(op(3), [2, 0], None).unwrap();
        close(&y[0], &[103.0 / 3.0, 200.0]);
        assert_eq!(y[2], [1.0, 2.0, 100.0, 200.0, 0.0, 0.0]);
        let y = ages(CachedAttention { window: Some(2), ..op(4) }, [3, 1], None).unwrap();
        assert_eq!(y[0], [103.0 / 2.0, 204.0 / 2.0]);
    }

    #[test]
    fn a_sink_takes_its_share() {
        let sink = tensor(&[1], &[0.0]);
        close(&ages(op(4), [3, 1], Some(&sink)).unwrap()[0], &[106.0 / 5.0, 204.0 / 3.0]);
        let large = tensor(&[1], &[100.0]);
        assert!(ages(op(4), [3, 1], Some(&large)).unwrap()[0].iter().all(|y| y.abs() < 1e-30));
    }

    #[test]
    fn rows_outside_of_the_cache_are_refused() {
        assert!(ages(op(4), [4, 1], None).is_err());
        assert!(ages(op(4), [-1, 1], None).is_err());
        assert!(ages(op(2), [0, 1], None).is_err());
        assert!(ages(op(4), [i64::MAX, 1], None).is_err());
        assert!(ages(CachedAttention { causal: false, window: Some(1), ..op(4) }, [3, 1], None).is_err());
    }

    #[test]
    fn without_a_past_rows_begin_at_zero() {
        let x = tensor(&[1, 1, 2, 1], &[0.0, 0.0]);
        let v = tensor(&[1, 1, 2, 1], &[4.0, 9.0]);
        let y = run(op(2), &[Some(&x), Some(&x), Some(&v)]).unwrap();
        assert_eq!((&y[0][..], &y[2][..]), (&[4.0, 6.5][..], &[4.0, 9.0][..]));
        let both = CachedAttention { causal: false, ..op(3) };
        assert_eq!(run(both, &[Some(&x), Some(&x), Some(&v)]).unwrap()[0], [6.5, 6.5]);
    }
}
