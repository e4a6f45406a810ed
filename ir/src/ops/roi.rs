//! Pools over regions of images that a detector found.

use std::borrow::Cow;
use std::ops::Range;

use super::layout::args::{agree, integers};
use super::real::Real;
use super::*;
use crate::math::Float;
use crate::tensor::result_count;
use crate::ty::Elem;
use crate::{attr_enum, bail, op};

attr_enum! {
    /// What a bin is made of.
    RoiPool {
        /// The mean of samples.
        Average = "average",
        /// The largest of the elements around the samples, each times its weight.
        Max = "max",
    }
}
op! {
    /// For each row of `rois`, `x1, y1, x2, y2`, bins of `size` over that region of an image of `x: [n,channels,h,w]`, the one that
    /// `images` names; a bin is made of `samples` times `samples` points between elements, or of one for each element it
    /// covers if that is 0. ONNX RoiAlign.
    ///
    /// Corners are multiplied by `scale`. With `half_pixel` the centre of the first element is at 0.5, else at 0, and a region
    /// is at least 1 wide. A sample more than 1 outside of the image is 0. Bins are placed in the type of `rois`, and summed in f64.
    RoiAlign = "roi_align" (x, rois, images) {
        pool: RoiPool, size: Vec<usize>, samples: usize, scale: f32, half_pixel: bool,
    }
}
op! {
    /// For each row of `rois`, `image, x1, y1, x2, y2`, the maxima of bins of `size` over that region of `x: [n,channels,h,w]`.
    /// ONNX MaxRoiPool.
    ///
    /// Corners are multiplied by `scale`, rounded, and part of the region, which is at least 1 wide. Bins share the elements
    /// at their borders; an empty one is 0.
    MaxRoiPool = "max_roi_pool" (x, rois) { size: Vec<usize>, scale: f32 }
}

/// Samples along each side of a bin that may be asked for.
const MAX_SAMPLES: usize = 256;

/// Bins along each axis of a region that there may be.
const MAX_BINS: usize = 1 << 20;

impl OpDef for RoiAlign {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let images = &args[2];
        if images.rank() != 1 || !matches!(images.elem, Elem::I32 | Elem::I64) {
            bail!("expects a vector of image numbers, got {images}");
        }
        if self.samples > MAX_SAMPLES {
            bail!("{} samples a side are more than {MAX_SAMPLES}", self.samples);
        }
        let y = pooled(&args, 4, &self.size, module)?;
        agree(&images.dims[0], &y.dims[0], module)?;
        Ok(vec![y])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let plan = Plan::new(&args, 4, &self.size)?;
        let images = integers(&args[2])?;
        if images.len() != plan.y[0] {
            bail!("{} image numbers for {} regions", images.len(), plan.y[0]);
        }
        let mut y = vec![];
        for (roi, image) in plan.rois.chunks_exact(4).zip(images) {
            let Some(image) = usize::try_from(image).ok().filter(|i| *i < plan.x[0]) else {
                bail!("image {image} is none of {}", plan.x[0]);
            };
            let rows = self.bins(&plan, [roi[1], roi[3]], self.size[0], plan.x[2]);
            let columns = self.bins(&plan, [roi[0], roi[2]], self.size[1], plan.x[3]);
            for channel in 0..plan.x[1] {
                let values = plan.channel(image, channel);
                for row in &rows {
                    y.extend(columns.iter().map(|column| self.pooled(values, plan.x[3], row, column)));
                }
            }
        }
        plan.result(y)
    }
}

