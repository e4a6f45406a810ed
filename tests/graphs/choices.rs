//! Where decisions come from: a seed, for graphs that can be made again, or the bytes of a fuzzer.
//!
//! Everything random goes through one place, so that a graph is a function of its seed alone, and a fuzzer that
//! changes a byte changes one decision and leaves those before it as they were.

/// A source of decisions.
pub struct Choices<'a> {
    bytes: Option<&'a [u8]>,
    state: u64,
}

impl Choices<'static> {
    pub fn of_seed(seed: u64) -> Self {
        Choices { bytes: None, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6a09_e667_f3bc_c908 }
    }
}

impl<'a> Choices<'a> {
    /// Decisions that `bytes` spell; once they are used up each is the first of what there is.
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Choices { bytes: Some(bytes), state: 0 }
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        let Some(bytes) = &mut self.bytes else { return (self.number() % n as u64) as usize };
        let width = if n <= 256 { 1 } else { 2 };
        let (head, rest) = bytes.split_at(width.min(bytes.len()));
        *bytes = rest;
        head.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)) % n
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    /// Yes so often in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// What random data starts from. It takes two of a fuzzer's bytes, however much data there is.
    pub fn seed(&mut self) -> u64 {
        match self.bytes {
            Some(_) => self.below(1 << 16) as u64,
            None => self.number(),
        }
    }

    /// The generator `splitmix64` (Steele, Lea and Flood, OOPSLA 2014).
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
