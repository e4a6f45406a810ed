//! The largest elements along an axis.

use super::*;
use crate::tensor::Element;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The `count` largest (or smallest) along `axis`, in order, and their indices as i64; among equals the lower
    /// index comes first, and NaN is larger than all (ONNX TopK). Operand `k`, where present, is the count.
    TopK = "top_k" (x, k: optional) { axis: usize, count: Dim, largest: bool }
}

impl OpDef for TopK {
    const SIZES: Sizes = Sizes::Either;

    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        check_axes(x, &[self.axis])?;
        if !is_number(x.elem) {
            bail!("expects numbers of 8 bits or more, got {x}");
        }
        if let Some(k) = args.get(1) {
            layout::args::expect_single(k, "k")?;
        }
        match (self.count.as_integer(), x.dims[self.axis].as_const()) {
            (Some(k), _) if k < 0 => bail!("`k` is {k}"),
            (Some(k), Some(n)) if k > n as i64 => bail!("`k` is {k}, but axis {} of {x} has {n}", self.axis),
            _ => {}
        }
        let mut values = x.clone();
        values.dims[self.axis] = self.count.clone();
        let indices = values.with(Elem::I64);
        Ok(vec![values, indices])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let k = match args.get(1) {
            Some(k) => {
                let k = layout::args::single(k)?;
                usize::try_from(k).map_err(|_| format!("`k` is {k}"))?
            }
            None => resolve(std::slice::from_ref(&self.count), cx.dims())?[0],
        };
        let x = axes_last(&args[0], &[self.axis])?;
        let n = x.dims().last().copied().unwrap_or(1);
        if k > n {
            bail!("`k` is {k}, but axis {} has {n}", self.axis);
        }
        let (values, indices) = match_number!(x.elem(), T => top::<T>(&x, k, self.largest)?);
        Ok(vec![axis_back(values, self.axis)?, axis_back(indices, self.axis)?])
    }
}

fn top<T: Element>(x: &Tensor, k: usize, largest: bool) -> OpResult<(Tensor, Tensor)> {
    let all = x.values::<T>()?;
    let (mut values, mut indices) = (vec![], vec![]);
    // Rows of no elements may be very many.
    for row in rows(&all, x.dims()).take(all.len()) {
        let mut by_rank: Vec<usize> = (0..row.len()).collect();
        let rank = |a: &usize, b: &usize| {
            let order = order(&row[*a], &row[*b]);
            (if largest { order.reverse() } else { order }).then(a.cmp(b))
        };
        if (1..row.len()).contains(&k) {
            by_rank.select_nth_unstable_by(k - 1, rank);
        }
        by_rank.truncate(k);
        by_rank.sort_unstable_by(rank);
        values.extend(by_rank.iter().map(|i| row[*i]));
        indices.extend(by_rank.iter().map(|i| *i as i64));
    }
    let mut dims = x.dims().to_vec();
    *dims.last_mut().ok_or("has no axis")? = k;
    Ok((Tensor::from_vec(dims.clone(), values)?, Tensor::from_vec(dims, indices)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{run, tensor};

    #[test]
    fn equals_come_by_index_and_not_a_number_is_largest() {
        let x = tensor(&[5, 1], &[2f32, f32::NAN, 3.0, 2.0, 1.0]);
        let top = |count, largest| {
            let op = TopK { axis: 0, count: Dim::constant(count), largest };
            let got = run(op, &[Some(&x)]).unwrap();
            got[1].values::<i64>().unwrap().into_owned()
        };
        assert_eq!(top(4, true), [1, 2, 0, 3]);
        assert_eq!(top(3, false), [4, 0, 3]);
        assert_eq!(top(0, false), [0i64; 0]);
        assert_eq!(top(5, false), [4, 0, 3, 2, 1]);
        let counted = TopK { axis: 0, count: Dim::constant(2), largest: true };
        let k = Tensor::vector(vec![2i64]);
        assert_eq!(run(counted, &[Some(&x), Some(&k)]).unwrap()[0].dims(), [2, 1]);
        let too_many = TopK { axis: 0, count: Dim::constant(6), largest: true };
        assert_eq!(
            run(too_many, &[Some(&x)]).unwrap_err().to_string(),
            "`k` is 6, but axis 0 of f32[5,1] has 5"
        );
    }
}
