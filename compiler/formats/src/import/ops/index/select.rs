//! Ops that choose, reorder or count elements by what they are.

use trine_ir::ops::*;
use trine_ir::{Dim, Elem, OpResult, Tensor, Value, bail};

use super::super::NodeCx;
use super::super::nn::{cast, positions, product, reshape, transpose};

/// The slices where the condition holds; without an axis, the elements.
pub fn compress(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (mut x, condition) = (cx.input(0)?, cx.input(1)?);
    let (ty, truths) = (cx.ty(x), cx.ty(condition));
    if truths.rank() != 1 || truths.elem != Elem::Bool {
        bail!("expects a vector of truths, got {truths}");
    }
    let axis = match cx.attr_int_opt("axis")? {
        Some(axis) => cx.axis(axis, ty.rank())?,
        None => {
            x = reshape(cx, x, vec![product(&ty.dims)?])?;
            0
        }
    };
    let count = cx.fresh_dim();
    let places = cx.add(NonZero { count: count.clone() }, &[condition])?;
    let places = reshape(cx, places, vec![count])?;
    Ok(vec![cx.add(Gather { axis }, &[x, places])?])
}

pub fn unique(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let x = cx.input(0)?;
    let axis = cx.attr_int_opt("axis")?.map(|axis| cx.axis(axis, cx.rank(x))).transpose()?;
    let op = Unique { axis, sorted: cx.attr_bool("sorted", true)?, count: cx.fresh_dim() };
    cx.add_node(op, &[Some(x)])
}

/// The first `len` elements of each sequence from the last to the first, and then the rest.
pub fn reverse_sequence(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let (x, lengths) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.rank(x);
    let order: Vec<usize> = match (cx.attr_int("batch_axis", 1)?, cx.attr_int("time_axis", 0)?) {
        _ if rank < 2 || cx.rank(lengths) != 1 => {
            bail!(
                "expects sequences of two axes or more and a vector, got {} and {}",
                cx.ty(x),
                cx.ty(lengths)
            )
        }
        (0, 1) => (0..rank).collect(),
        (1, 0) => [1, 0].into_iter().chain(2..rank).collect(),
        (batch, time) => bail!("`batch_axis` is {batch} and `time_axis` {time}, not 0 and 1"),
    };
    let x = transpose(cx, x, &order)?;
    let lengths = cast(cx, lengths, Elem::I64)?;
    let column = [cx.ty(lengths).dims, vec![Dim::constant(1)]].concat();
    let lengths = reshape(cx, lengths, column)?;
    let place = positions(cx, x, 1)?;
    let [zero, one, nowhere] = [0, 1, i64::MIN].map(|v| cx.constant(Tensor::scalar(v)));
    let last = cx.add(Sub {}, &[lengths, one])?;
    let mirrored = cx.add(Sub {}, &[last, place])?;
    let reversed = cx.add(Less {}, &[place, lengths])?;
    // A length below 0 is refused as an index that is nowhere, and one that is too large as the first of its indices.
    let negative = cx.add(Less {}, &[lengths, zero])?;
    let kept = cx.add(Where {}, &[negative, nowhere, place])?;
    let from = cx.add(Where {}, &[reversed, mirrored, kept])?;
    let tuples = [cx.ty(from).dims, vec![Dim::constant(1)]].concat();
    let tuples = reshape(cx, from, tuples)?;
    let y = cx.add(GatherNd { batch_dims: 1 }, &[x, tuples])?;
    Ok(vec![transpose(cx, y, &order)?])
}

pub fn tf_idf(cx: &mut NodeCx) -> OpResult<Vec<Value>> {
    let weighting = match cx.attr_str("mode", "")? {
        "TF" => Weighting::Tf,
        "IDF" => Weighting::Idf,
        "TFIDF" => Weighting::TfIdf,
        other => bail!("no mode `{}`", other.escape_debug()),
    };
    let Some(pool) = cx.attr_ints("pool_int64s")? else { bail!("only n-grams of integers are supported") };
    let count = |name: &str| match cx.attr_int_opt(name)?.map(usize::try_from) {
        Some(Ok(n)) => Ok(n),
        _ => bail!("attribute `{name}` is missing or negative"),
    };
    let counts = |name: &str| {
        let all = cx.attr_ints(name)?.unwrap_or_default().iter().map(|n| usize::try_from(*n));
        match all.collect::<Result<Vec<usize>, _>>() {
            Ok(all) if !all.is_empty() => Ok(all),
            _ => bail!("attribute `{name}` is missing or has negative elements"),
        }
    };
    let op = TfIdf {
        weighting,
        shortest: count("min_gram_length")?,
        longest: count("max_gram_length")?,
        skips: count("max_skip_count")?,
        starts: counts("ngram_counts")?,
        places: counts("ngram_indexes")?,
        pool: pool.to_vec(),
        weights: cx.attr_floats("weights")?.unwrap_or_default().to_vec(),
    };
    let x = cx.input(0)?;
    Ok(vec![cx.add(op, &[x])?])
}
