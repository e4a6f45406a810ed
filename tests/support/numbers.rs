//! How far numbers are from those that are wanted.
//!
//! One place says it, so that what is not a number counts as wrong in every test: `f32::max` prefers anything to NaN, so
//! that a maximum over differences would swallow it.

/// The largest difference over the largest magnitude that is wanted; infinite where anything on either side is infinite or
/// no number, for no distance from there is small.
pub fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len(), "as many numbers");
    let largest = want.iter().fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs()));
    let off = got.iter().zip(want).map(|(g, w)| match g.is_finite() && w.is_finite() {
        true => (g - w).abs() / largest,
        false => f32::INFINITY,
    });
    off.fold(0.0, f32::max)
}

#[test]
fn what_is_not_a_number_is_infinitely_far() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(distance(&[1.0, wrong], &[1.0, 2.0]), f32::INFINITY);
        assert_eq!(distance(&[1.0, 2.0], &[1.0, wrong]), f32::INFINITY);
        assert_eq!(distance(&[1.0, wrong], &[1.0, wrong]), f32::INFINITY);
    }
    assert_eq!(distance(&[1.0, 4.0], &[2.0, 4.0]), 0.25);
    assert_eq!(distance(&[0.0], &[0.0]), 0.0);
    assert!(distance(&[1e-3], &[0.0]) > 1.0);
}
