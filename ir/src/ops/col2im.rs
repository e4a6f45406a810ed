//! Images made of blocks that overlap: the way back from patches.

use super::elementwise::{Int, match_int};
use super::layout::args::{agree, dimensions, expect_vector, sizes};
use super::real::{Real, in_real};
use super::window::{WindowAxis, step};
use super::*;
use crate::tensor::{Element, result_count};
use crate::{bail, op};

op! {
    /// The sum of blocks, each where its window stands on the image: `x: [n, channels·taps, windows]` to
    /// `[n, channels, image…]`, windows and taps in row-major order. ONNX Col2Im.
    ///
    /// `image` and `block` are vectors of the sizes of both along each axis. What stands on pads is dropped. Integers wrap;
    /// f16 and bf16 are summed in f32. `dims` states the shape of the result.
    Col2Im = "col2im" (x, image, block) {
        strides: Vec<usize>, pads: Vec<usize>, dilations: Vec<usize>, dims: Vec<Dim>,
    }
}

impl OpDef for Col2Im {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, axes) = (&args[0], self.strides.len());
        expect_vector(&args[1], "image_shape", Some(axes))?;
        expect_vector(&args[2], "block_shape", Some(axes))?;
        if x.rank() != 3 || self.dims.len() != axes + 2 || axes == 0 {
            bail!("expects [n,channels·taps,windows] and {axes} spatial axes in `dims`, got {x}");
        }
        if !(x.elem.is_float() || x.elem.is_int() && x.elem.bits() >= 8) {
            bail!("cannot add {x}");
        }
        let mut dims = dimensions(&self.dims)?;
        dims[0] = agree(&x.dims[0], &dims[0], module)?;
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, image, block) = (&args[0], sizes(&args[1])?, sizes(&args[2])?);
        if image.len() != block.len() {
            bail!("an image of {} axes and blocks of {}", image.len(), block.len());
        }
        let axes = WindowAxis::all(&block, &self.strides, &self.pads, &self.dilations)?;
        let counts = axes.iter().zip(&image).map(|(axis, extent)| axis.count(*extent, false));
        let counts = counts.collect::<OpResult<Vec<usize>>>()?;
        let product = |of: &[usize]| of.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let (Some(taps), Some(windows)) = (product(&block), product(&counts)) else {
            bail!("blocks {block:?} of an image {image:?} are too many");
        };
        if !x.dims()[1].is_multiple_of(taps) || x.dims()[2] != windows {
            bail!("{:?} is not {windows} blocks of {taps} elements", x.dims());
        }
        let dims = [&[x.dims()[0], x.dims()[1] / taps], image.as_slice()].concat();
        result_count(x.elem(), &dims)?;
        let plan = Plan { axes, block, image, counts, taps, windows };
        let y = match x.elem() {
            elem if elem.is_float() => in_real!(elem, floats(&plan, x, dims))?,
            elem => match_int!(elem, I => {
                Tensor::from_vec(dims.clone(), plan.sum(&x.values::<I>()?, <I as Int>::plus))?
            }),
        };
        Ok(vec![y])
    }
}

fn floats<T: Real>(plan: &Plan, x: &Tensor, dims: Vec<usize>) -> OpResult<Tensor> {
    T::write(x.elem(), dims, plan.sum(&T::read(x)?, |a, b| a + b))
}

struct Plan {
    axes: Vec<WindowAxis>,
    block: Vec<usize>,
    image: Vec<usize>,
    counts: Vec<usize>,
    taps: usize,
    windows: usize,
}

