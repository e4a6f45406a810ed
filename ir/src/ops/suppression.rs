//! Which of many overlapping boxes a detector keeps.

use std::cmp::Ordering;

use super::layout::args::{agree, dimensions, expect_single, single};
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The boxes of each class that overlap no better one, as i64[count,3] of batch, class and box. ONNX NonMaxSuppression.
    ///
    /// `boxes: f32[n,boxes,4]` are two opposite corners, y before x, or with `centred` x and y of the centre, width and
    /// height. Of those whose score, in `scores: f32[n,classes,boxes]`, is above `least`, the best comes first, and of equal
    /// ones that which comes first in the operand; NaN is the least score. A box is dropped where the intersection with one
    /// that is kept is a larger part of their union than `overlap` (0 if absent), and when there are `most` of its class: 0,
    /// if that is absent.
    NonMaxSuppression = "non_max_suppression" (boxes, scores, most: optional, overlap: optional, least: optional) {
        centred: bool, count: Dim,
    }
}

impl OpDef for NonMaxSuppression {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (boxes, scores) = (&args[0], &args[1]);
        if boxes.rank() != 3 || scores.rank() != 3 || boxes.elem != Elem::F32 || scores.elem != Elem::F32 {
            bail!("expects boxes f32[n,boxes,4] and scores f32[n,classes,boxes], got {boxes} and {scores}");
        }
        agree(&boxes.dims[2], &Dim::constant(4), module)?;
        agree(&boxes.dims[0], &scores.dims[0], module)?;
        agree(&boxes.dims[1], &scores.dims[2], module)?;
        if let Some(most) = args.get(2) {
            expect_single(most, "the number of boxes")?;
        }
        for threshold in [args.get(3), args.get(4)].into_iter().flatten() {
            if threshold.elem != Elem::F32 || threshold.rank() > 1 {
                bail!("a threshold must be one f32, not {threshold}");
            }
        }
        let count = dimensions(std::slice::from_ref(&self.count))?.remove(0);
        Ok(vec![Type { elem: Elem::I64, dims: vec![count, Dim::constant(3)] }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (boxes, scores) = (&args[0], &args[1]);
        let ([n, count, width], [batches, classes, scored]) = (boxes.dims(), scores.dims()) else {
            bail!("boxes {:?} and scores {:?}", boxes.dims(), scores.dims());
        };
        if *width != 4 || n != batches || count != scored {
            bail!("boxes {:?} do not fit scores {:?}", boxes.dims(), scores.dims());
        }
        let most = args.get(2).map(single).transpose()?.map_or(0, |most| usize::try_from(most).unwrap_or(0));
        let overlap = args.get(3).map(threshold).transpose()?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&overlap) {
            bail!("boxes may overlap by {overlap}, which is not between 0 and 1");
        }
        let least = args.get(4).map(threshold).transpose()?;
        let mut found = vec![];
        if most > 0 && *count > 0 {
            let scores = scores.values::<f32>()?;
            for (batch, boxes) in boxes.values::<f32>()?.chunks_exact(4 * count).enumerate() {
                let areas: Vec<Area> = boxes.chunks_exact(4).map(|b| self.area(b)).collect();
                for class in 0..*classes {
                    let scores = &scores[(batch * classes + class) * count..][..*count];
                    for kept in suppressed(&areas, scores, most, overlap, least) {
                        found.extend([batch as i64, class as i64, kept as i64]);
                    }
                }
            }
        }
        Ok(vec![Tensor::from_vec(vec![found.len() / 3, 3], found)?])
    }
}

/// The boxes that are kept, the best first.
fn suppressed(areas: &[Area], scores: &[f32], most: usize, overlap: f32, least: Option<f32>) -> Vec<usize> {
    let score = |i: &usize| if scores[*i].is_nan() { f32::NEG_INFINITY } else { scores[*i] };
    let enough = |i: &usize| least.is_none_or(|least| scores[*i] > least);
    let mut order: Vec<usize> = (0..scores.len()).filter(enough).collect();
    order.sort_by(|a, b| score(b).partial_cmp(&score(a)).unwrap_or(Ordering::Equal));
    let mut kept: Vec<usize> = vec![];
    for candidate in order {
        if kept.len() == most {
            break;
        }
        if !kept.iter().any(|k| areas[candidate].overlap(&areas[*k]) > overlap) {
            kept.push(candidate);
        }
    }
    kept
}

/// A box by its bounds along both axes, and its size.
struct Area {
    bounds: [(f32, f32); 2],
    size: f32,
}

impl NonMaxSuppression {
    fn area(&self, b: &[f32]) -> Area {
        let bounds = match self.centred {
            true => [(b[0], b[2] / 2.0), (b[1], b[3] / 2.0)].map(|(at, half)| (at - half, at + half)),
            false => [(b[1], b[3]), (b[0], b[2])]
                .map(|(from, to)| if from >= to { (to, from) } else { (from, to) }),
        };
        let [x, y] = bounds.map(|(from, to)| to - from);
        Area { bounds, size: x * y }
    }
}

