//! How well features tell classes apart, before and after they are rounded to few values (arXiv 2504.13792).
//!
//! The discrimination of features `x` is `D = inter / intra`: the mean of `E‖x − x'‖²` over pairs of classes, by that over
//! the classes themselves, each expectation over two draws from the examples, an example and itself among them. With
//! class means `m` and mean squares `s` these are `s_a + s_b − 2·m_a·m_b` and `2·(s_a − m_a·m_a)`, so one pass suffices.

use serde::Serialize;

/// What features are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// The sign where `|x| > τ`, else 0.
    Ternary,
    /// 1 where `x > τ`, else 0.
    Binary,
}

/// Features of examples, a row each, and the classes of the examples.
#[derive(Clone, Copy)]
pub struct Features<'a> {
    pub rows: &'a [f32],
    pub width: usize,
    pub classes: &'a [i64],
}

/// What rounding by one threshold gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    pub form: Form,
    /// Of `mean|x|`.
    pub multiple: f64,
    pub threshold: f32,
    /// None where all features became one value, or all of each class.
    #[serde(rename = "D")]
    pub discrimination: Option<f64>,
    /// The share of zeros, 0 to 1.
    pub zeros: f64,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Form::Ternary => "ternary",
            Form::Binary => "binary",
        }
    }

    pub fn round(self, x: f32, threshold: f32) -> f32 {
        match self {
            Form::Ternary if x.abs() > threshold => x.signum(),
            Form::Binary if x > threshold => 1.0,
            _ => 0.0,
        }
    }
}

impl Features<'_> {
    /// `mean|x|`.
    pub fn mean_magnitude(&self) -> f64 {
        self.rows.iter().map(|x| f64::from(x.abs())).sum::<f64>() / self.rows.len().max(1) as f64
    }

    /// `D`; none with fewer than two classes, or where no class has two different examples.
    pub fn discrimination(&self) -> Option<f64> {
        self.discrimination_of(|x| x)
    }

    /// The points of both forms at multiples of `mean|x|`.
    pub fn sweep(&self, multiples: &[f64]) -> Vec<Point> {
        let mean = self.mean_magnitude();
        let forms = [Form::Ternary, Form::Binary].into_iter();
        forms.flat_map(|form| multiples.iter().map(move |m| self.point(form, *m, mean))).collect()
    }

    fn point(&self, form: Form, multiple: f64, mean: f64) -> Point {
        let threshold = (multiple * mean) as f32;
        let zeros = self.rows.iter().filter(|x| form.round(**x, threshold) == 0.0).count();
        Point {
            form,
            multiple,
            threshold,
            discrimination: self.discrimination_of(|x| form.round(x, threshold)),
            zeros: zeros as f64 / self.rows.len().max(1) as f64,
        }
    }

    fn discrimination_of(&self, f: impl Fn(f32) -> f32) -> Option<f64> {
        let mut classes: Vec<i64> = self.classes.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let mut moments =
            vec![Moments { mean: vec![0.0; self.width], square: 0.0, count: 0.0 }; classes.len()];
        for (row, class) in self.rows.chunks(self.width.max(1)).zip(self.classes) {
            let moments = &mut moments[classes.binary_search(class).ok()?];
            moments.count += 1.0;
            for (sum, x) in moments.mean.iter_mut().zip(row) {
                let x = f64::from(f(*x));
                *sum += x;
                moments.square += x * x;
            }
        }
        for m in &mut moments {
            m.mean.iter_mut().for_each(|v| *v /= m.count);
            m.square /= m.count;
        }
        let dot = |a: &Moments, b: &Moments| a.mean.iter().zip(&b.mean).map(|(a, b)| a * b).sum::<f64>();
        let (mut inter, mut intra, mut pairs) = (0.0, 0.0, 0.0);
        for (i, a) in moments.iter().enumerate() {
            intra += 2.0 * (a.square - dot(a, a));
            for b in &moments[..i] {
                inter += a.square + b.square - 2.0 * dot(a, b);
                pairs += 1.0;
            }
        }
        let intra = intra / moments.len() as f64;
        (pairs > 0.0 && intra > 1e-12 * inter).then(|| inter / pairs / intra)
    }

    /// The share of examples whose class most of their `k` nearest neighbours have, the example left out; of classes with
    /// as many the one whose neighbour is nearest.
    pub fn neighbours_agree(&self, k: usize, f: impl Fn(f32) -> f32) -> f64 {
        let rows: Vec<f32> = self.rows.iter().map(|x| f(*x)).collect();
        let rows: Vec<&[f32]> = rows.chunks(self.width.max(1)).collect();
        let right = (0..rows.len()).filter(|i| {
            let distance =
                |j: usize| rows[*i].iter().zip(rows[j]).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            let mut others: Vec<(f32, usize)> =
                (0..rows.len()).filter(|j| j != i).map(|j| (distance(j), j)).collect();
            let k = k.min(others.len());
            if k == 0 {
                return false;
            }
            others.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            others.truncate(k);
            others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let nearest: Vec<i64> = others.iter().map(|(_, j)| self.classes[*j]).collect();
            let votes = |class: i64| nearest.iter().filter(|c| **c == class).count();
            let most = nearest.iter().map(|class| votes(*class)).max();
            nearest.iter().find(|class| Some(votes(**class)) == most) == Some(&self.classes[*i])
        });
        right.count() as f64 / rows.len().max(1) as f64
    }
}

