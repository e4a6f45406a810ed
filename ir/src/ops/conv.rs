//! Convolutions over any number of spatial axes, as matrix products.

mod patches;

use super::matmul::{Number, product};
use super::real::Real;
use super::require::may_equal;
use super::window::{WindowAxis, result_dims, spatial_dims};
use super::*;
use crate::ty::Elem;
use crate::{bail, op};
use patches::Patches;

op! {
    /// `y[b,j,p] = Σ_{c,t} w[j,c,t]·x[b,c,p·stride + t·dilation - pad] [+ bias[j]]`, pads counting as zeros. ONNX Conv.
    ///
    /// `x` is `[n, channels, spatial…]`, `w` `[outputs, channels/group, kernel…]`; the `i`-th of `group` equal parts of
    /// the outputs sees the `i`-th part of the channels. `pads` are those before each axis, then those after
    /// each.
    ///
    /// Each sum is in order of channels and taps, then the bias is added. i32 wraps; f16 and bf16 are summed in f32.
    Conv = "conv" (x, w, bias: optional) {
        strides: Vec<usize>,
        pads: Vec<usize>,
        dilations: Vec<usize>,
        group: usize,
    }
}

op! {
    /// The transpose of `conv`, as a function of its input: each element of `x` adds `w` times itself to a window
    /// of `y`. ONNX ConvTranspose.
    ///
    /// `x` is `[n, channels, spatial…]`, `w` `[channels, outputs/group, kernel…]`. An axis of `y` has
    /// `(extent - 1)·stride + (kernel - 1)·dilation + 1 + output_padding` elements less the pads.
    ConvTranspose = "conv_transpose" (x, w, bias: optional) {
        strides: Vec<usize>,
        pads: Vec<usize>,
        dilations: Vec<usize>,
        output_padding: Vec<usize>,
        group: usize,
    }
}

impl OpDef for Conv {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, w) = (&args[0], &args[1]);
        let axes = self.axes(&kernel(x, w)?)?;
        let of_group = w.dims[1].mul(&Dim::constant(self.group)).ok_or("the channels overflow")?;
        if !may_equal(&x.dims[1], &of_group, module) {
            bail!("{} groups of weights {w} do not fit {x}", self.group);
        }
        if self.group == 0 || w.dims[0].as_const().is_some_and(|n| !n.is_multiple_of(self.group)) {
            bail!("the outputs of {w} are not {} groups", self.group);
        }
        check_bias(args.get(2), &w.dims[0], x.elem, module)?;
        let mut dims = vec![x.dims[0].clone(), w.dims[0].clone()];
        dims.extend(spatial_dims(&axes, &x.dims[2..], false)?);
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, w) = (&args[0], &args[1]);
        let y = result_dims(self, &args)?;
        let patches = Patches {
            axes: self.axes(&w.dims()[2..])?,
            extents: x.dims()[2..].to_vec(),
            counts: y[2..].to_vec(),
        };
        let (inputs, outputs) = (w.dims()[1], y[1] / self.group);
        let plan = Plan { patches, images: y[0], group: self.group, inputs, outputs, transposed: false };
        plan.eval(&args, y)
    }
}

impl OpDef for ConvTranspose {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let (x, w) = (&args[0], &args[1]);
        let axes = self.axes(&kernel(x, w)?)?;
        if !may_equal(&x.dims[1], &w.dims[0], module) {
            bail!("weights {w} do not fit {x}");
        }
        if self.group == 0 || w.dims[0].as_const().is_some_and(|n| !n.is_multiple_of(self.group)) {
            bail!("the channels of {w} are not {} groups", self.group);
        }
        let outputs = w.dims[1].mul(&Dim::constant(self.group)).ok_or("the outputs overflow")?;
        check_bias(args.get(2), &outputs, x.elem, module)?;
        if self.output_padding.len() != axes.len() || self.output_padding.iter().any(|p| *p > MAX_PADDING) {
            bail!("bad output padding {:?} of {} axes", self.output_padding, axes.len());
        }
        let extent = |(axis, (x, more)): (&WindowAxis, (&Dim, &usize))| {
            let fixed = axis.reach() as i64 + *more as i64 - (axis.stride + axis.pads.0 + axis.pads.1) as i64;
            let dim = x.mul(&Dim::constant(axis.stride)).and_then(|d| d.add(&Dim::integer(fixed)));
            match dim {
                Some(dim) if dim.as_integer().is_none_or(|n| n >= 0) => Ok(dim),
                _ => bail!("pads {:?} leave nothing of an axis of `{x}`", axis.pads),
            }
        };
        let spatial = axes.iter().zip(x.dims[2..].iter().zip(&self.output_padding)).map(extent);
        let mut dims = vec![x.dims[0].clone(), outputs];
        dims.extend(spatial.collect::<OpResult<Vec<_>>>()?);
        Ok(vec![Type { elem: x.elem, dims }])
    }

    fn eval(&self, args: Args<Tensor>, _: &dyn Context) -> OpResult<Vec<Tensor>> {
        let (x, w) = (&args[0], &args[1]);
        let y = result_dims(self, &args)?;
        let patches = Patches {
            axes: self.axes(&w.dims()[2..])?,
            extents: y[2..].to_vec(),
            counts: x.dims()[2..].to_vec(),
        };
        let (inputs, outputs) = (w.dims()[0] / self.group, w.dims()[1]);
        let plan = Plan { patches, images: y[0], group: self.group, inputs, outputs, transposed: true };
        plan.eval(&args, y)
    }
}

