//! Recurrent layers made ternary after training, on digits that are read row by row: the quantizers of HitNet (NeurIPS
//! 2018), which want training, on models that had none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trine::evaluate::accuracy;
use trine::npz::Npz;
use trine::{Activations, Backend, Head, Options, Session, SessionOptions, Tensor};

const MODELS: [&str; 2] = ["rows_lstm", "rows_gru"];

const STATES: [&str; 4] = ["keep", "threshold", "mean", "bernoulli{}"];

/// Seeds that what is drawn is averaged over.
const SEEDS: u64 = 8;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/digits").join(name)
}

fn data() -> (Tensor, Vec<i64>) {
    let mut data = Npz::open(path("rows.npz")).unwrap();
    let labels = data.get("y").unwrap().unwrap().values::<i64>().unwrap().into_owned();
    (data.get("x").unwrap().unwrap(), labels)
}

/// Weights and states rounded so, the classifier kept as it is.
fn options(weights: Option<&str>, states: Option<&str>) -> Options {
    Options {
        ternarize: weights.map(|text| text.parse().unwrap()),
        states: states.map(|text| text.parse().unwrap()),
        activations: Activations::F32,
        head: Head::Keep,
        ..Options::default()
    }
}

fn share(model: &str, options: &Options) -> f64 {
    let (x, labels) = data();
    let program = Arc::new(trine::compile(path(&format!("{model}.onnx")), options).unwrap());
    accuracy(program, &[x], &labels, 2).unwrap().share()
}

/// The mean of the shares over seeds, of which `{}` is one.
fn mean(model: &str, weights: &str, states: &str) -> f64 {
    let one = |seed: u64| {
        let of = |text: &str| text.replace("{}", &format!("{{seed={seed}}}"));
        share(model, &options(Some(&of(weights)), Some(&of(states))))
    };
    let drawn = weights.contains("{}") || states.contains("{}");
    let seeds = if drawn { SEEDS } else { 1 };
    (0..seeds).map(one).sum::<f64>() / seeds as f64
}

/// A row for each way to round weights, and in it the share for each way to round states.
#[test]
fn weights_by_threshold_keep_what_weights_at_random_lose() {
    for model in MODELS {
        let float = share(model, &Options::default());
        assert!(float > 0.97, "{model} {float}");
        eprintln!("{model}: f32 {float:.3}\n  weights      {STATES:?}");
        let row = |weights| STATES.map(|states| mean(model, weights, states));
        let (threshold, random) = (row("twn"), row("bernoulli{}"));
        eprintln!("  twn          {threshold:.3?}\n  bernoulli    {random:.3?}");
        for (by_threshold, at_random) in threshold.iter().zip(random) {
            assert!(*by_threshold > at_random + 0.1, "{model} {threshold:?} {random:?}");
        }
        // Much is lost after training either way, and far from all: one in ten would be guessed.
        let [kept, states @ ..] = threshold;
        assert!(states.iter().all(|s| *s > 0.3 && *s < kept), "{model} {threshold:?}");
    }
}

/// The slope that is best is another one for each model and way to round; a slope under 1 helps nowhere.
#[test]
fn gates_that_are_less_steep_do_not_help_ternary_states() {
    for model in MODELS {
        for hidden in ["threshold", "bernoulli"] {
            let by = |slope: &str| {
                let seeds = if hidden == "bernoulli" { SEEDS } else { 1 };
                let one = |seed: u64| {
                    let states = format!("{hidden}{{seed={seed},slope={slope}}}");
                    share(model, &options(Some("twn"), Some(&states)))
                };
                (0..seeds).map(one).sum::<f64>() / seeds as f64
            };
            let shares = ["0.5", "1", "2", "3"].map(by);
            eprintln!("{model}, states by {hidden}, slopes 0.5, 1, 2, 3: {shares:.3?}");
            assert!(shares[1..].iter().all(|s| *s > shares[0]), "{shares:?}");
            // A slope of 1 is not a slope.
            assert_eq!(
                shares[1],
                mean(model, "twn", if hidden == "bernoulli" { "bernoulli{}" } else { hidden })
            );
        }
    }
}

#[test]
fn one_seed_gives_the_same_bits_interpreted_and_compiled() {
    let (x, _) = data();
    for model in MODELS {
        let weights = Some("bernoulli{seed=3,keep=none}");
        for (states, activations) in [
            ("bernoulli{seed=3,slope=2}", Activations::F32),
            ("bernoulli{seed=3}", Activations::I8),
            ("threshold", Activations::F32),
            ("mean", Activations::I8),
        ] {
            let run = |backend, threads, x: &Tensor| {
                let options = Options { backend, activations, ..options(weights, Some(states)) };
                let program = Arc::new(trine::compile(path(&format!("{model}.onnx")), &options).unwrap());
                if backend == Backend::Auto {
                    // All is compiled but the random numbers and what moves zeros and the last state.
                    let (kernels, interpreted) = program.step_counts();
                    assert!(kernels > 16 && interpreted <= 6, "{model} {states}: {kernels} {interpreted}");
                }
                let make = if threads == 1 { Session::guarded } else { Session::new };
                let mut session = make(program, &SessionOptions { threads, ..SessionOptions::default() });
                session.run(std::slice::from_ref(x)).unwrap().remove(0).values::<f32>().unwrap().to_vec()
            };
            let want = run(Backend::Interpret, 1, &x);
            assert!(run(Backend::Auto, 1, &x) == want, "{model} {states}");
            assert!(run(Backend::Auto, 2, &x) == want, "{model} {states}");
            // The numbers of an example do not depend on how many there are.
            let some =
                Tensor::from_vec(vec![50, 8, 8], x.values::<f32>().unwrap()[..50 * 64].to_vec()).unwrap();
            assert!(run(Backend::Auto, 2, &some) == want[..500], "{model} {states}");
            let other = states.replace("seed=3", "seed=4");
            let options = Options { activations, ..options(weights, Some(&other)) };
            let program = Arc::new(trine::compile(path(&format!("{model}.onnx")), &options).unwrap());
            let mut session = Session::new(program, &SessionOptions::default());
            let got =
                session.run(std::slice::from_ref(&x)).unwrap().remove(0).values::<f32>().unwrap().to_vec();
            assert_eq!(got == want, !states.contains("seed"), "{model} {states}");
        }
    }
}
