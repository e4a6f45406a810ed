//! Random numbers by counter: a number depends on the seed and on its place alone, not on which thread asks, or
//! when.

/// A sequence of numbers that can be asked for in any order.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub seed: u64,
    /// The place of the first.
    pub start: u64,
}

impl Draw {
    /// The number at a place after the first, uniform in [0, 1).
    pub fn uniform(self, place: usize) -> f64 {
        (self.bits(place) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The number at a place after the first, uniform among the multiples of 2⁻²⁴ in [0, 1).
    pub fn uniform_f32(self, place: usize) -> f32 {
        (self.bits(place) >> 40) as f32 / (1u32 << 24) as f32
    }

    /// A sequence of its own for each `index`.
    pub fn branch(self, index: usize) -> Draw {
        Draw { seed: self.bits(index), start: 0 }
    }

    fn bits(self, place: usize) -> u64 {
        let counter = self.start.wrapping_add(place as u64);
        mix(mix(self.seed.wrapping_add(GOLDEN)) ^ counter.wrapping_mul(GOLDEN))
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform_and_depend_on_place_and_seed_alone() {
        let draw = Draw { seed: 7, start: 0 };
        let numbers: Vec<f64> = (0..20_000).map(|i| draw.uniform(i)).collect();
        let mean = numbers.iter().sum::<f64>() / 20_000.0;
        let correlation: f64 =
            numbers.windows(2).map(|w| (w[0] - 0.5) * (w[1] - 0.5)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.5).abs() < 0.01 && correlation.abs() < 0.003, "{mean} {correlation}");
        assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)));
        assert_eq!(Draw { seed: 7, start: 90 }.uniform(9), numbers[99]);
        assert!(Draw { seed: 8, start: 0 }.uniform(0) != numbers[0]);
        // The first bits of the same numbers, rounded down.
        assert!((0..1000).all(|i| {
            let lost = numbers[i] - f64::from(draw.uniform_f32(i));
            (0.0..1.0 / f64::from(1 << 24)).contains(&lost)
        }));
        let apart = (0..1000).filter(|i| draw.branch(0).uniform(*i) == draw.branch(1).uniform(*i));
        assert_eq!(apart.count(), 0);
    }
}