impl Conv {
    fn axes(&self, kernel: &[usize]) -> OpResult<Vec<WindowAxis>> {
        WindowAxis::all(kernel, &self.strides, &self.pads, &self.dilations)
    }
}

impl ConvTranspose {
    fn axes(&self, kernel: &[usize]) -> OpResult<Vec<WindowAxis>> {
        WindowAxis::all(kernel, &self.strides, &self.pads, &self.dilations)
    }
}

const MAX_PADDING: usize = 1 << 30;

/// The kernel of weights that are of the type and rank of `x`.
fn kernel(x: &Type, w: &Type) -> OpResult<Vec<usize>> {
    if !(x.elem.is_float() || x.elem == Elem::I32) || x.elem != w.elem {
        bail!("expects floats or i32, got {x} and {w}");
    }
    if x.rank() < 3 || w.rank() != x.rank() {
        bail!("expects [n,channels,spatial…] and weights of as many axes, got {x} and {w}");
    }
    let kernel = w.dims[2..].iter().map(Dim::as_const).collect::<Option<_>>();
    kernel.ok_or_else(|| format!("the kernel of {w} is not constant").into())
}

fn check_bias(bias: Option<&Type>, outputs: &Dim, elem: Elem, module: &dyn Signatures) -> OpResult<()> {
    match bias {
        Some(bias) if bias.elem != elem || bias.rank() != 1 || !may_equal(&bias.dims[0], outputs, module) => {
            bail!("bias {bias} is not {elem}[{outputs}]")
        }
        _ => Ok(()),
    }
}

/// Everything but the elements.
struct Plan {
    patches: Patches,
    images: usize,
    group: usize,
    /// Channels and outputs of a group.
    inputs: usize,
    outputs: usize,
    transposed: bool,
}

impl Plan {
    fn eval(&self, args: &Args<Tensor>, dims: Vec<usize>) -> OpResult<Vec<Tensor>> {
        match args[0].elem() {
            Elem::I32 => {
                let (x, w) = (args[0].values::<i32>()?, args[1].values::<i32>()?);
                let bias = args.get(2).map(|b| b.values::<i32>()).transpose()?;
                let y = self.run(&x, &w, bias.as_deref(), i32::wrapping_add);
                Ok(vec![Tensor::from_vec(dims, y)?])
            }
            Elem::F64 => self.real::<f64>(args, dims),
            _ => self.real::<f32>(args, dims),
        }
    }

    fn real<T: Real + Number>(&self, args: &Args<Tensor>, dims: Vec<usize>) -> OpResult<Vec<Tensor>> {
        let bias = args.get(2).map(T::read).transpose()?;
        let y = self.run(&T::read(&args[0])?, &T::read(&args[1])?, bias.as_deref(), |a, b| a + b);
        Ok(vec![T::write(args[0].elem(), dims, y)?])
    }

    fn run<T: Number>(&self, x: &[T], w: &[T], bias: Option<&[T]>, add: fn(T, T) -> T) -> Vec<T> {
        let (of_x, of_y) = match self.transposed {
            false => (self.patches.extents.iter().product::<usize>(), self.patches.windows()),
            true => (self.patches.windows(), self.patches.extents.iter().product()),
        };
        let (of_x, of_y) = (of_x * self.inputs, of_y * self.outputs);
        let of_w = self.inputs * self.outputs * self.patches.taps();
        let mut y = vec![T::default(); self.images * self.group * of_y];
        for part in 0..self.images * self.group {
            let group = part % self.group;
            let (x, w) = (&x[part * of_x..][..of_x], &w[group * of_w..][..of_w]);
            let y = &mut y[part * of_y..][..of_y];
            match self.transposed {
                false => self.convolve(x, w, y),
                true => self.spread(x, w, y, add),
            }
            if let Some(bias) = bias {
                let bias = &bias[group * self.outputs..];
                for (y, b) in y.chunks_mut((of_y / self.outputs.max(1)).max(1)).zip(bias) {
                    y.iter_mut().for_each(|y| *y = add(*y, *b));
                }
            }
        }
        y
    }

