//! Sessions and memory: sizes that come up during a run, states under other dimensions, and runs after an error.

use std::sync::Arc;

use trine::generate::Decoder;
use trine::{Backend, Options, Program, RunError, Session, SessionOptions, Tensor, View, inputs};
use trine_ir::{Elem, Type, eval, text};

fn program(source: &str, backend: Backend) -> Arc<Program> {
    let options = Options { backend, ..Options::default() };
    let mut module =
        text::parse_with(source, &|_, ty| Some(constant(ty))).unwrap_or_else(|e| panic!("{e}\n{source}"));
    trine::optimize(&mut module, &options).unwrap();
    Arc::new(trine::build_program(module, &options).unwrap_or_else(|e| panic!("{e}\n{source}")))
}

fn threads(threads: usize, state_capacity: Option<usize>) -> SessionOptions {
    SessionOptions { threads, state_capacity, ..SessionOptions::default() }
}

fn values(dims: &[usize], seed: u64) -> Tensor {
    let value = |i: usize| ((i as f32 + seed as f32 * 0.37) * 0.7).sin();
    Tensor::from_vec(dims.to_vec(), (0..dims.iter().product()).map(value).collect()).unwrap()
}

fn constant(ty: &Type) -> Tensor {
    let dims = ty.static_dims().unwrap();
    match ty.elem {
        Elem::Trit => {
            let trits: Vec<u8> = (0..dims.iter().product()).map(|i: usize| (i * i % 3) as u8).collect();
            let trits: Vec<u8> = trits.iter().map(|t| t.wrapping_sub(1)).collect();
            Tensor::pack(Elem::Trit, dims, &trits).unwrap()
        }
        _ => values(&dims, 3),
    }
}

/// Whether all are equal within a hundred thousandth of the largest.
fn are_near(got: &Tensor, want: &Tensor) -> bool {
    let (got, want) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    let largest = want.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    got.iter().zip(want.iter()).all(|(g, w)| (g - w).abs() <= 1e-5 * largest)
}

/// Kernels that need scratch by a size that only data gives.
const LATE: [(&str, &str); 6] = [
    (
        "softmax of what is not zero",
        "graph @main(%x: f32[n], %k: i64[]) -> (%y: f32[1,m]) {
  %i = nonzero %x {count=m} : i64[1,m]
  %f = cast %i {to=f32} : f32[1,m]
  %y = softmax %f {axis=1} : f32[1,m]
}",
    ),
    (
        "norms of the largest",
        "graph @main(%x: f32[n], %k: i64[]) -> (%y: f32[m]) {
  %t, %i = top_k %x, %k {axis=0, count=m, largest=true} : f32[m], i64[m]
  %s = softmax %t {axis=0} : f32[m]
  %y = add %s, %t : f32[m]
}",
    ),
    (
        "ternary products of the first rows",
        "stage ternary
const @w: trit[40,64]
const @scale: f32[40,1]
graph @main(%x: f32[n], %k: i64[]) -> (%y: f32[m,40]) {
  %t, %i = top_k %x, %k {axis=0, count=m, largest=true} : f32[m], i64[m]
  %c = reshape %t {shape=[m,1]} : f32[m,1]
  %e = expand %c {shape=[m,64]} : f32[m,64]
  %y = ternary_matmul %e, @w, @scale {group=64, int8=true} : f32[m,40]
}",
    ),
    (
        "products over what is not zero",
        "graph @main(%x: f32[n], %k: i64[]) -> (%y: f32[m,m]) {
  %i = nonzero %x {count=m} : i64[1,m]
  %f = cast %i {to=f32} : f32[1,m]
  %c = transpose %f {perm=[1,0]} : f32[m,1]
  %y = matmul %c, %f {trans_b=false} : f32[m,m]
}",
    ),
    (
        "attention to the first keys",
        "const @queries: f32[24]
graph @main(%x: f32[n], %k: i64[]) -> (%y: f32[1,2,3,4]) {
  %t, %i = top_k %x, %k {axis=0, count=m, largest=true} : f32[m], i64[m]
  %r = reshape %t {shape=[1,1,m,1]} : f32[1,1,m,1]
  %keys = expand %r {shape=[1,2,m,4]} : f32[1,2,m,4]
  %q = reshape @queries {shape=[1,2,3,4]} : f32[1,2,3,4]
  %y = attention %q, %keys, %keys {scale=0.5, causal=false, softcap=0.0} : f32[1,2,3,4]
}",
    ),
    (
        "a sum along what is not zero",
        "graph @main(%x: f32[n], %k: i64[]) -> (%y: f32[3,1], %z: f32[3,m]) {
  %i = nonzero %x {count=m} : i64[1,m]
  %f = cast %i {to=f32} : f32[1,m]
  %e = expand %f {shape=[3,m]} : f32[3,m]
  %y = reduce_sum %e {axes=[1], keepdims=true} : f32[3,1]
  %z = sub %e, %y : f32[3,m]
}",
    ),
];

