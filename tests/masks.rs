//! Attention whose masks hide keys, some or all, by whatever number: compiled as interpreted, NaN for NaN.

use std::sync::Arc;

use trine::codegen::Target;
use trine::codegen::image::program::build;
use trine::codegen::plan::form::form;
use trine_ir::{Tensor, eval, text, verify};
use trine_runtime::{Session, SessionOptions};

/// Sums have another order than the interpreter's.
const TOLERANCE: f32 = 1e-5;

/// What hides a key: -∞, or the lowest float and numbers that weigh something, as models write them.
const HIDING: [f32; 3] = [f32::NEG_INFINITY, f32::MIN, -1e4];

/// Numbers in (-1, 1).
fn tensor(dims: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values = (0..dims.iter().product()).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / f32::from(1u16 << 15) / 256.0 - 1.0
    });
    Tensor::from_vec(dims.to_vec(), values.collect::<Vec<f32>>()).unwrap()
}

/// Row 0 sees nothing, others see every third key less, or nothing after their own place.
fn mask(rows: usize, keys: usize, hiding: f32) -> Tensor {
    let seen = |i: usize, j: usize| {
        !i.is_multiple_of(7) && (i.is_multiple_of(2) || j % 3 != 1) && (i % 5 != 3 || j <= i)
    };
    let values = (0..rows * keys).map(|at| if seen(at / keys, at % keys) { 0.0 } else { hiding });
    Tensor::from_vec(vec![rows, keys], values.collect::<Vec<f32>>()).unwrap()
}

fn close(got: &Tensor, want: &Tensor) -> bool {
    let (g, w) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    let near = |(g, w): (&f32, &f32)| g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= TOLERANCE;
    g.len() == w.len() && g.iter().zip(w.iter()).all(near)
}

/// Numbers as `tensor` gives them, but that one of the last row is `spoilt`.
fn spoilt(dims: &[usize], seed: u64, spoilt: Option<f32>) -> Tensor {
    let mut values = tensor(dims, seed).values::<f32>().unwrap().to_vec();
    if let (Some(last), Some(spoilt)) = (values.last_mut(), spoilt) {
        *last = spoilt;
    }
    Tensor::from_vec(dims.to_vec(), values).unwrap()
}

#[test]
fn hidden_keys_weigh_what_the_interpreter_says() {
    let attributes = [
        "",
        ",nan_unseen=true",
        ",hidden=-inf,nan_unseen=true",
        ",hidden=-10000.0,nan_unseen=true",
        ",hidden=-3.4028235e38",
        ",hidden=0.5",
        ",zero_nan=true",
        ",hidden=-inf,zero_nan=true",
    ];
    let target = Target::host().unwrap();
    let mut unseen = 0;
    for (attribute, softcap) in attributes.iter().flat_map(|a| [(a, "0.0"), (a, "2.5")]) {
        let source = format!(
            "\
graph @main(%q: f32[1,4,s,8], %k: f32[1,2,t,8], %v: f32[1,2,t,8], %mask: f32[s,t]) -> (%y: f32[1,4,s,8]) {{
  %y = attention %q, %k, %v, %mask {{scale=0.35,causal=false,softcap={softcap}{attribute}}} : f32[1,4,s,8]
}}
"
        );
        let module = text::parse(&source).unwrap();
        verify(&module).unwrap();
        let mut formed = module.clone();
        assert_eq!(form(&mut formed, &target), 1, "{source}");
        let program = Arc::new(build(formed, &target).unwrap());
        for ((s, t), hiding) in
            [(1, 9), (3, 5), (70, 70), (9, 40), (2, 0)].iter().flat_map(|d| HIDING.map(|h| (*d, h)))
        {
            let mut q = tensor(&[1, 4, s, 8], 1).values::<f32>().unwrap().to_vec();
            // A query that is not a number stays none, unless all of its scores are replaced.
            q[8 * s - 1] = f32::NAN;
            let q = Tensor::from_vec(vec![1, 4, s, 8], q).unwrap();
            // What is hidden reaches queries where it is not a number, or so large that it may not be one.
            let kinds =
                [(None, None), (Some(f32::NAN), None), (Some(1e30), None), (None, Some(f32::INFINITY))];
            for (key, value) in kinds {
                let k = spoilt(&[1, 2, t, 8], 2, key);
                let inputs = [q.clone(), k, spoilt(&[1, 2, t, 8], 3, value), mask(s, t, hiding)];
                let want = eval::run(&module, inputs.to_vec()).unwrap();
                unseen += usize::from(want[0].values::<f32>().unwrap()[0].is_nan());
                for threads in [1, 2] {
                    let options = SessionOptions { threads, ..SessionOptions::default() };
                    let got = Session::new(program.clone(), &options).run(&inputs).unwrap();
                    let what =
                        format!("{s} by {t}, {hiding:?}, {key:?}, {value:?}, {threads} threads\n{source}");
                    assert!(close(&got[0], &want[0]), "{what}{:?}\n{:?}", got[0], want[0]);
                }
            }
        }
    }
    assert!(unseen > 0);
}
