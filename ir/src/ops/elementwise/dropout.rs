//! Dropout as in training, for models that were exported so.

use half::{bf16, f16};

use super::broadcast::zip;
use super::*;
use crate::ty::Elem;
use crate::{bail, op};

op! {
    /// `x`, and which of its elements were kept: all, unless `training` is true and the `ratio` is not 0. Then each
    /// element is dropped with probability `ratio` (one half without it) and the others are divided by
    /// `1 - ratio` (ONNX Dropout).
    ///
    /// An element is kept if the next number of the Mersenne Twister, seeded with `seed` and drawn as numpy's
    /// `RandomState.uniform` does, is at least `ratio`.
    Dropout = "dropout" (x, ratio: optional, training: optional) { seed: i64 }
}

impl OpDef for Dropout {
    fn infer(&self, args: Args<Type>, module: &dyn Signatures) -> OpResult<Vec<Type>> {
        let y = formulas::infer(&Args::new(&[Some(&args[0])]), false, module)?.remove(0);
        if let Some(ratio) = args.get(1)
            && !(ratio.elem.is_float() && ratio.count() == Some(Dim::constant(1)))
        {
            bail!("the ratio is one float, got {ratio}");
        }
        if let Some(training) = args.get(2)
            && !(training.elem == Elem::Bool && training.count() == Some(Dim::constant(1)))
        {
            bail!("`training` is one bool, got {training}");
        }
        let mask = y.with(Elem::Bool);
        Ok(vec![y, mask])
    }

    fn eval(&self, args: Args<Tensor>, cx: &dyn Context) -> OpResult<Vec<Tensor>> {
        let x = &args[0];
        let is_training = args.get(2).map(|t| t.bools().map(|mut b| b.next())).transpose()?.flatten();
        let ratio = match args.get(1) {
            Some(ratio) => Cast { to: Elem::F64 }.eval(Args::new(&[Some(ratio)]), cx)?[0].values::<f64>()?[0],
            None => 0.5,
        };
        if is_training != Some(true) || ratio == 0.0 {
            let mask = Tensor::from_bools(x.dims().to_vec(), std::iter::repeat_n(true, x.len()))?;
            return Ok(vec![x.clone(), mask]);
        }
        if !(0.0..1.0).contains(&ratio) {
            bail!("the ratio {ratio} is not in [0, 1)");
        }
        let mut random = MersenneTwister::new(self.seed as u32);
        let kept: Vec<u8> = (0..x.len()).map(|_| u8::from(random.uniform() >= ratio)).collect();
        let mask = Tensor::from_vec(x.dims().to_vec(), kept)?;
        let scale = 1.0 / (1.0 - ratio);
        let y = match x.elem() {
            Elem::F32 => zip(x, &mask, |x: f32, kept: u8| f32::from(kept) * x * scale as f32)?,
            Elem::F64 => zip(x, &mask, |x: f64, kept: u8| f64::from(kept) * x * scale)?,
            Elem::F16 => {
                zip(x, &mask, |x: f16, kept: u8| f16::from_f32(f32::from(kept) * x.to_f32() * scale as f32))?
            }
            Elem::Bf16 => zip(x, &mask, |x: bf16, kept: u8| {
                bf16::from_f32(f32::from(kept) * x.to_f32() * scale as f32)
            })?,
            elem => bail!("no dropout of {elem}"),
        };
        Ok(vec![y, Tensor::new(Elem::Bool, mask.dims().to_vec(), mask.bytes().clone())?])
    }
}

/// MT19937 (Matsumoto and Nishimura 1998).
struct MersenneTwister {
    state: [u32; 624],
    next: usize,
}

impl MersenneTwister {
    fn new(seed: u32) -> MersenneTwister {
        let mut state = [seed; 624];
        for i in 1..624 {
            let last = state[i - 1];
            state[i] = (last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        MersenneTwister { state, next: 624 }
    }

    /// In [0, 1), with 53 random bits.
    fn uniform(&mut self) -> f64 {
        let (high, low) = (self.draw() >> 5, self.draw() >> 6);
        (f64::from(high) * f64::from(1 << 26) + f64::from(low)) / (1u64 << 53) as f64
    }

    fn draw(&mut self) -> u32 {
        if self.next == 624 {
            for i in 0..624 {
                let joined = self.state[i] & 1 << 31 | self.state[(i + 1) % 624] & !(1 << 31);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % 624] ^ joined >> 1 ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{run, tensor};

    #[test]
    fn numbers_are_those_of_numpy() {
        // numpy.random.RandomState(0).uniform()
        let mut random = MersenneTwister::new(0);
        for want in [0.548_813_503_927_324_8, 0.715_189_366_372_419_5, 0.602_763_376_071_643_9] {
            assert_eq!(random.uniform(), want);
        }
    }

    #[test]
    fn nothing_is_dropped_out_of_training() {
        let x = tensor(&[3], &[1f32, 2.0, 3.0]);
        let (ratio, yes) = (Tensor::scalar(0.6f32), Tensor::from_bools(vec![], [true]).unwrap());
        let got = run(Dropout { seed: 0 }, &[Some(&x), Some(&ratio)]).unwrap();
        assert_eq!((&got[0], &got[1].bytes()[..]), (&x, [1u8; 3].as_slice()));
        let got = run(Dropout { seed: 0 }, &[Some(&x), Some(&ratio), Some(&yes)]).unwrap();
        assert_eq!(got[1].bytes()[..], [0, 1, 1]);
        let scale = (1.0 / (1.0 - f64::from(0.6f32))) as f32;
        assert_eq!(got[0].values::<f32>().unwrap()[..], [0.0, 2.0 * scale, 3.0 * scale]);
        let all = Tensor::scalar(1f32);
        assert!(run(Dropout { seed: 0 }, &[Some(&x), Some(&all), Some(&yes)]).is_err());
    }
}
