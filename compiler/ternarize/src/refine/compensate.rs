//! Compensation by depth: what earlier layers have lost is in this layer's inputs `x̃`, so that not W but a mend of
//! it is to be met (MLQ, arXiv 1803.03289; QEP, arXiv 2504.09629).
//!
//! `argmin_V E‖Wx − Vx̃‖² = W·C·H̃⁻¹` with `C = E[x·x̃ᵀ]`; both moments are damped, and weights go only a share of the way,
//! as the whole of it fits the calibration inputs too well.

use rayon::prelude::*;

use crate::linalg::{inverse, multiply, view, view_mut};
use crate::method::{Axes, Method, Role, Tier};
use crate::recipe::Settings;
use crate::{Refusal, Statistics};

/// Rows of a task.
const STRIP: usize = 64;

pub const METHOD: Method = Method {
    name: "compensate",
    about: "aims at weights that undo part of what earlier layers lost",
    paper: "arXiv 1803.03289, 2504.09629",
    tier: Tier::Calibrated,
    axes: Axes {
        projection: "as projected",
        optimizer: "closed form",
        granularity: "as projected",
        planes: "as projected",
    },
    role: Role::Target(target),
};

fn target(w: &[f64], statistics: &Statistics, settings: &Settings) -> Result<Vec<f64>, Refusal> {
    let k = statistics.k();
    let mut cross = statistics.cross().ok_or(Refusal::NeedsPairs { method: METHOD.name })?;
    let damped = statistics.damped(settings.damp)?;
    let undamped = statistics.gram();
    // What was added to the diagonal of one moment is added to that of the other.
    (0..k).for_each(|j| cross[j * k + j] += damped.values()[j * k + j] - undamped[j * k + j]);
    let inverse = inverse(damped.values(), k).ok_or(Refusal::Singular)?;
    let mut out = vec![0.0; w.len()];
    out.par_chunks_mut(STRIP * k).zip(w.par_chunks(STRIP * k)).for_each(|(out, w)| {
        let n = w.len() / k;
        let mut seen = vec![0.0; w.len()];
        multiply(view_mut(&mut seen, n, k), view(w, n, k), view(&cross, k, k));
        multiply(view_mut(out, n, k), view(&seen, n, k), view(&inverse, k, k));
        out.iter_mut().zip(w).for_each(|(o, w)| *o = (1.0 - settings.share) * w + settings.share * *o);
    });
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::gaussian;

    #[test]
    fn the_target_undoes_what_was_done_to_the_inputs() {
        let (n, k, samples) = (3, 8, 4000);
        let x = gaussian(samples * k, 1);
        // Earlier layers doubled each input.
        let changed: Vec<f32> = x.iter().map(|v| 2.0 * v).collect();
        let mut statistics = Statistics::paired(k);
        statistics.add_pairs(&changed, &x).unwrap();
        let w: Vec<f64> = gaussian(n * k, 2).iter().map(|v| f64::from(*v)).collect();
        let settings = Settings { share: 1.0, damp: 1e-6, ..Settings::default() };
        let whole = target(&w, &statistics, &settings).unwrap();
        assert!(whole.iter().zip(&w).all(|(t, w)| (t - w / 2.0).abs() < 1e-4), "{whole:?} {w:?}");
        let half = target(&w, &statistics, &Settings { share: 0.5, ..settings.clone() }).unwrap();
        assert!(half.iter().zip(&w).all(|(t, w)| (t - w * 0.75).abs() < 1e-4));
        // Inputs that nothing was done to ask for no change.
        statistics = Statistics::paired(k);
        statistics.add_pairs(&x, &x).unwrap();
        let same = target(&w, &statistics, &settings).unwrap();
        assert!(same.iter().zip(&w).all(|(t, w)| (t - w).abs() < 1e-6));
        let unpaired = target(&w, &Statistics::new(k), &settings);
        assert_eq!(unpaired, Err(Refusal::NeedsPairs { method: "compensate" }));
    }
}
