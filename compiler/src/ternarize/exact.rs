//! `argmin ‖w − s·t‖²`: with the m largest magnitudes kept the best scale is their mean, and the error falls
//! by `S_m² / m`, so the best m is found in one walk over the sorted magnitudes.

pub fn project(w: &[f32], trits: &mut [i8]) -> f32 {
    let mut order: Vec<u32> = (0..w.len() as u32).collect();
    let magnitude = |i: u32| w[i as usize].abs();
    order.sort_unstable_by(|a, b| magnitude(*b).total_cmp(&magnitude(*a)).then(a.cmp(b)));
    let (mut sum, mut best, mut kept, mut scale) = (0f64, 0f64, 0, 0f64);
    for (i, j) in order.iter().enumerate() {
        sum += f64::from(magnitude(*j));
        let m = (i + 1) as f64;
        if sum * sum / m > best {
            (best, kept, scale) = (sum * sum / m, i + 1, sum / m);
        }
    }
    for j in &order[..kept] {
        trits[*j as usize] = if w[*j as usize] < 0.0 { -1 } else { 1 };
    }
    scale as f32
}