impl OpDef for MaxRoiPool {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        Ok(vec![pooled(&args, 5, &self.size, module)?])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let plan = Plan::new(&args, 5, &self.size)?;
        let mut y = vec![];
        for roi in plan.rois.chunks_exact(5) {
            // What is not a number is not an image.
            if !(roi[0] > -1.0 && roi[0] < plan.x[0] as f64) {
                bail!("image {} is none of {}", roi[0], plan.x[0]);
            }
            let rows = self.bins(&plan, [roi[2], roi[4]], self.size[0], plan.x[2]);
            let columns = self.bins(&plan, [roi[1], roi[3]], self.size[1], plan.x[3]);
            for channel in 0..plan.x[1] {
                let values = plan.channel(roi[0] as usize, channel);
                for rows in &rows {
                    for columns in &columns {
                        let all = rows.clone().flat_map(|row| &values[row * plan.x[3]..][columns.clone()]);
                        y.push(all.copied().reduce(f64::larger).unwrap_or(0.0));
                    }
                }
            }
        }
        plan.result(y)
    }
}

/// The type of the result for regions of `width` numbers each.
fn pooled(args: &Args<Type>, width: usize, size: &[usize], module: &dyn Signatures) -> OpResult<Type> {
    let (x, rois) = (&args[0], &args[1]);
    if x.rank() != 4 || rois.rank() != 2 || !x.elem.is_float() || rois.elem != x.elem {
        bail!("expects floats [n,channels,h,w] and regions [count,{width}], got {x} and {rois}");
    }
    if size.len() != 2 || size.iter().any(|n| *n == 0 || *n > MAX_BINS) {
        bail!("bins of {size:?}");
    }
    agree(&rois.dims[1], &Dim::constant(width), module)?;
    let dims = vec![rois.dims[0].clone(), x.dims[1].clone(), size[0].into(), size[1].into()];
    Ok(Type { elem: x.elem, dims })
}

/// What both are made of, in f64, with the shape of the result.
struct Plan<'a> {
    elem: Elem,
    x: &'a [usize],
    values: Cow<'a, [f64]>,
    rois: Cow<'a, [f64]>,
    y: Vec<usize>,
}

impl<'a> Plan<'a> {
    fn new(args: &Args<'a, Tensor>, width: usize, size: &[usize]) -> OpResult<Plan<'a>> {
        let (Some(x), Some(rois)) = (args.get(0), args.get(1)) else { bail!("operands are missing") };
        if rois.dims()[1] != width {
            bail!("regions of {} numbers, not {width}", rois.dims()[1]);
        }
        let y = [&[rois.dims()[0], x.dims()[1]], size].concat();
        result_count(Elem::F64, &y)?;
        Ok(Plan { elem: x.elem(), x: x.dims(), values: f64::read(x)?, rois: f64::read(rois)?, y })
    }

    /// The elements of a channel of an image.
    fn channel(&self, image: usize, channel: usize) -> &[f64] {
        let size = self.x[2] * self.x[3];
        &self.values[(image * self.x[1] + channel) * size..][..size]
    }

    /// A result of an operation on regions: rounded to f32 where they are not of f64, which makes it that of f32.
    fn round(&self, v: f64) -> f64 {
        if self.elem == Elem::F64 { v } else { f64::from(v as f32) }
    }

    fn result(self, y: Vec<f64>) -> OpResult<Vec<Tensor>> {
        let y = Tensor::from_vec(self.y, y)?;
        Cast { to: self.elem }.eval(Args::new(&[Some(&y)]), &DimEnv::default())
    }
}

/// A bin along one axis: how many samples it has, and those that are on the image.
struct Bin {
    count: f64,
    samples: Vec<Sample>,
}

/// A point between two elements, nearer to the second by `part`.
struct Sample {
    elements: [usize; 2],
    part: f64,
}

impl RoiAlign {
    /// The bins along an axis of `len` elements.
    fn bins(&self, plan: &Plan, corners: [f64; 2], bins: usize, len: usize) -> Vec<Bin> {
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let [start, end] = corners.map(|at| plan.round(plan.round(at * f64::from(self.scale)) - offset));
        let extent = plan.round(end - start);
        let extent = if self.half_pixel || extent >= 1.0 { extent } else { 1.0 };
        let size = plan.round(extent / bins as f64);
        // One for each element that is covered may be any number; what is not a number has none.
        let count = if self.samples > 0 { self.samples as f64 } else { size.ceil().max(0.0) };
        let step = size / count;
        let bin = |i: usize| {
            if !step.is_finite() {
                return Bin { count, samples: vec![] };
            }
            let first = start + i as f64 * size;
            let near = |at: f64| ((at - first) / step - 0.5).clamp(0.0, count);
            // Of a number without bounds, only those that can be on the image are tried.
            let (low, high) = match self.samples {
                0 => ((near(-1.0) - 1.0).floor().max(0.0), (near(len as f64) + 2.0).min(count)),
                _ => (0.0, count),
            };
            let tried = ((high - low) as usize).min(2 * len + 8 + self.samples);
            let all = (0..tried).map(|i| first + (low + i as f64 + 0.5) * step);
            Bin { count, samples: all.filter_map(|at| Sample::at(at, len)).collect() }
        };
        (0..bins).map(bin).collect()
    }

