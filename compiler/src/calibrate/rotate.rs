//! Rotating a model before its layers are rounded: the pass `rotate-residual`, for callers who want all or nothing.

use trine_ir::Module;

use super::CalibrateError;
use crate::pass::{Driver, Pipeline};

/// Rotates the residual streams of `module`, on which [`PASSES`](super::PASSES) have run; `seed` says how. Returns how
/// many bytes the constants grew by: those of a table that was a head too are two now.
///
/// The module stays as it is if there is an error: it has no stream that norms read, or one with other ends.
pub fn rotate(module: &mut Module, seed: u64) -> Result<usize, CalibrateError> {
    let passes: Pipeline = format!("rotate-residual{{seed={seed}}}").parse()?;
    let mut rotated = module.clone();
    let report = Driver::new().run(&passes, &mut rotated)?;
    if let Some(miss) = report.steps.iter().flat_map(|s| &s.near_misses).next() {
        let (place, reason) = (Box::new(miss.place.clone()), miss.reason.clone());
        return Err(CalibrateError::Stream { place, reason });
    }
    if report.steps.iter().all(|s| s.rewrites == 0) {
        return Err(CalibrateError::NoStream);
    }
    let grown = bytes(&rotated).saturating_sub(bytes(module));
    *module = rotated;
    Ok(grown)
}

fn bytes(module: &Module) -> usize {
    module.consts.values().map(|t| t.bytes().len()).sum()
}
