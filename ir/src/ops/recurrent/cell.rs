//! One step of a recurrent layer, and its repetition along sequences.

use super::*;
use crate::bail;
use crate::ops::matmul::{Number, product};
use crate::ops::real::{Real, in_real};

/// How the state follows from the gates.
pub(in crate::ops) enum Gated {
    None,
    Update { linear_before_reset: bool },
    Memory { input_forget: bool },
}

/// A layer but for its tensors.
pub(in crate::ops) struct Unroll<'a> {
    pub gated: Gated,
    pub gates: usize,
    pub direction: Direction,
    pub activations: &'a [Activation],
    pub clip: Option<f32>,
    /// The shape of all states, `[seq, directions, batch, hidden]`.
    pub y: Vec<usize>,
}

/// All states, the last `h` and the last `c`.
pub(in crate::ops) fn evaluate(layer: &Unroll, args: &Args<Tensor>) -> OpResult<Vec<Tensor>> {
    in_real!(args[0].elem(), unroll(layer, args))
}

/// The weights of one direction.
struct Cell<'a, T> {
    layer: &'a Unroll<'a>,
    hidden: usize,
    activations: &'a [Activation],
    /// `r` by gate, each transposed.
    r: Vec<Vec<T>>,
    /// Biases of `r`; empty for none.
    bias: &'a [T],
    peepholes: Option<&'a [T]>,
}

fn unroll<T: Real + Number>(layer: &Unroll, args: &Args<Tensor>) -> OpResult<Vec<Tensor>> {
    let &[seq, directions, batch, hidden] = layer.y.as_slice() else { bail!("states are of four axes") };
    let (input, rows) = (args[0].dims()[2], layer.gates * hidden);
    let read = |i: usize| args.get(i).map(T::read).transpose();
    let (x, w, r) = (T::read(&args[0])?, T::read(&args[1])?, T::read(&args[2])?);
    let (bias, peepholes) = (read(3)?, read(7)?);
    let lens = lens(args.get(4), seq, batch)?;
    let initial = |i: usize| -> OpResult<Vec<T>> {
        Ok(read(i)?.map_or_else(|| vec![T::default(); directions * batch * hidden], |v| v.into_owned()))
    };
    let (mut h, mut c) = (initial(5)?, initial(6)?);
    let mut y = vec![T::default(); layer.y.iter().product()];
    let per_direction = layer.activations.len() / directions;
    for d in 0..directions {
        let bias = bias.as_ref().map_or(&[][..], |b| &b[d * 2 * rows..][..2 * rows]);
        let (of_w, of_r) = bias.split_at(bias.len() / 2);
        let cell = Cell {
            layer,
            hidden,
            activations: &layer.activations[d * per_direction..][..per_direction],
            r: transposed(&r[d * rows * hidden..][..rows * hidden], layer.gates, hidden),
            bias: of_r,
            peepholes: peepholes.as_ref().map(|p| &p[d * 3 * hidden..][..3 * hidden]),
        };
        let mut gates = vec![T::default(); seq * batch * rows];
        product(&x, &w[d * rows * input..][..rows * input], true, input, rows, &mut gates);
        let reverse = layer.direction == Direction::Reverse || d == 1;
        for b in 0..batch {
            let state = (d * batch + b) * hidden..(d * batch + b + 1) * hidden;
            let (h, c) = (&mut h[state.clone()], &mut c[state]);
            for step in 0..lens[b] {
                let t = if reverse { lens[b] - 1 - step } else { step };
                let gates = &mut gates[(t * batch + b) * rows..][..rows];
                gates.iter_mut().zip(of_w).for_each(|(g, b)| *g += *b);
                cell.step(gates, h, c);
                y[((t * directions + d) * batch + b) * hidden..][..hidden].copy_from_slice(h);
            }
        }
    }
    let elem = args[0].elem();
    let last = layer.y[1..].to_vec();
    Ok(vec![T::write(elem, layer.y.clone(), y)?, T::write(elem, last.clone(), h)?, T::write(elem, last, c)?])
}

