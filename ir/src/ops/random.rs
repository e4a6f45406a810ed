//! Random numbers as a value.

use super::layout::args::dimensions;
use super::*;
use crate::op;
use crate::random::Draw;
use crate::tensor::result_count;
use crate::ty::Elem;

op! {
    /// Numbers of f32, uniform among the multiples of 2⁻²⁴ in [0, 1). That at `[i, j, …]` depends on `seed`, `stream` and
    /// these indices alone: not on how long the axes are, on threads, or on what was drawn before.
    RandomUniform = "random_uniform" () {
        seed: u64,
        /// Which of the sequences of one seed.
        stream: usize,
        dims: Vec<Dim>,
    }
}

impl OpDef for RandomUniform {
    const SIZES: Sizes = Sizes::Read;

    fn infer(&self, _: Args<Type>, _: &dyn Signatures) -> OpResult<Vec<Type>> {
        Ok(vec![Type { elem: Elem::F32, dims: dimensions(&self.dims)? }])
    }

    fn eval(&self, _: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let dims = resolve(&self.dims, cx.dims())?;
        let mut numbers = Vec::with_capacity(result_count(Elem::F32, &dims)?);
        fill(Draw { seed: self.seed, start: 0 }.branch(self.stream), &dims, &mut numbers);
        Ok(vec![Tensor::from_vec(dims, numbers)?])
    }
}

fn fill(draw: Draw, dims: &[usize], numbers: &mut Vec<f32>) {
    match dims {
        [] => numbers.push(draw.uniform_f32(0)),
        [last] => numbers.extend((0..*last).map(|i| draw.uniform_f32(i))),
        // Branches of nothing would take time and give nothing.
        [_, rest @ ..] if rest.contains(&0) => {}
        [first, rest @ ..] => (0..*first).for_each(|i| fill(draw.branch(i), rest, numbers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, stream: usize, dims: &[usize]) -> Vec<f32> {
        let op = RandomUniform { seed, stream, dims: dims.iter().map(|d| Dim::constant(*d)).collect() };
        let y = Op::from(op).eval(&[], &DimEnv::default()).unwrap().remove(0);
        assert_eq!(y.dims(), dims);
        y.values::<f32>().unwrap().to_vec()
    }

    #[test]
    fn a_number_depends_on_seed_stream_and_indices_alone() {
        let (large, small) = (draw(3, 1, &[4, 5, 6]), draw(3, 1, &[2, 3, 4]));
        for (at, number) in small.iter().enumerate() {
            let (i, j, k) = (at / 12, at / 4 % 3, at % 4);
            assert_eq!(*number, large[(i * 5 + j) * 6 + k]);
        }
        assert_ne!(draw(4, 1, &[3]), draw(3, 1, &[3]));
        assert_ne!(draw(3, 2, &[3]), draw(3, 1, &[3]));
        assert_eq!(draw(3, 1, &[1 << 40, 0]), [0f32; 0]);
    }

    #[test]
    fn numbers_are_uniform_along_every_axis() {
        let numbers = draw(0, 0, &[100, 100]);
        let mean = numbers.iter().sum::<f32>() / 1e4;
        assert!((mean - 0.5).abs() < 0.01 && numbers.iter().all(|n| (0.0..1.0).contains(n)), "{mean}");
        for line in 0..100 {
            let along: f32 = numbers[line * 100..][..100].iter().sum();
            let across: f32 = numbers.iter().skip(line).step_by(100).sum();
            // Four standard deviations of a sum of 100.
            assert!((along - 50.0).abs() < 11.6 && (across - 50.0).abs() < 11.6, "{along} {across}");
        }
    }
}