/// Of one class: the mean of each feature, and of the squared length.
#[derive(Clone)]
struct Moments {
    mean: Vec<f64>,
    square: f64,
    count: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use trine_formats::npz::Npz;
    use trine_ir::math::Float;

    /// `D` of one feature of two classes `N(±μ, 1 − μ²)`: as it is, and the best that rounding gives.
    fn gaussian(form: Form, mu: f64) -> (f64, f64) {
        let sigma = (1.0 - mu * mu).sqrt();
        let above =
            |t: f64, mean: f64| 0.5 - 0.5 * Float::erf((t - mean) / sigma * std::f64::consts::FRAC_1_SQRT_2);
        let best = (0..4000).map(|i| f64::from(i) / 2000.0).map(|t| {
            let (right, wrong) = (above(t, mu), above(t, -mu));
            match form {
                // The other class is the mirror image.
                Form::Ternary => {
                    let mean = right - wrong;
                    1.0 + 2.0 * mean * mean / (right + wrong - mean * mean)
                }
                Form::Binary => {
                    1.0 + (right - wrong).powi(2) / (right * (1.0 - right) + wrong * (1.0 - wrong))
                }
            }
        });
        (1.0 + 2.0 * mu * mu / (sigma * sigma), best.filter(|d| d.is_finite()).fold(0.0, f64::max))
    }

    /// The paper's: a useful threshold exists for classes that are further apart than this.
    #[test]
    fn gaussian_classes_gain_from_where_the_analysis_says() {
        for (form, crossover) in [(Form::Ternary, 0.6635), (Form::Binary, 0.7648)] {
            let gains = |mu| {
                let (plain, rounded) = gaussian(form, mu);
                rounded > plain
            };
            let (mut low, mut high) = (0.5, 0.9);
            assert!(!gains(low) && gains(high));
            for _ in 0..30 {
                let middle = 0.5 * (low + high);
                if gains(middle) { high = middle } else { low = middle }
            }
            assert!((low - crossover).abs() < 1e-4, "{form:?} {low}");
        }
    }

    #[test]
    fn discrimination_is_its_definition() {
        let rows = [0.0f32, 1.0, 2.0, 1.0, 5.0, 0.0, -3.0, 2.0, 4.0, 4.0];
        let features = Features { rows: &rows, width: 2, classes: &[3, 3, 7, 7, 9] };
        let squared = |i: usize, j: usize| {
            f64::from((rows[2 * i] - rows[2 * j]).powi(2) + (rows[2 * i + 1] - rows[2 * j + 1]).powi(2))
        };
        let classes = [vec![0, 1], vec![2, 3], vec![4]];
        let mean = |a: &[usize], b: &[usize]| {
            let all: Vec<f64> = a.iter().flat_map(|i| b.iter().map(|j| squared(*i, *j))).collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        let intra = classes.iter().map(|c| mean(c, c)).sum::<f64>() / 3.0;
        let inter = (mean(&classes[0], &classes[1])
            + mean(&classes[0], &classes[2])
            + mean(&classes[1], &classes[2]))
            / 3.0;
        let got = features.discrimination().unwrap();
        assert!((got - inter / intra).abs() < 1e-12, "{got} {}", inter / intra);
        assert_eq!(Features { classes: &[1; 5], ..features }.discrimination(), None);
        assert!(features.sweep(&[1e6]).iter().all(|p| p.discrimination.is_none() && p.zeros == 1.0));
        // The nearest to each of the first two is the other; nobody else has one of its class near.
        assert_eq!(features.neighbours_agree(1, |x| x), 0.4);
    }

    /// scikit-learn's digits, each pixel standardized.
    #[test]
    fn digits_are_told_apart_better_once_they_are_ternary() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models/digits/images.npz");
        let mut data = Npz::open(path).unwrap();
        let images = data.get("x").unwrap().unwrap();
        let labels = data.get("y").unwrap().unwrap();
        let classes: Vec<i64> = labels.values::<u8>().unwrap().iter().map(|y| i64::from(*y)).collect();
        let pixels: Vec<f64> = images.values::<u8>().unwrap().iter().map(|x| f64::from(*x)).collect();
        let n = classes.len() as f64;
        let mut rows = vec![0f32; pixels.len()];
        for column in 0..64 {
            let of = || pixels.iter().skip(column).step_by(64);
            let mean = of().sum::<f64>() / n;
            let deviation = (of().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            for (i, x) in of().enumerate().filter(|_| deviation > 0.0) {
                rows[i * 64 + column] = ((x - mean) / deviation) as f32;
            }
        }
        let features = Features { rows: &rows, width: 64, classes: &classes };
        let plain = features.discrimination().unwrap();
        let point = features.sweep(&[1.0])[0];
        let ternary = point.discrimination.unwrap();
        assert!((plain - 1.494).abs() < 0.001 && (ternary - 1.663).abs() < 0.001, "{plain} {ternary}");
        // Five neighbours agree a little less often than before.
        let before = features.neighbours_agree(1, |x| x);
        let after = features.neighbours_agree(1, |x| Form::Ternary.round(x, point.threshold));
        assert!(before > 0.97 && after >= before, "{before} {after}");
    }
}