fn lens(lens: Option<&Tensor>, seq: usize, batch: usize) -> OpResult<Vec<usize>> {
    let Some(lens) = lens else { return Ok(vec![seq; batch]) };
    let one = |len: &i32| match usize::try_from(*len) {
        Ok(len) if len <= seq => Ok(len),
        _ => bail!("a length of {len} for sequences of {seq}"),
    };
    lens.values::<i32>()?.iter().map(one).collect()
}

/// The square matrices of `r`, each transposed.
fn transposed<T: Copy>(r: &[T], gates: usize, hidden: usize) -> Vec<Vec<T>> {
    let square = hidden * hidden;
    let gate = |g: usize| (0..square).map(|i| r[g * square + i % hidden * hidden + i / hidden]).collect();
    (0..gates).map(gate).collect()
}

impl<T: Real + Number> Cell<'_, T> {
    /// The next state, from `gates`, which hold `W·x + Wb`.
    fn step(&self, gates: &mut [T], h: &mut [T], c: &mut [T]) {
        match self.layer.gated {
            Gated::None => {
                self.recur(0, h, gates);
                for (h, g) in h.iter_mut().zip(gates) {
                    *h = self.activate(0, *g);
                }
            }
            Gated::Update { linear_before_reset } => self.update(linear_before_reset, gates, h),
            Gated::Memory { input_forget } => self.remember(input_forget, gates, h, c),
        }
    }

    fn update(&self, linear_before_reset: bool, gates: &mut [T], h: &mut [T]) {
        let n = self.hidden;
        let (zr, candidate) = gates.split_at_mut(2 * n);
        let (z, r) = zr.split_at_mut(n);
        self.recur(0, h, z);
        self.recur(1, h, r);
        z.iter_mut().chain(r.iter_mut()).for_each(|g| *g = self.activate(0, *g));
        if linear_before_reset {
            let mut recurrent = vec![T::default(); n];
            self.recur(2, h, &mut recurrent);
            for ((v, r), recurrent) in candidate.iter_mut().zip(r).zip(recurrent) {
                *v += *r * recurrent;
            }
        } else {
            let reset: Vec<T> = r.iter().zip(h.iter()).map(|(r, h)| *r * *h).collect();
            self.recur(2, &reset, candidate);
        }
        for ((h, z), v) in h.iter_mut().zip(z).zip(candidate) {
            *h = (T::of(1.0) - *z) * self.activate(1, *v) + *z * *h;
        }
    }

    fn remember(&self, input_forget: bool, gates: &mut [T], h: &mut [T], c: &mut [T]) {
        let n = self.hidden;
        for (gate, g) in gates.chunks_mut(n.max(1)).enumerate() {
            self.recur(gate, h, g);
        }
        for (j, (h, c)) in h.iter_mut().zip(c).enumerate() {
            let gate = |gate: usize, peephole: usize, c: T| {
                let g = gates[gate * n + j];
                self.activate(0, self.peepholes.map_or(g, |p| g + p[peephole * n + j] * c))
            };
            let input = gate(0, 0, *c);
            let forget = if input_forget { T::of(1.0) - input } else { gate(2, 2, *c) };
            *c = forget * *c + input * self.activate(1, gates[3 * n + j]);
            *h = gate(1, 1, *c) * self.activations[2].apply(*c);
        }
    }

    /// Adds `R·h + Rb` of a gate to `y`.
    fn recur(&self, gate: usize, h: &[T], y: &mut [T]) {
        let mut sums = vec![T::default(); self.hidden];
        product(h, &self.r[gate], false, self.hidden, self.hidden, &mut sums);
        for (j, (y, sum)) in y.iter_mut().zip(sums).enumerate() {
            *y += self.bias.get(gate * self.hidden + j).map_or(sum, |b| sum + *b);
        }
    }

    fn activate(&self, i: usize, x: T) -> T {
        let clipped = self.layer.clip.map_or(x, |clip| x.smaller(T::of(clip)).larger(T::of(-clip)));
        self.activations[i].apply(clipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Activation::{Relu, Sigmoid, Tanh};

    fn tensor(dims: &[usize], f: impl Fn(usize) -> f32) -> Tensor {
        let n = dims.iter().product::<usize>();
        Tensor::from_vec(dims.to_vec(), (0..n).map(f).collect()).unwrap()
    }

    fn waves(dims: &[usize]) -> Tensor {
        tensor(dims, |i| (i as f32 * 1.7 + dims.len() as f32).sin())
    }

    fn run(op: impl Into<Op>, args: &[Option<&Tensor>]) -> OpResult<Vec<Tensor>> {
        let op = op.into();
        let types: Vec<_> = args.iter().map(|a| a.map(Tensor::ty)).collect();
        let inferred = op.infer(&types.iter().map(Option::as_ref).collect::<Vec<_>>(), &())?;
        let y = op.eval(args, &DimEnv::default())?;
        assert_eq!(inferred, y.iter().map(Tensor::ty).collect::<Vec<_>>());
        Ok(y)
    }

    fn floats(t: &Tensor) -> Vec<f32> {
        t.values::<f32>().unwrap().to_vec()
    }

    fn lstm(direction: Direction) -> Lstm {
        let activations = [Sigmoid, Tanh, Tanh].repeat(direction.count());
        Lstm { direction, activations, clip: None, input_forget: false }
    }

    #[test]
    fn a_plain_layer_sums_up_its_input() {
        let op = Rnn { direction: Direction::Forward, activations: vec![Relu], clip: Some(4.5) };
        let x = tensor(&[3, 1, 1], |i| i as f32 + 1.0);
        let one = tensor(&[1, 1, 1], |_| 1.0);
        let bias = tensor(&[1, 2], |i| [0.25, -0.25][i]);
        let y = run(op, &[Some(&x), Some(&one), Some(&one), Some(&bias)]).unwrap();
        assert_eq!(floats(&y[0]), [1.0, 3.0, 4.5]);
        assert_eq!(floats(&y[1]), [4.5]);
    }

    #[test]
    fn gates_follow_their_equations() {
        let sigmoid = |v: f32| 1.0 / (1.0 + (-v).exp());
        let (x, h0, c0) =
            (tensor(&[1, 1, 1], |_| 0.7), tensor(&[1, 1, 1], |_| 0.4), tensor(&[1, 1, 1], |_| -0.3));
        let (w, r) = (
            tensor(&[1, 4, 1], |i| [0.1, 0.2, 0.3, 0.4][i]),
            tensor(&[1, 4, 1], |i| [0.5, -0.6, 0.7, -0.8][i]),
        );
        let bias = tensor(&[1, 8], |i| i as f32 * 0.1);
        let p = tensor(&[1, 3], |i| [0.9, -0.7, 0.5][i]);
        let g = |i: usize| {
            let (w, r, b) = (floats(&w)[i], floats(&r)[i], floats(&bias));
            w * 0.7 + b[i] + r * 0.4 + b[i + 4]
        };
        let (input, forget) = (sigmoid(g(0) + 0.9 * -0.3), sigmoid(g(2) + 0.5 * -0.3));
        for (input_forget, forget) in [(false, forget), (true, 1.0 - input)] {
            let c = forget * -0.3 + input * g(3).tanh();
            let h = sigmoid(g(1) + -0.7 * c) * c.tanh();
            let op = Lstm { input_forget, ..lstm(Direction::Forward) };
            let args =
                [&x, &w, &r, &bias].map(Some).into_iter().chain([None]).chain([&h0, &c0, &p].map(Some));
            let y = run(op, &args.collect::<Vec<_>>()).unwrap();
            assert!((floats(&y[1])[0] - h).abs() < 1e-6 && (floats(&y[2])[0] - c).abs() < 1e-6);
        }

        let (w, r) = (tensor(&[1, 3, 1], |i| floats(&w)[i]), tensor(&[1, 3, 1], |i| floats(&r)[i]));
        let bias = tensor(&[1, 6], |i| i as f32 * 0.1);
        let (gw, gr) = (|i: usize| floats(&w)[i] * 0.7 + i as f32 * 0.1, |i: usize| floats(&r)[i]);
        let rb = |i: usize| (i + 3) as f32 * 0.1;
        let z = sigmoid(gw(0) + gr(0) * 0.4 + rb(0));
        let reset = sigmoid(gw(1) + gr(1) * 0.4 + rb(1));
        for (linear_before_reset, n) in [
            (false, (gw(2) + gr(2) * (reset * 0.4) + rb(2)).tanh()),
            (true, (gw(2) + reset * (gr(2) * 0.4 + rb(2))).tanh()),
        ] {
            let op = Gru {
                direction: Direction::Forward,
                activations: vec![Sigmoid, Tanh],
                clip: None,
                linear_before_reset,
            };
            let y = run(op, &[Some(&x), Some(&w), Some(&r), Some(&bias), None, Some(&h0)]).unwrap();
            assert!((floats(&y[1])[0] - ((1.0 - z) * n + z * 0.4)).abs() < 1e-6);
        }
    }

    #[test]
    fn both_directions_are_each_direction_side_by_side() {
        let (x, w, r, bias) = (waves(&[4, 2, 3]), waves(&[2, 20, 3]), waves(&[2, 20, 5]), waves(&[2, 40]));
        let lens = Tensor::vector(vec![4i32, 2]);
        let both =
            run(lstm(Direction::Bidirectional), &[Some(&x), Some(&w), Some(&r), Some(&bias), Some(&lens)]);
        let both = both.unwrap();
        for (d, direction) in [Direction::Forward, Direction::Reverse].into_iter().enumerate() {
            let half = |t: &Tensor| {
                let n = t.len() / 2;
                let dims = [&[1], &t.dims()[1..]].concat();
                Tensor::from_vec(dims, floats(t)[d * n..][..n].to_vec()).unwrap()
            };
            let (w, r, bias) = (half(&w), half(&r), half(&bias));
            let one =
                run(lstm(direction), &[Some(&x), Some(&w), Some(&r), Some(&bias), Some(&lens)]).unwrap();
            assert_eq!(floats(&one[1]), floats(&both[1])[d * 10..][..10]);
            assert_eq!(floats(&one[2]), floats(&both[2])[d * 10..][..10]);
            for t in 0..4 {
                let states = &floats(&one[0])[t * 10..][..10];
                assert_eq!(states, &floats(&both[0])[(t * 2 + d) * 10..][..10]);
                // The second sequence is over after two steps.
                assert_eq!(t >= 2, states[5..] == [0.0; 5], "{t}");
            }
            let last = if d == 0 { [3, 1] } else { [0, 0] };
            for (b, t) in last.into_iter().enumerate() {
                assert_eq!(floats(&one[1])[b * 5..][..5], floats(&one[0])[t * 10 + b * 5..][..5]);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, w, r) = (waves(&[4, 2, 3]), waves(&[1, 20, 3]), waves(&[1, 20, 5]));
        let plain = [Some(&x), Some(&w), Some(&r), None];
        assert!(run(lstm(Direction::Forward), &plain).is_ok());
        assert!(run(lstm(Direction::Bidirectional), &plain).is_err());
        let three = Lstm { activations: vec![Sigmoid], ..lstm(Direction::Forward) };
        assert!(run(three, &plain).is_err());
        for lens in [vec![5i32, 1], vec![-1, 1], vec![1]] {
            let lens = Tensor::vector(lens);
            let args = [plain.as_slice(), &[Some(&lens)]].concat();
            assert!(run(lstm(Direction::Forward), &args).is_err());
        }
        let message = run(lstm(Direction::Forward), &[Some(&x), Some(&r), Some(&r)]).unwrap_err().to_string();
        assert_eq!(message, "`w` is f32[1,20,5], not f32[1,20,3]");
    }
}