impl Plan {
    fn sum<T: Element>(&self, x: &[T], plus: impl Fn(T, T) -> T) -> Vec<T> {
        let channels = x.len().checked_div(self.taps.saturating_mul(self.windows)).unwrap_or(0);
        let size: usize = self.image.iter().product();
        let mut y = vec![T::default(); channels * size];
        if channels == 0 {
            return y;
        }
        let mut tap = vec![0; self.axes.len()];
        for of_tap in 0..self.taps {
            let mut at = vec![0; self.axes.len()];
            for window in 0..self.windows {
                if let Some(place) = self.place(&tap, &at) {
                    for channel in 0..channels {
                        let from = (channel * self.taps + of_tap) * self.windows + window;
                        let to = channel * size + place;
                        y[to] = plus(y[to], x[from]);
                    }
                }
                step(&mut at, &self.counts);
            }
            step(&mut tap, &self.block);
        }
        y
    }

    /// Where a tap of a window is on the image; on pads, nowhere.
    fn place(&self, tap: &[usize], at: &[usize]) -> Option<usize> {
        let mut place = 0;
        for (i, axis) in self.axes.iter().enumerate() {
            let position = (at[i] * axis.stride + tap[i] * axis.dilation).checked_sub(axis.pads.0)?;
            if position >= self.image[i] {
                return None;
            }
            place = place * self.image[i] + position;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{run, tensor};

    fn col2im(
        x: &Tensor,
        image: &[i64],
        block: &[i64],
        [stride, pad, dilation]: [usize; 3],
    ) -> OpResult<Tensor> {
        let n = image.len();
        let taps = block.iter().product::<i64>().max(1) as usize;
        let dims = [x.dims()[0], x.dims()[1] / taps].into_iter().map(Dim::constant);
        let op = Col2Im {
            strides: vec![stride; n],
            pads: vec![pad; 2 * n],
            dilations: vec![dilation; n],
            dims: dims.chain(image.iter().map(|d| Dim::integer(*d))).collect(),
        };
        let (image, block) = (Tensor::vector(image.to_vec()), Tensor::vector(block.to_vec()));
        Ok(run(op, &[Some(x), Some(&image), Some(&block)])?.remove(0))
    }

    #[test]
    fn blocks_add_up_where_they_overlap() {
        let x = tensor(&[1, 4, 4], &[1i32; 16]);
        let y = col2im(&x, &[3, 3], &[2, 2], [1, 0, 1]).unwrap();
        assert_eq!(y, tensor(&[1, 1, 3, 3], &[1i32, 2, 1, 2, 4, 2, 1, 2, 1]));
        let x = tensor(&[1, 2, 2], &[1f32, 2.0, 3.0, 4.0]);
        assert_eq!(col2im(&x, &[4], &[2], [2, 0, 1]).unwrap(), tensor(&[1, 1, 4], &[1f32, 3.0, 2.0, 4.0]));
        assert_eq!(col2im(&x, &[2], &[2], [2, 1, 1]).unwrap(), tensor(&[1, 1, 2], &[3f32, 2.0]));
        assert_eq!(col2im(&x, &[4], &[2], [1, 0, 2]).unwrap(), tensor(&[1, 1, 4], &[1f32, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = tensor(&[1, 4, 4], &[1i32; 16]);
        for (image, block, rest) in [
            (vec![3, 4], vec![2, 2], [1, 0, 1]),
            (vec![3, 3], vec![3, 1], [1, 0, 1]),
            (vec![3, 3], vec![0, 2], [1, 0, 1]),
            (vec![-3, 3], vec![2, 2], [1, 0, 1]),
            (vec![i64::MAX, 3], vec![2, 2], [1, 1, 1]),
            (vec![3, 3], vec![2, 2], [0, 0, 1]),
            (vec![3, 3], vec![2, 2], [1, 0, usize::MAX]),
        ] {
            assert!(col2im(&x, &image, &block, rest).is_err(), "{image:?} {block:?} {rest:?}");
        }
        let empty = tensor::<f32>(&[0, 4, 4], &[]);
        assert_eq!(col2im(&empty, &[3, 3], &[2, 2], [1, 0, 1]).unwrap().dims(), [0, 1, 3, 3]);
    }
}