#[test]
fn scratch_has_the_size_that_data_gives() {
    for (what, source) in LATE {
        let want = program(source, Backend::Interpret);
        let compiled = program(source, Backend::Auto);
        assert!(compiled.step_counts().0 > 0, "{what}: nothing is compiled");
        for count in [1, 2, 3] {
            for make in [Session::new, Session::guarded] {
                let mut session = make(compiled.clone(), &threads(count, None));
                // More, fewer, and none.
                for (n, k) in [(5, 3), (3000, 2000), (40, 1), (7, 0)] {
                    let mut x = vec![0f32; n];
                    x.iter_mut().take(k).enumerate().for_each(|(i, x)| *x = (i as f32 * 0.7).sin() + 2.0);
                    let inputs = [Tensor::vector(x), Tensor::scalar(k as i64)];
                    let got = session.run(&inputs).unwrap_or_else(|e| panic!("{what}, {k} of {n}: {e}"));
                    let want = Session::new(want.clone(), &threads(1, None)).run(&inputs).unwrap();
                    for (got, want) in got.iter().zip(&want) {
                        assert_eq!(got.ty(), want.ty(), "{what}");
                        assert!(are_near(got, want), "{what}, {k} of {n}, {count} threads");
                    }
                }
            }
        }
    }
}

const ATTENTION: &str = "\
graph @main(%q: f32[b,4,s,8], %k: f32[b,2,s,8], %v: f32[b,2,s,8], %pk: f32[b,2,past,8], %pv: f32[b,2,past,8]) -> (%a: f32[b,4,s,8], %ck: f32[b,2,past+s,8], %cv: f32[b,2,past+s,8]) {
  %a, %ck, %cv = attention %q, %k, %v, _, %pk, %pv {scale=0.35, causal=true, softcap=0.0} : f32[b,4,s,8], f32[b,2,past+s,8], f32[b,2,past+s,8]
}
";

/// What attention gives for `s` positions of `b` sequences.
fn attend(session: &mut Session, b: usize, s: usize, seed: u64) -> Result<Vec<u8>, RunError> {
    let given: Vec<Tensor> =
        [4, 2, 2].iter().zip(seed..).map(|(heads, seed)| values(&[b, *heads, s, 8], seed)).collect();
    let views: Vec<View> = given.iter().map(View::from).collect();
    session.execute(&views)?;
    Ok(session.output(0).data.to_vec())
}

#[test]
fn states_are_made_for_their_dimensions() {
    let program = program(ATTENTION, Backend::Auto);
    assert_eq!(program.states.len(), 2);
    for make in [Session::new, Session::guarded] {
        let new = || make(program.clone(), &threads(2, Some(16)));
        let mut used = new();
        for (round, b) in [1, 2, 1, 3, 2, 1].into_iter().enumerate() {
            used.reset();
            let mut fresh = new();
            for step in 0..4 {
                let seed = 10 * round as u64 + step;
                let got = attend(&mut used, b, 1 + step as usize % 2, seed).unwrap();
                assert_eq!(got, attend(&mut fresh, b, 1 + step as usize % 2, seed).unwrap(), "{b} {step}");
            }
            // What is held is for `b` sequences, and stays when others are refused.
            let error = attend(&mut used, b + 1, 1, 7).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "the state `pk` is held with {b} elements along axis 0, not {}, until the session is reset",
                    b + 1
                )
            );
            assert!(used.output(0).data.is_empty());
            assert_eq!(used.filled(), 6);
            assert_eq!(attend(&mut used, b, 2, 9).unwrap(), attend(&mut fresh, b, 2, 9).unwrap());
        }
    }
}

