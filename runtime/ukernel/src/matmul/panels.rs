//! A right-hand side that is packed once, for every product with it:
//!
//! ```text
//! [panel of 48 columns][k][column of the panel]
//! ```
//!
//! Columns that the last panel lacks are zero. All instruction sets read this one layout.

use super::WIDTH;
use crate::LayoutError;

/// The sizes of a packed right-hand side, and how it lies before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Panels {
    pub k: usize,
    pub n: usize,
    /// Whether it lies by output, `[n, k]`, and not `[k, n]`.
    pub transposed: bool,
}

impl Panels {
    /// Values of the packed matrix; `None` on overflow.
    pub fn packed_len(&self) -> Option<usize> {
        self.n.checked_next_multiple_of(WIDTH)?.checked_mul(self.k)
    }

    /// Packs `b`, row-major, into `out`, of [`Panels::packed_len`] values that are zero.
    pub fn pack(&self, b: &[f32], out: &mut [f32]) -> Result<(), LayoutError> {
        let &Panels { k, n, transposed } = self;
        let len = self.packed_len().ok_or(LayoutError::TooLarge { n, k })?;
        // No overflow: the packed matrix is not smaller.
        if b.len() != k * n || out.len() != len {
            return Err(LayoutError::WrongLength {
                weights: b.len(),
                packed: out.len(),
                expected: (k * n, len),
            });
        }
        if b.is_empty() {
            return Ok(());
        }
        for (p, panel) in out.chunks_exact_mut(k * WIDTH).enumerate() {
            let from = p * WIDTH;
            let columns = WIDTH.min(n - from);
            match transposed {
                false => {
                    for (row, out) in b.chunks_exact(n).zip(panel.chunks_exact_mut(WIDTH)) {
                        out[..columns].copy_from_slice(&row[from..][..columns]);
                    }
                }
                true => {
                    let columns = b[from * k..][..columns * k].chunks_exact(k);
                    transpose(columns, k, panel);
                }
            }
        }
        Ok(())
    }
}

/// Columns of `k` values into a panel, a few lines of each at a time so that they stay in the first cache.
fn transpose<'a>(columns: impl Iterator<Item = &'a [f32]> + Clone, k: usize, panel: &mut [f32]) {
    const BLOCK: usize = 64;
    for start in (0..k).step_by(BLOCK) {
        let rows = &mut panel[start * WIDTH..(start + BLOCK).min(k) * WIDTH];
        for (j, column) in columns.clone().enumerate() {
            for (row, value) in rows.chunks_exact_mut(WIDTH).zip(&column[start..]) {
                row[j] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn either_order_packs_to_the_same_panels() {
        for (k, n) in [(1, 1), (5, 48), (130, 49), (3, 100), (0, 7), (7, 0)] {
            let by_input: Vec<f32> = (0..k * n).map(|i| 1.0 + i as f32).collect();
            let by_output: Vec<f32> =
                (0..n).flat_map(|j| (0..k).map(move |i| (i, j))).map(|(i, j)| by_input[i * n + j]).collect();
            let pack = |transposed, b: &[f32]| {
                let panels = Panels { k, n, transposed };
                let mut out = vec![0.0; panels.packed_len().unwrap()];
                panels.pack(b, &mut out).unwrap();
                out
            };
            let packed = pack(false, &by_input);
            assert_eq!(packed, pack(true, &by_output), "{k} {n}");
            for (at, value) in packed.iter().enumerate() {
                let (panel, i, j) = (at / (k * WIDTH), at / WIDTH % k, at % WIDTH);
                let column = panel * WIDTH + j;
                let want = if column < n { by_input[i * n + column] } else { 0.0 };
                assert_eq!(*value, want, "{k} {n} at {at}");
            }
        }
    }

    #[test]
    fn refuses_other_sizes() {
        let panels = Panels { k: 2, n: 3, transposed: false };
        assert!(panels.pack(&[0.0; 5], &mut [0.0; 96]).is_err());
        assert!(panels.pack(&[0.0; 6], &mut [0.0; 95]).is_err());
        assert_eq!(Panels { k: usize::MAX, n: 3, transposed: false }.packed_len(), None);
    }
}