    /// `y[outputs, windows] = w · patches(x)`.
    fn convolve<T: Number>(&self, x: &[T], w: &[T], y: &mut [T]) {
        let rows = self.inputs * self.patches.taps();
        let (all, extent) = (self.patches.windows(), x.len() / self.inputs.max(1));
        for windows in self.patches.tiles(rows) {
            let n = windows.len();
            let mut matrix = vec![T::default(); rows * n];
            for (c, matrix) in matrix.chunks_mut(self.patches.taps() * n).enumerate() {
                self.patches.gather(&x[c * extent..][..extent], windows.clone(), matrix);
            }
            let mut sums = vec![T::default(); self.outputs * n];
            product(w, &matrix, false, rows, n, &mut sums);
            for (y, sums) in y.chunks_mut(all).zip(sums.chunks(n)) {
                y[windows.clone()].copy_from_slice(sums);
            }
        }
    }

    /// Adds `wᵀ · x[inputs, windows]` to the elements of `y` under each window.
    fn spread<T: Number>(&self, x: &[T], w: &[T], y: &mut [T], add: fn(T, T) -> T) {
        let taps = self.patches.taps();
        let rows = self.outputs * taps;
        let transposed: Vec<T> = (0..w.len()).map(|i| w[i % self.inputs * rows + i / self.inputs]).collect();
        let (all, extent) = (self.patches.windows(), y.len() / self.outputs.max(1));
        for windows in self.patches.tiles(rows.max(self.inputs)) {
            let n = windows.len();
            let columns: Vec<T> = x.chunks(all).flat_map(|x| &x[windows.clone()]).copied().collect();
            let mut matrix = vec![T::default(); rows * n];
            product(&transposed, &columns, false, self.inputs, n, &mut matrix);
            for (c, matrix) in matrix.chunks(taps * n).enumerate() {
                self.patches.scatter(matrix, windows.clone(), &mut y[c * extent..][..extent], add);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(dims: &[usize]) -> Tensor {
        let n = dims.iter().product::<usize>();
        Tensor::from_vec(dims.to_vec(), (0..n).map(|i| (i * 7 % 11) as f32 - 5.0).collect()).unwrap()
    }

    fn run(op: impl Into<Op>, args: &[&Tensor]) -> OpResult<Tensor> {
        let op = op.into();
        let types: Vec<_> = args.iter().map(|a| a.ty()).collect();
        let inferred = op.infer(&types.iter().map(Some).collect::<Vec<_>>(), &())?;
        let args: Vec<_> = args.iter().map(|a| Some(*a)).collect();
        let y = op.eval(&args, &DimEnv::default())?.remove(0);
        assert_eq!(inferred, [y.ty()]);
        Ok(y)
    }

    /// Every `(y, x, w)` of offsets whose product is part of a two-dimensional convolution.
    fn terms(op: &Conv, x: &[usize], w: &[usize], y: &[usize]) -> Vec<[usize; 3]> {
        let mut terms = vec![];
        let per_group = y[1] / op.group;
        let outer = (0..y[0]).flat_map(|b| (0..y[1]).map(move |j| (b, j)));
        for (b, j) in outer {
            for at in 0..y[2] * y[3] {
                for tap in 0..w[1] * w[2] * w[3] {
                    let (c, ky, kx) = (tap / (w[2] * w[3]), tap / w[3] % w[2], tap % w[3]);
                    let h = (at / y[3] * op.strides[0] + ky * op.dilations[0]).wrapping_sub(op.pads[0]);
                    let v = (at % y[3] * op.strides[1] + kx * op.dilations[1]).wrapping_sub(op.pads[1]);
                    if h < x[2] && v < x[3] {
                        let channel = j / per_group * w[1] + c;
                        let of_x = ((b * x[1] + channel) * x[2] + h) * x[3] + v;
                        terms.push([(b * y[1] + j) * y[2] * y[3] + at, of_x, j * w[1] * w[2] * w[3] + tap]);
                    }
                }
            }
        }
        terms
    }

    fn cases() -> Vec<Conv> {
        let conv = |strides: [usize; 2], pads: [usize; 4], dilations: [usize; 2], group| Conv {
            strides: strides.into(),
            pads: pads.into(),
            dilations: dilations.into(),
            group,
        };
        vec![
            conv([1, 1], [0; 4], [1, 1], 1),
            conv([2, 1], [1, 0, 2, 3], [1, 2], 1),
            conv([1, 3], [1; 4], [2, 1], 2),
            conv([2, 2], [3, 3, 3, 3], [1, 1], 4),
        ]
    }

    #[test]
    fn convolutions_are_the_defining_sum() {
        for op in cases() {
            let (x, w) = (counting(&[2, 4, 6, 7]), counting(&[8, 4 / op.group, 3, 2]));
            let bias = counting(&[8]);
            let y = run(op.clone(), &[&x, &w, &bias]).unwrap();
            let plane = y.dims()[2] * y.dims()[3];
            let b = bias.values::<f32>().unwrap();
            let mut want: Vec<f32> = (0..y.len()).map(|i| b[i / plane % 8]).collect();
            for [i, j, k] in terms(&op, x.dims(), w.dims(), y.dims()) {
                want[i] += x.values::<f32>().unwrap()[j] * w.values::<f32>().unwrap()[k];
            }
            assert_eq!(&*y.values::<f32>().unwrap(), want, "{op:?}");
        }
    }

    #[test]
    fn transposed_convolutions_swap_input_and_output() {
        for op in cases() {
            let (from, w) = ([2, 4, 6, 7], counting(&[8, 4 / op.group, 3, 2]));
            let x = run(op.clone(), &[&counting(&from), &w]).unwrap();
            // What a stride of the convolution passed over.
            let shortfall = |i: usize| {
                let room = from[i + 2] + op.pads[i] + op.pads[i + 2];
                (room - (w.dims()[i + 2] - 1) * op.dilations[i] - 1) % op.strides[i]
            };
            let transposed = ConvTranspose {
                strides: op.strides.clone(),
                pads: op.pads.clone(),
                dilations: op.dilations.clone(),
                output_padding: vec![shortfall(0), shortfall(1)],
                group: op.group,
            };
            let y = run(transposed, &[&x, &w]).unwrap();
            assert_eq!(y.dims(), from);
            let mut want = vec![0f32; y.len()];
            for [i, j, k] in terms(&op, &from, w.dims(), x.dims()) {
                want[j] += x.values::<f32>().unwrap()[i] * w.values::<f32>().unwrap()[k];
            }
            assert_eq!(&*y.values::<f32>().unwrap(), want, "{op:?}");
        }
    }

    #[test]
    fn integers_and_halves_are_convolved() {
        let op = Conv { strides: vec![1], pads: vec![0, 1], dilations: vec![1], group: 1 };
        let x = Tensor::from_vec(vec![1, 1, 3], vec![1i32 << 30, 2, 3]).unwrap();
        let w = Tensor::from_vec(vec![1, 1, 2], vec![4i32, -1]).unwrap();
        assert_eq!(&*run(op.clone(), &[&x, &w]).unwrap().values::<i32>().unwrap(), [-2, 5, 12]);
        let halves = |v: &[f32]| {
            let v: Vec<_> = v.iter().map(|v| half::f16::from_f32(*v)).collect();
            Tensor::from_vec(vec![1, 1, v.len()], v).unwrap()
        };
        let y = run(op, &[&halves(&[1.0, 2.0, 3.0]), &halves(&[4.0, -1.0])]).unwrap();
        assert_eq!(y, halves(&[2.0, 5.0, 12.0]));
    }

    #[test]
    fn empty_batches_channels_and_outputs_are_fine() {
        let op = Conv { strides: vec![1], pads: vec![0, 0], dilations: vec![1], group: 1 };
        for (x, w) in [([0, 2, 5], [3, 2, 2]), ([1, 0, 5], [3, 0, 2]), ([1, 2, 5], [0, 2, 2])] {
            let y = run(op.clone(), &[&counting(&x), &counting(&w)]).unwrap();
            assert!(y.values::<f32>().unwrap().iter().all(|v| *v == 0.0));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let op = Conv { strides: vec![1], pads: vec![0, 0], dilations: vec![1], group: 2 };
        let shapes = [([1, 4, 5], [2, 4, 3]), ([1, 4, 5], [3, 2, 3]), ([1, 4, 5], [2, 2, 6])];
        for (x, w) in shapes {
            assert!(run(op.clone(), &[&counting(&x), &counting(&w)]).is_err(), "{x:?} {w:?}");
        }
        assert!(
            run(Conv { group: 0, ..op.clone() }, &[&counting(&[1, 4, 5]), &counting(&[2, 2, 3])]).is_err()
        );
        let x = Type::new(Elem::F32, [Dim::constant(1), Dim::constant(4), Dim::symbol("t")]);
        let w = Type::new(Elem::F32, [2usize, 2, 3]);
        let strided = Conv { strides: vec![2], ..op };
        let y = Op::from(strided).infer(&[Some(&x), Some(&w)], &()).unwrap();
        assert_eq!(y[0].to_string(), "f32[1,2,floordiv(t+1,2)-1]");
    }
}