/// One of two caches is held: the values are asked for elsewhere, too, so that they are dense.
#[test]
fn what_is_not_held_is_dense_beside_what_is() {
    let source = ATTENTION
        .replace("%cv: f32[b,2,past+s,8]) {", "%cv: f32[b,2,past+s,8], %n: f32[b,2,past+s,8]) {")
        .replace("\n}\n", "\n  %n = neg %cv : f32[b,2,past+s,8]\n}\n");
    let program = program(&source, Backend::Auto);
    assert_eq!(program.states.len(), 1);
    for make in [Session::new, Session::guarded] {
        let mut held = make(program.clone(), &threads(2, Some(64)));
        let mut plain = make(program.clone(), &threads(1, None));
        let mut caches = [values(&[2, 2, 0, 8], 0), values(&[2, 2, 0, 8], 0)];
        for (step, s) in [3, 1, 2].into_iter().enumerate() {
            let new: Vec<Tensor> =
                [4, 2, 2].into_iter().map(|heads| values(&[2, heads, s, 8], (step + heads) as u64)).collect();
            let all = [&new[..], &caches].concat();
            let want = plain.run(&all).unwrap();
            let views: Vec<View> = new.iter().chain([&caches[1]]).map(View::from).collect();
            held.execute(&views).unwrap();
            for i in [0, 2, 3] {
                assert_eq!(held.output(i).data, want[i].bytes(), "output {i} of step {step}");
            }
            caches = [want[1].clone(), want[2].clone()];
        }
    }
}

/// A cache whose size stays.
const SCATTER: &str = "\
graph @main(%x: f32[b,s,8], %at: i64[b], %cache: f32[b,6,8]) -> (%sum: f32[b,6,1], %new: f32[b,6,8]) {
  %new = tensor_scatter %cache, %x, %at {axis=1, circular=false} : f32[b,6,8]
  %sum = reduce_sum %new {axes=[2], keepdims=true} : f32[b,6,1]
}
";

/// Caches whose size stays are written where they lie.
#[test]
fn caches_of_one_size_are_held_in_place() {
    let program = program(SCATTER, Backend::Auto);
    assert_eq!(program.states.len(), 1);
    for make in [Session::new, Session::guarded] {
        let mut held = make(program.clone(), &threads(2, Some(1)));
        let mut plain = make(program.clone(), &threads(1, None));
        for b in [2, 2, 1, 1] {
            let mut cache = Tensor::from_vec(vec![b, 6, 8], vec![0f32; b * 48]).unwrap();
            for (step, (s, at)) in [(3, 0i64), (1, 3), (2, 1), (0, 6), (2, 4)].into_iter().enumerate() {
                let (x, at) = (values(&[b, s, 8], step as u64), Tensor::vector(vec![at; b]));
                let want = plain.run(&[x.clone(), at.clone(), cache]).unwrap();
                held.execute(&[View::from(&x), View::from(&at)]).unwrap();
                assert_eq!(held.output(0).data, want[0].bytes(), "step {step} of {b}");
                assert!(held.output(1).data.is_empty());
                cache = want[1].clone();
            }
            // Rows that do not fit are refused, and nothing is lost.
            let (x, at) = (values(&[b, 2, 8], 9), Tensor::vector(vec![5i64; b]));
            assert!(held.execute(&[View::from(&x), View::from(&at)]).is_err());
            let (x, none) = (values(&[b, 0, 8], 9), Tensor::vector(vec![0i64; b]));
            held.execute(&[View::from(&x), View::from(&none)]).unwrap();
            let want = plain.run(&[x, none, cache]).unwrap();
            assert_eq!(held.output(0).data, want[0].bytes());
            let (x, at) = (values(&[b + 1, 1, 8], 9), Tensor::vector(vec![0i64; b + 1]));
            let error = held.execute(&[View::from(&x), View::from(&at)]).unwrap_err().to_string();
            assert!(error.starts_with("the state `cache` is held with"), "{error}");
            held.reset();
        }
    }
}