    fn pooled(&self, x: &[f64], width: usize, rows: &Bin, columns: &Bin) -> f64 {
        let (mut sum, mut largest) = (0.0, None::<f64>);
        for row in &rows.samples {
            for column in &columns.samples {
                let corner = |i: usize, j: usize| {
                    row.weight(i) * column.weight(j) * x[row.elements[i] * width + column.elements[j]]
                };
                for corner in [corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1)] {
                    sum += corner;
                    largest = Some(largest.map_or(corner, |l| l.larger(corner)));
                }
            }
        }
        let (all, inside) = (rows.count * columns.count, rows.samples.len() * columns.samples.len());
        match (self.pool, largest) {
            (RoiPool::Average, _) => sum / all.max(1.0),
            // Samples outside of the image are 0.
            (RoiPool::Max, Some(largest)) if (inside as f64) < all => largest.larger(0.0),
            (RoiPool::Max, largest) => largest.unwrap_or(0.0),
        }
    }
}

impl Sample {
    /// The sample at a point, if that is on an axis of `len` elements.
    fn at(at: f64, len: usize) -> Option<Sample> {
        if !(at >= -1.0 && at <= len as f64) {
            return None;
        }
        let (at, last) = (at.max(0.0), len.checked_sub(1)?);
        let low = at as usize;
        Some(match low >= last {
            true => Sample { elements: [last; 2], part: 0.0 },
            false => Sample { elements: [low, low + 1], part: at - low as f64 },
        })
    }

    fn weight(&self, i: usize) -> f64 {
        if i == 0 { 1.0 - self.part } else { self.part }
    }
}