impl Area {
    /// The intersection as a part of the union.
    fn overlap(&self, other: &Area) -> f32 {
        let common = |axis: usize| {
            let ((a, b), (c, d)) = (self.bounds[axis], other.bounds[axis]);
            (b.min(d) - a.max(c)).max(0.0)
        };
        let both = common(0) * common(1);
        let union = self.size + other.size - both;
        if both > 0.0 && self.size > 0.0 && other.size > 0.0 && union > 0.0 { both / union } else { 0.0 }
    }
}

/// The one element of a threshold.
fn threshold(x: &Tensor) -> OpResult<f32> {
    match &*x.values::<f32>()? {
        [v] => Ok(*v),
        many => bail!("{} thresholds where one is expected", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::tensor;

    fn suppress(
        centred: bool,
        boxes: &[[f32; 4]],
        scores: &[f32],
        rest: [Option<&Tensor>; 3],
    ) -> OpResult<Vec<i64>> {
        let boxes = tensor(&[1, boxes.len(), 4], &boxes.concat());
        let scores = tensor(&[1, 1, scores.len()], scores);
        let op = Op::from(NonMaxSuppression { centred, count: Dim::symbol("n") });
        let args = [[Some(&boxes), Some(&scores)].as_slice(), &rest].concat();
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        op.infer(&types.iter().map(Option::as_ref).collect::<Vec<_>>(), &())?;
        let y = op.eval(&args, &DimEnv::default())?.remove(0);
        Ok(y.values::<i64>()?.chunks_exact(3).map(|row| row[2]).collect())
    }

    const BOXES: [[f32; 4]; 4] =
        [[0.0, 0.0, 1.0, 1.0], [1.1, 1.0, 0.1, 0.0], [0.0, 10.0, 1.0, 11.0], [0.0, 10.0, 0.0, 11.0]];

    #[test]
    fn the_best_box_hides_what_overlaps_it() {
        let (most, half) = (Tensor::scalar(9i64), Tensor::scalar(0.5f32));
        let scores = [0.5, 0.9, 0.9, f32::NAN];
        let all = suppress(false, &BOXES, &scores, [Some(&most), Some(&half), None]).unwrap();
        assert_eq!(all, [1, 2, 3]);
        let two = Tensor::vector(vec![2i32]);
        assert_eq!(suppress(false, &BOXES, &scores, [Some(&two), Some(&half), None]).unwrap(), [1, 2]);
        let some =
            suppress(false, &BOXES, &scores, [Some(&most), None, Some(&Tensor::scalar(0.9f32))]).unwrap();
        assert_eq!(some, Vec::<i64>::new());
        assert_eq!(suppress(false, &BOXES, &scores, [None; 3]).unwrap(), Vec::<i64>::new());
        let negative = Tensor::scalar(-3i64);
        assert_eq!(
            suppress(false, &BOXES, &scores, [Some(&negative), None, None]).unwrap(),
            Vec::<i64>::new()
        );
    }

    #[test]
    fn an_overlap_that_is_just_allowed_is_kept() {
        let boxes = [[0.5, 0.5, 1.0, 1.0], [1.0, 0.5, 1.0, 1.0]];
        let most = Tensor::scalar(9i64);
        for (overlap, want) in [(1.0f32 / 3.0, vec![0, 1]), (0.3, vec![0]), (1.0, vec![0, 1])] {
            let overlap = Tensor::scalar(overlap);
            let kept = suppress(true, &boxes, &[1.0, 1.0], [Some(&most), Some(&overlap), None]).unwrap();
            assert_eq!(kept, want);
        }
    }

    #[test]
    fn nothing_is_too_strange_a_box() {
        let strange =
            [[f32::NAN; 4], [f32::INFINITY, f32::NEG_INFINITY, 0.0, 1.0], [f32::MAX, f32::MIN, 3.0, 1.0]];
        let most = Tensor::scalar(i64::MAX);
        for centred in [true, false] {
            let kept =
                suppress(centred, &strange, &[f32::NAN, f32::INFINITY, 1.0], [Some(&most), None, None])
                    .unwrap();
            assert_eq!(kept, [1, 2, 0]);
        }
        assert!(suppress(false, &[], &[], [Some(&most), None, None]).unwrap().is_empty());
        for bad in [f32::NAN, -0.1, 1.5] {
            let bad = Tensor::scalar(bad);
            assert!(suppress(false, &BOXES, &[0.0; 4], [Some(&most), Some(&bad), None]).is_err());
        }
        assert!(suppress(false, &BOXES, &[0.0; 3], [None; 3]).is_err());
    }
}