#[test]
fn inputs_and_outputs_go_by_their_names() {
    let program = program(SCATTER, Backend::Auto);
    let (x, at, cache) = (values(&[2, 3, 8], 1), Tensor::vector(vec![1i64; 2]), values(&[2, 6, 8], 0));
    let mut plain = Session::new(program.clone(), &threads(1, None));
    let want = plain.run(&[x.clone(), at.clone(), cache.clone()]).unwrap();
    let all = inputs! { "cache" => cache.clone(), "x" => x.clone(), "at" => at.clone() };
    let got = plain.run_named(&all).unwrap();
    let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["sum", "new"]);
    assert!(got.iter().zip(&want).all(|((_, got), want)| got.bytes() == want.bytes()));
    // What is held is neither asked for nor given.
    let mut held = Session::new(program, &threads(1, Some(1)));
    let some = inputs! { "at" => at.clone(), "x" => x.clone() };
    let got = held.run_named(&some).unwrap();
    let zeros = Tensor::from_vec(vec![2, 6, 8], vec![0f32; 96]).unwrap();
    let want = plain.run(&[x, at.clone(), zeros]).unwrap();
    assert_eq!((got.len(), got[0].0.as_str(), got[0].1.bytes()), (1, "sum", want[0].bytes()));
    let mut error = |inputs: &[(&str, Tensor)]| held.run_named(inputs).unwrap_err().to_string();
    assert_eq!(error(&some[..1]), "input `x` is not given");
    assert_eq!(error(&inputs! { "at" => at.clone(), "at" => at.clone() }), "input `at` is given twice");
    let strangers = ["cache", "c"].map(|name| error(&inputs! { name => at.clone() }));
    assert_eq!(strangers, ["cache", "c"].map(|name| format!("no input `{name}`; there are `x`, `at`")));
}

#[test]
fn states_may_be_full_cut_and_of_no_length() {
    let program = program(ATTENTION, Backend::Auto);
    for make in [Session::new, Session::guarded] {
        let mut none = make(program.clone(), &threads(1, Some(0)));
        assert_eq!(attend(&mut none, 1, 1, 0).unwrap_err(), RunError::StateFull { capacity: 0, needed: 1 });
        assert_eq!(attend(&mut none, 1, 0, 0).unwrap(), Vec::<u8>::new());
        let mut session = make(program.clone(), &threads(1, Some(4)));
        attend(&mut session, 2, 3, 0).unwrap();
        let full = RunError::StateFull { capacity: 4, needed: 5 };
        assert_eq!(attend(&mut session, 2, 2, 1).unwrap_err(), full);
        assert_eq!(session.filled(), 3);
        // The first two positions are still there.
        session.truncate(2);
        let mut fresh = make(program.clone(), &threads(1, Some(9)));
        attend(&mut fresh, 2, 3, 0).unwrap();
        fresh.truncate(2);
        assert_eq!(attend(&mut session, 2, 2, 5).unwrap(), attend(&mut fresh, 2, 2, 5).unwrap());
        session.truncate(100);
        assert_eq!(session.filled(), 4);
        let mut huge = make(program.clone(), &threads(1, Some(usize::MAX)));
        assert!(matches!(attend(&mut huge, 1, 1, 0), Err(RunError::Memory { .. })));
        assert_eq!(huge.filled(), 0);
    }
}

