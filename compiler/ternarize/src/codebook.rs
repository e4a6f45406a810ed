//! The values that a weight of a group can take, as a linear function of the group's few coefficients.
//!
//! One symmetric plane has one coefficient and the levels -α, 0, α; planes, a scale for each sign, an offset and
//! tied planes only have more codes or more coefficients. A solver that rounds to the nearest level and fits
//! coefficients by least squares serves them all.

use super::Alphabet;

/// Planes that one codebook can hold.
pub const MAX_PLANES: usize = 4;

/// Codes, and what each says of the trits and of the coefficients.
#[derive(Clone, Debug, PartialEq)]
pub struct Codebook {
    planes: Vec<Alphabet>,
    /// Whether each plane's scale is a third of the one before it.
    tied: bool,
    offset: bool,
    /// A trit for each plane, code by code.
    trits: Vec<i8>,
    /// A factor for each coefficient, code by code.
    factors: Vec<f64>,
    coefficients: usize,
}

impl Codebook {
    /// -α, 0, α.
    pub fn ternary() -> Codebook {
        Codebook::new(vec![Alphabet::Ternary], false, false)
    }

    /// -α₋, 0, α₊; with an offset, any three values.
    pub fn signed(offset: bool) -> Codebook {
        Codebook::new(vec![Alphabet::Ternary, Alphabet::Magnitude], false, offset)
    }

    /// As many planes, each with its own scales, or with each a third of the one before.
    pub fn planes(alphabet: Alphabet, count: usize, tied: bool) -> Codebook {
        Codebook::new(vec![alphabet; count], tied && count > 1, false)
    }

    /// The same with an offset.
    pub fn with_offset(&self) -> Codebook {
        Codebook::new(self.planes.clone(), self.tied, true)
    }

    fn new(planes: Vec<Alphabet>, tied: bool, offset: bool) -> Codebook {
        let mut codes: Vec<Vec<i8>> = vec![vec![]];
        for alphabet in &planes {
            let more = |code: &Vec<i8>| -> Vec<Vec<i8>> {
                let trits = match alphabet {
                    Alphabet::Ternary => vec![-1, 0, 1],
                    Alphabet::Binary => vec![-1, 1],
                    Alphabet::Magnitude => vec![code.last().map_or(0, |t| t.abs())],
                };
                trits.into_iter().map(|t| [&code[..], &[t]].concat()).collect()
            };
            codes = codes.iter().flat_map(more).collect();
        }
        let factors = codes.iter().flat_map(|trits| {
            let mut factors: Vec<f64> = trits.iter().map(|t| f64::from(*t)).collect();
            if tied {
                factors = vec![factors.iter().fold(0.0, |sum, t| 3.0 * sum + t)];
            }
            factors.extend(offset.then_some(1.0));
            factors
        });
        let factors: Vec<f64> = factors.collect();
        let coefficients = factors.len() / codes.len();
        Codebook { planes, tied, offset, trits: codes.concat(), factors, coefficients }
    }

    pub fn alphabets(&self) -> &[Alphabet] {
        &self.planes
    }

    pub fn has_offset(&self) -> bool {
        self.offset
    }

    /// Coefficients of a group.
    pub fn coefficients(&self) -> usize {
        self.coefficients
    }

    /// Codes there are.
    pub fn len(&self) -> usize {
        self.factors.len() / self.coefficients
    }

    /// The factors of a code, one a coefficient.
    pub fn factors(&self, code: u8) -> &[f64] {
        &self.factors[usize::from(code) * self.coefficients..][..self.coefficients]
    }

    /// The trits of a code, one a plane.
    pub fn trits(&self, code: u8) -> &[i8] {
        &self.trits[usize::from(code) * self.planes.len()..][..self.planes.len()]
    }

    /// The code of these trits.
    pub fn code(&self, trits: &[i8]) -> Option<u8> {
        self.trits.chunks(self.planes.len()).position(|t| t == trits).map(|code| code as u8)
    }

    /// The values of all codes under a group's coefficients.
    pub fn levels(&self, coefficients: &[f64], out: &mut Vec<f64>) {
        out.clear();
        out.extend(self.factors.chunks(self.coefficients).map(|f| super::metric::dot(f, coefficients)));
    }

    /// The scale of each plane under a group's coefficients.
    pub fn scales(&self, coefficients: &[f64]) -> Vec<f64> {
        let count = self.planes.len();
        match self.tied {
            true => (0..count).map(|p| coefficients[0] * 3f64.powi((count - 1 - p) as i32)).collect(),
            false => coefficients[..count].to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(codebook: &Codebook, coefficients: &[f64]) -> Vec<f64> {
        let mut out = vec![];
        codebook.levels(coefficients, &mut out);
        out
    }

    #[test]
    fn levels_are_what_the_names_say() {
        assert_eq!(levels(&Codebook::ternary(), &[2.0]), [-2.0, 0.0, 2.0]);
        assert_eq!(levels(&Codebook::planes(Alphabet::Binary, 1, false), &[2.0]), [-2.0, 2.0]);
        assert_eq!(levels(&Codebook::ternary().with_offset(), &[2.0, 0.5]), [-1.5, 0.5, 2.5]);
        assert_eq!(levels(&Codebook::signed(false), &[2.0, 0.5]), [-1.5, 0.0, 2.5]);
        assert_eq!(
            levels(&Codebook::planes(Alphabet::Ternary, 2, true), &[1.0]),
            [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
        );
        assert_eq!(Codebook::planes(Alphabet::Ternary, 3, false).len(), 27);
        assert_eq!(Codebook::planes(Alphabet::Ternary, MAX_PLANES, false).len(), 81);
        assert_eq!(Codebook::planes(Alphabet::Ternary, 3, true).scales(&[0.5]), [4.5, 1.5, 0.5]);
    }

    #[test]
    fn codes_and_trits_are_inverse() {
        for codebook in [
            Codebook::planes(Alphabet::Binary, 1, false),
            Codebook::signed(true),
            Codebook::planes(Alphabet::Ternary, 3, false),
        ] {
            for code in 0..codebook.len() as u8 {
                assert_eq!(codebook.code(codebook.trits(code)), Some(code));
            }
        }
        assert_eq!(Codebook::planes(Alphabet::Binary, 1, false).code(&[0]), None);
    }
}
