//! Spectra: Fourier transforms, and the weights that make bands of frequencies of them.

use super::layout::args::{axis, dimensions, expect_single, single};
use super::real::Real;
use super::*;
use crate::math::fourier::{Complex, Fourier};
use crate::op::OpError;
use crate::tensor::{count, result_count};
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// The discrete Fourier transform along the axis that an integer names, or its inverse. ONNX DFT.
    ///
    /// The last axis of `x` holds a number, or its real and its imaginary part. Along the axis `x` is cut to `length`, or
    /// zeros follow it. `half`: of the transform of real numbers the first `length / 2 + 1` results, of which the others
    /// are the conjugates; the inverse takes these, and its results are real. `dims` is the shape of the result.
    Dft = "dft" (x, axis, length: optional) { inverse: bool, half: bool, dims: Vec<Dim> }
}

op! {
    /// Weights of `bins` triangular bands, equally wide on the mel scale from `low` to `high` hertz, for the `length / 2 + 1`
    /// frequencies of a transform of `length` samples, `rate` of which are a second. ONNX MelWeightMatrix.
    ///
    /// `dims` is the shape of the result, `[length / 2 + 1, bins]`.
    MelWeights = "mel_weights" (bins, length, rate, low, high) { dims: Vec<Dim> }
}

impl OpDef for Dft {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        let x = &args[0];
        expect_single(&args[1], "axis")?;
        if let Some(length) = args.get(2) {
            expect_single(length, "length")?;
        }
        let parts = x.back(0).and_then(Dim::as_const);
        if !x.elem.is_float() || x.rank() < 2 || !matches!(parts, None | Some(1 | 2)) {
            bail!("expects floats whose last axis holds one number or two, got {x}");
        }
        if self.half && !self.inverse && parts == Some(2) {
            bail!("half of a spectrum is all there is to know of real numbers, not of {x}");
        }
        let parts = if self.half && self.inverse { 1 } else { 2 };
        if self.dims.len() != x.rank() || self.dims.last().and_then(Dim::as_const) != Some(parts) {
            bail!("the result of {x} has {} axes, the last of {parts}, not {:?}", x.rank(), self.dims);
        }
        Ok(vec![Type { elem: x.elem, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let split = x.dims().split_last().filter(|(parts, _)| matches!(**parts, 1 | 2));
        let Some((&parts, signal)) = split else {
            bail!("expects numbers of one part or two, not {}", x.ty())
        };
        if self.half && !self.inverse && parts == 2 {
            bail!("half of a spectrum is all there is to know of real numbers, not of {}", x.ty());
        }
        // Counted from the end, the axis of parts counts.
        let axis = axis(single(&args[1])?, x.rank())?;
        let Some(there) = signal.get(axis).copied() else { bail!("axis {axis} holds the parts of numbers") };
        let whole = self.half && self.inverse;
        let length = match args.get(2) {
            Some(length) => single(length)?,
            None if whole => (there as i64 - 1) * 2,
            None => there as i64,
        };
        let Some(length) = usize::try_from(length).ok().filter(|n| *n > 0) else {
            bail!("a transform of {length} numbers");
        };
        // What the transform itself takes must be there, too.
        result_count(Elem::F64, &[Fourier::scratch(length).ok_or("the transform is too long")?, 2])?;
        let mut dims = x.dims().to_vec();
        dims[axis] = if self.half && !self.inverse { length / 2 + 1 } else { length };
        dims[signal.len()] = if whole { 1 } else { 2 };
        let values = match x.elem() {
            Elem::F64 => x.values::<f64>()?.into_owned(),
            _ => f32::read(x)?.iter().map(|v| f64::from(*v)).collect(),
        };
        let inner = count(&signal[axis + 1..]).ok_or("the shape is too large")?;
        let lines = Lines { parts, there, inner, length, bins: dims[axis] };
        let mut y = vec![0f64; result_count(Elem::F64, &dims)?];
        lines.transform(&values, &mut y, self.inverse, self.half);
        Ok(vec![match x.elem() {
            Elem::F64 => Tensor::from_vec(dims, y)?,
            elem => f32::write(elem, dims, y.into_iter().map(|v| v as f32).collect())?,
        }])
    }
}

/// The lines of a tensor along an axis, each of which is transformed for itself.
struct Lines {
    /// Numbers that an element of the tensor is made of.
    parts: usize,
    /// Elements of a line.
    there: usize,
    /// How many elements apart they are.
    inner: usize,
    /// Elements that are transformed, and those of the result.
    length: usize,
    bins: usize,
}

impl Lines {
    fn transform(&self, x: &[f64], y: &mut [f64], inverse: bool, half: bool) {
        let &Lines { parts, there, inner, length, bins } = self;
        let whole = half && inverse;
        if inner == 0 || there == 0 {
            return;
        }
        let fourier = Fourier::new(length);
        let mut line = vec![Complex::default(); length];
        let out = if whole { 1 } else { 2 };
        let blocks = x.chunks_exact(there * inner * parts).zip(y.chunks_exact_mut(bins * inner * out));
        for (x, y) in blocks {
            for i in 0..inner {
                let at = |k: usize| {
                    let element = &x[(k * inner + i) * parts..][..parts];
                    Complex { re: element[0], im: element.get(1).copied().unwrap_or(0.0) }
                };
                line.fill(Complex::default());
                let known = if whole { length / 2 + 1 } else { length };
                for (k, number) in line.iter_mut().enumerate().take(there.min(known)) {
                    *number = at(k);
                }
                if whole {
                    mirror(&mut line);
                }
                if inverse {
                    fourier.inverse(&mut line)
                } else {
                    fourier.forward(&mut line)
                }
                for (k, number) in line.iter().enumerate().take(bins) {
                    let element = &mut y[(k * inner + i) * out..][..out];
                    element[0] = number.re;
                    if let Some(im) = element.get_mut(1) {
                        *im = number.im;
                    }
                }
            }
        }
    }
}

/// The spectrum of real numbers from its first half; what is its own conjugate is real.
fn mirror(line: &mut [Complex]) {
    let n = line.len();
    line[0].im = 0.0;
    for k in 1..=n / 2 {
        if k == n - k {
            line[k].im = 0.0;
        } else {
            line[n - k] = line[k].conjugate();
        }
    }
}

impl OpDef for MelWeights {
    fn infer(&self, args: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        for (i, name) in ["bins", "length", "rate"].into_iter().enumerate() {
            expect_single(&args[i], name)?;
        }
        for bound in [&args[3], &args[4]] {
            if bound.elem != Elem::F64 || bound.rank() > 0 {
                bail!("the edges are numbers of f64, not {bound}");
            }
        }
        if self.dims.len() != 2 {
            bail!("the result has two axes, not {}", self.dims.len());
        }
        Ok(vec![Type { elem: Elem::F64, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let size = |i: usize, name: &str| {
            let n = single(&args[i])?;
            usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| OpError(format!("`{name}` is {n}")))
        };
        let (bins, length, rate) = (size(0, "bins")?, size(1, "length")?, size(2, "rate")?);
        let edge = |i: usize| Ok::<_, OpError>(args[i].values::<f64>()?[0]);
        let (low, high) = (edge(3)?, edge(4)?);
        let frequencies = length / 2 + 1;
        let mut weights = vec![0f64; result_count(Elem::F64, &[frequencies, bins])?];
        let mel = |hertz: f64| 2595.0 * libm::log10(1.0 + hertz / 700.0);
        let step = (mel(high) - mel(low)) / (bins as f64 + 2.0);
        // The frequency of the transform that an edge falls on.
        let place = |i: usize| -> OpResult<usize> {
            let hertz = 700.0 * (libm::pow(10.0, (i as f64 * step + mel(low)) / 2595.0) - 1.0);
            let place = ((length as f64 + 1.0) * hertz / rate as f64).floor();
            match place {
                p if (0.0..frequencies as f64).contains(&p) => Ok(p as usize),
                _ => bail!(
                    "a band from {low} to {high} hertz is not among the frequencies of {length} samples"
                ),
            }
        };
        for bin in 0..bins {
            let (left, centre, right) = (place(bin)?, place(bin + 1)?, place(bin + 2)?);
            if left > centre || centre > right {
                bail!("the edges, {low} and {high} hertz, are not in order");
            }
            let mut set = |at: usize, weight: f64| weights[at * bins + bin] = weight;
            match centre - left {
                0 => set(centre, 1.0),
                rise => (left..=centre).for_each(|at| set(at, (at - left) as f64 / rise as f64)),
            }
            (centre..right).for_each(|at| set(at, (right - at) as f64 / (right - centre) as f64));
        }
        Ok(vec![Tensor::from_vec(vec![frequencies, bins], weights)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{one, run, tensor};

    fn dft(inverse: bool, half: bool, dims: &[usize]) -> Dft {
        Dft { inverse, half, dims: dims.iter().map(|d| Dim::constant(*d)).collect() }
    }

    fn close(y: &Tensor, want: &[f32]) {
        let y = y.values::<f32>().unwrap();
        assert_eq!(y.len(), want.len());
        assert!(y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs().max(1.0)), "{y:?} {want:?}");
    }

    #[test]
    fn halves_of_spectra_are_of_real_numbers() {
        let x = tensor(&[1, 4, 1], &[1f32, 2.0, 3.0, 5.0]);
        let axis = Tensor::scalar(1i64);
        let whole = one(dft(false, false, &[1, 4, 2]), &[&x, &axis]);
        close(&whole, &[11.0, 0.0, -2.0, 3.0, -3.0, 0.0, -2.0, -3.0]);
        let half = one(dft(false, true, &[1, 3, 2]), &[&x, &Tensor::scalar(-2i64)]);
        close(&half, &[11.0, 0.0, -2.0, 3.0, -3.0, 0.0]);
        close(
            &one(dft(true, false, &[1, 4, 2]), &[&whole, &axis]),
            &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 5.0, 0.0],
        );
        close(&one(dft(true, true, &[1, 4, 1]), &[&half, &axis]), &[1.0, 2.0, 3.0, 5.0]);
        assert!(run(dft(false, true, &[1, 3, 2]), &[Some(&whole), Some(&axis)]).is_err());
        // Parts that only a run tells.
        let op = Op::from(dft(false, true, &[1, 3, 2]));
        assert!(op.eval(&[Some(&whole), Some(&axis)], &DimEnv::default()).is_err());
        assert!(op.infer(&[Some(&Type::parse("f32[1,4,p]").unwrap()), Some(&axis.ty())], &()).is_ok());
    }

    #[test]
    fn signals_are_cut_or_padded_along_any_axis() {
        let x = tensor(&[3, 2, 1], &[1f32, 10.0, 2.0, 20.0, 3.0, 30.0]);
        let length = |n: i64| Tensor::scalar(n);
        let y = one(dft(false, false, &[2, 2, 2]), &[&x, &Tensor::scalar(0i64), &length(2)]);
        close(&y, &[3.0, 0.0, 30.0, 0.0, -1.0, 0.0, -10.0, 0.0]);
        let y = one(dft(false, true, &[3, 2, 2]), &[&x, &Tensor::scalar(1i64), &length(3)]);
        close(
            &y.clone(),
            &[11.0, 0.0, -4.0, -8.660254, 22.0, 0.0, -8.0, -17.320508, 33.0, 0.0, -12.0, -25.980762],
        );
        for (axis, n) in [(2, 2), (-1, 2), (3, 2), (0, 0), (0, -1), (0, 1 << 50)] {
            let args = [Some(&x), Some(&Tensor::scalar(axis as i64)), Some(&length(n))];
            assert!(Op::from(dft(false, false, &[3, 2, 2])).eval(&args, &DimEnv::default()).is_err());
        }
    }

    #[test]
    fn bands_are_triangles() {
        let weights = |bins: i64, low: f64, high: f64| {
            let dims = [9usize, bins as usize].map(Dim::constant).to_vec();
            let [bins, length, rate] = [bins, 16, 8192].map(Tensor::scalar);
            let edges = [low, high].map(Tensor::scalar);
            let args = [&bins, &length, &rate, &edges[0], &edges[1]].map(Some);
            run(MelWeights { dims }, &args)
        };
        let y = weights(8, 0.0, 4096.0).unwrap().remove(0);
        // The first row of ONNX's own example: only the first band takes the lowest frequency.
        assert_eq!(y.values::<f64>().unwrap()[..8], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(weights(8, 0.0, 1e9).is_err() && weights(8, 4096.0, 0.0).is_err());
        assert!(weights(8, f64::NAN, 1.0).is_err());
    }
}