impl MaxRoiPool {
    /// The elements of an axis of `len` that each bin covers.
    fn bins(&self, plan: &Plan, corners: [f64; 2], bins: usize, len: usize) -> Vec<Range<usize>> {
        let [start, end] = corners.map(|at| plan.round(at * f64::from(self.scale)).round());
        let size = plan.round((end - start + 1.0).max(1.0) / bins as f64);
        let bin = |i: usize| {
            // The cast makes 0 of what is not a number.
            let on = |at: f64| (start + at).clamp(0.0, len as f64) as usize;
            on(plan.round(i as f64 * size).floor())..on(plan.round((i + 1) as f64 * size).ceil())
        };
        (0..bins).map(bin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    const ALIGN: RoiAlign =
        RoiAlign { pool: RoiPool::Average, size: vec![], samples: 2, scale: 1.0, half_pixel: true };

    fn image() -> Tensor {
        tensor(&[1, 1, 4, 4], &(0..16).map(|i| i as f32).collect::<Vec<_>>())
    }

    fn align(op: RoiAlign, size: [usize; 2], rois: &[f32]) -> Vec<f32> {
        let (rois, images) = (tensor(&[rois.len() / 4, 4], rois), Tensor::vector(vec![0i64; rois.len() / 4]));
        one(RoiAlign { size: size.into(), ..op }, &[&image(), &rois, &images]).values().unwrap().to_vec()
    }

    #[test]
    fn bins_are_means_of_samples_between_elements() {
        // The image is linear, so that a mean is the value in the middle.
        assert_eq!(align(ALIGN, [1, 1], &[1.0, 1.0, 3.0, 3.0]), [7.5]);
        assert_eq!(align(ALIGN, [1, 2], &[1.0, 1.0, 3.0, 3.0]), [7.0, 8.0]);
        let early = RoiAlign { half_pixel: false, ..ALIGN };
        assert_eq!(align(early.clone(), [1, 1], &[0.0, 0.0, 2.0, 2.0]), [5.0]);
        // One that is not 1 wide is made so.
        assert_eq!(align(early, [1, 1], &[1.0, 1.0, 1.0, 1.0]), [7.5]);
        let adaptive = RoiAlign { samples: 0, scale: 0.5, ..ALIGN };
        assert_eq!(align(adaptive, [1, 1], &[2.0, 2.0, 6.0, 6.0]), [7.5]);
        let max = RoiAlign { pool: RoiPool::Max, samples: 1, ..ALIGN };
        assert_eq!(align(max, [1, 1], &[2.0, 2.0, 3.0, 3.0]), [10.0]);
    }

    #[test]
    fn no_region_takes_for_ever() {
        let adaptive = RoiAlign { samples: 0, ..ALIGN };
        let big = f32::MAX;
        // All of the image, and far more around it that is 0.
        let y = align(adaptive.clone(), [1, 1], &[-1e9, -1e9, 1e9, 1e9]);
        assert!(y[0] > 0.0 && y[0] < 1e-12);
        for roi in
            [[-big, -big, big, big], [f32::NAN; 4], [3.0, 3.0, 1.0, 1.0], [0.0, big, 1.0, f32::INFINITY]]
        {
            for pool in [RoiPool::Average, RoiPool::Max] {
                assert_eq!(align(RoiAlign { pool, ..adaptive.clone() }, [2, 2], &roi).len(), 4);
            }
            let region = tensor(&[1, 5], &[&[0.0], &roi[..]].concat());
            assert_eq!(one(MaxRoiPool { size: vec![2, 2], scale: 1.0 }, &[&image(), &region]).len(), 4);
        }
        assert_eq!(align(adaptive, [1, 1], &[3.0, 3.0, 1.0, 1.0]), [0.0]);
    }

    #[test]
    fn maxima_include_the_last_corner() {
        let region = tensor(&[2, 5], &[0f32, 0.4, 0.0, 1.6, 2.0, 0.0, 9.0, 9.0, 9.0, 9.0]);
        let y = one(MaxRoiPool { size: vec![2, 1], scale: 1.0 }, &[&image(), &region]);
        assert_eq!(y, tensor(&[2, 1, 2, 1], &[6f32, 10.0, 0.0, 0.0]));
    }

    #[test]
    fn images_have_to_be_there() {
        let (x, rois) = (image(), tensor(&[1, 4], &[0f32; 4]));
        let op = RoiAlign { size: vec![1, 1], ..ALIGN };
        for image in [-1, 1, i64::MIN] {
            assert!(run(op.clone(), &[Some(&x), Some(&rois), Some(&Tensor::vector(vec![image]))]).is_err());
        }
        assert!(run(op, &[Some(&x), Some(&rois), Some(&Tensor::vector(vec![0i64; 2]))]).is_err());
        for image in [-1.0, 1.0, f32::NAN] {
            let region = tensor(&[1, 5], &[image, 0.0, 0.0, 0.0, 0.0]);
            assert!(run(MaxRoiPool { size: vec![1, 1], scale: 1.0 }, &[Some(&x), Some(&region)]).is_err());
        }
        let none = tensor::<f32>(&[1, 1, 0, 4], &[]);
        let y = one(RoiAlign { size: vec![1, 1], ..ALIGN }, &[&none, &rois, &Tensor::vector(vec![0i64])]);
        assert_eq!(y, tensor(&[1, 1, 1, 1], &[0f32]));
    }
}