#[test]
fn a_run_that_failed_leaves_a_session_that_runs() {
    let source = "\
const @table: f32[7,8]
graph @main(%ids: i64[s], %q: f32[1,1,s,8], %pk: f32[1,1,past,8], %pv: f32[1,1,past,8]) -> (%a: f32[1,1,s,8], %ck: f32[1,1,past+s,8], %cv: f32[1,1,past+s,8]) {
  %e = gather @table, %ids {axis=0} : f32[s,8]
  %k = reshape %e {shape=[1,1,s,8]} : f32[1,1,s,8]
  %a, %ck, %cv = attention %q, %k, %k, _, %pk, %pv {scale=0.35, causal=true, softcap=0.0} : f32[1,1,s,8], f32[1,1,past+s,8], f32[1,1,past+s,8]
}
";
    let program = program(source, Backend::Auto);
    assert_eq!(program.states.len(), 2);
    for make in [Session::new, Session::guarded] {
        let new = || make(program.clone(), &threads(2, Some(16)));
        let run = |session: &mut Session, ids: &[i64]| {
            let (ids, q) = (Tensor::vector(ids.to_vec()), values(&[1, 1, ids.len(), 8], 1));
            session.execute(&[View::from(&ids), View::from(&q)])?;
            Ok::<_, RunError>(session.output(0).data.to_vec())
        };
        let (mut failed, mut good) = (new(), new());
        assert!(good.output(0).data.is_empty());
        for ids in [&[1i64, 2][..], &[6], &[0, 3, 4]] {
            let message = run(&mut failed, &[5, 7]).unwrap_err().to_string();
            assert!(message.ends_with("an index is out of range"), "{message}");
            assert_eq!(failed.filled(), good.filled());
            assert!(failed.output(0).data.is_empty());
            assert_eq!(run(&mut failed, ids).unwrap(), run(&mut good, ids).unwrap());
        }
    }
}

#[test]
fn a_decoder_goes_on_after_an_error() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/lm/f32.onnx");
    let program = Arc::new(trine::compile(model, &Options::default()).unwrap());
    let new = || Decoder::new(program.clone(), 1, 6).unwrap();
    let (mut failed, mut good) = (new(), new());
    for tokens in [&[5u32, 9][..], &[7], &[1, 2]] {
        // A token that the model does not have, more than there is room for, and none at all.
        for bad in [&[3, 1 << 30][..], &[3; 7], &[]] {
            failed.feed(bad).unwrap_err();
            assert_eq!(failed.len(), good.len());
        }
        assert_eq!(failed.feed(tokens).unwrap(), good.feed(tokens).unwrap());
    }
}

#[test]
fn every_truth_is_one() {
    let source = "\
graph @main(%c: bool[n], %d: bool[n]) -> (%x: bool[n], %y: f32[n], %z: bool[n]) {
  %x = xor %c, %d : bool[n]
  %y = cast %c {to=f32} : f32[n]
  %z = equal %c, %d : bool[n]
}
";
    let (c, d) = ([2u8, 1, 0, 255, 128, 1], [1u8, 4, 0, 255, 0, 0]);
    let plain = |bytes: &[u8]| Tensor::from_bools(vec![6], bytes.iter().map(|b| *b != 0)).unwrap();
    let want = eval::run(&text::parse(source).unwrap(), vec![plain(&c), plain(&d)]).unwrap();
    for backend in [Backend::Auto, Backend::Interpret] {
        for make in [Session::new, Session::guarded] {
            let mut session = make(program(source, backend), &threads(1, None));
            let view = |data| View { elem: Elem::Bool, dims: &[6], data };
            session.execute(&[view(&c), view(&d)]).unwrap();
            for (i, want) in want.iter().enumerate() {
                assert_eq!(session.output(i).data, &want.bytes()[..], "output {i}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_is_as_good() {
    let source = "\
graph @main(%x: f32[n,64]) -> (%y: f32[n,64]) {
  %y = softmax %x {axis=1} : f32[n,64]
}
";
    let (program, x) = (program(source, Backend::Auto), values(&[500, 64], 1));
    let want = Session::new(program.clone(), &threads(1, None)).run(std::slice::from_ref(&x)).unwrap();
    for count in [0, 10_000, usize::MAX] {
        let mut session = Session::new(program.clone(), &threads(count, None));
        assert!((1..=trine_runtime::MAX_THREADS).contains(&session.threads()));
        // A thousand threads wait for each other on a few processors: once is enough.
        assert_eq!(session.run(std::slice::from_ref(&x)).unwrap(), want);
    }
}
