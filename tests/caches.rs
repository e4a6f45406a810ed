//! Attention over caches in which each sequence has a length of its own: in place, dense and interpreted.

use std::sync::Arc;

use trine::{Options, Program, Session, SessionOptions, Tensor, View};
use trine_ir::{Module, eval, text};

/// Sums have another order than the interpreter's.
const TOLERANCE: f32 = 1e-5;

/// Keys and values of two heads, queries of four; rows `t` as many as the longest sequence will have.
fn module(attributes: &str, mask: bool) -> Module {
    let (given, operand) = if mask { (", %mask: bool[b,1,s,max(p,t)]", "%mask") } else { ("", "_") };
    let source = format!(
        "\
graph @main(%q: f32[b,4,s,8], %k: f32[b,2,s,8], %v: f32[b,2,s,8], %starts: i64[b], %longest: i8[t]{given}, \
%pk: f32[b,2,p,8], %pv: f32[b,2,p,8]) -> (%y: f32[b,4,s,8], %nk: f32[b,2,max(p,t),8], %nv: f32[b,2,max(p,t),8]) {{
  %y, %nk, %nv = cached_attention %q, %k, %v, {operand}, %pk, %pv, %starts {{scale=0.35,causal=true,{attributes},\
rows=max(p,t)}} : f32[b,4,s,8], f32[b,2,max(p,t),8], f32[b,2,max(p,t),8]
}}
"
    );
    text::parse(&source).unwrap_or_else(|e| panic!("{e}\n{source}"))
}

fn program(module: &Module) -> Arc<Program> {
    let (mut module, options) = (module.clone(), Options::default());
    trine::optimize(&mut module, &options).unwrap();
    let program = trine::build_program(module, &options).unwrap();
    assert_eq!(program.step_counts(), (1, 0), "attention is one kernel");
    assert_eq!(program.states.len(), 2, "its caches are states");
    Arc::new(program)
}

fn noise(dims: &[usize], seed: usize) -> Tensor {
    let value = |i: usize| ((i * 7 + seed * 13) as f32 * 0.61).sin();
    Tensor::from_vec(dims.to_vec(), (0..dims.iter().product()).map(value).collect::<Vec<f32>>()).unwrap()
}

fn assert_near(got: &Tensor, want: &Tensor, what: &str) {
    assert_eq!(got.ty(), want.ty(), "{what}");
    let (got, want) = (got.values::<f32>().unwrap(), want.values::<f32>().unwrap());
    for (at, (g, w)) in got.iter().zip(want.iter()).enumerate() {
        assert!((g - w).abs() <= TOLERANCE, "{what}: {g} at {at}, not {w}");
    }
}

/// A step: new tokens, where those of each sequence begin, and how many tokens the longest will have.
type Step = (usize, [i64; 2], usize);

/// A prompt with padding after it, tokens one by one, several at once, and a step back.
const STEPS: [Step; 6] =
    [(5, [0, 0], 5), (1, [5, 3], 6), (1, [6, 4], 7), (3, [7, 5], 10), (1, [10, 8], 11), (70, [11, 2], 81)];

/// Runs all steps interpreted, dense and in place, which must give the same.
fn same_everywhere(attributes: &str, mask: bool) {
    let module = module(attributes, mask);
    let program = program(&module);
    for threads in [1, 3] {
        let options =
            |state_capacity| SessionOptions { threads, state_capacity, ..SessionOptions::default() };
        let mut dense = Session::new(program.clone(), &options(None));
        let mut guarded = Session::guarded(program.clone(), &options(None));
        let mut held = Session::new(program.clone(), &options(Some(96)));
        let (mut pk, mut pv) = (noise(&[2, 2, 0, 8], 0), noise(&[2, 2, 0, 8], 0));
        for (i, (s, starts, longest)) in STEPS.into_iter().enumerate() {
            let mut inputs =
                vec![noise(&[2, 4, s, 8], i), noise(&[2, 2, s, 8], i + 50), noise(&[2, 2, s, 8], i + 90)];
            inputs.push(Tensor::vector(starts.to_vec()));
            inputs.push(Tensor::vector(vec![0i8; longest]));
            if mask {
                let rows = longest.max(pk.dims()[2]);
                let seen = (0..2 * s * rows).map(|at| at % 3 != 1 || at % rows == 0);
                inputs.push(Tensor::from_bools(vec![2, 1, s, rows], seen).unwrap());
            }
            let fresh: Vec<View> = inputs.iter().map(View::from).collect();
            held.execute(&fresh).unwrap();
            let y = held.output(0);
            let y = Tensor::new(y.elem, y.dims.to_vec(), y.data.to_vec().into()).unwrap();
            inputs.extend([pk, pv]);
            let want = eval::run(&module, inputs.clone()).unwrap();
            let what = format!("{attributes} step {i} on {threads} threads");
            assert_near(&y, &want[0], &format!("{what}, in place"));
            assert_eq!(held.filled(), longest, "{what}");
            for session in [&mut dense, &mut guarded] {
                let got = session.run(&inputs).unwrap();
                assert_near(&got[0], &want[0], &what);
                assert_eq!((&got[1], &got[2]), (&want[1], &want[2]), "{what}");
            }
            [pk, pv] = [want[1].clone(), want[2].clone()];
        }
    }
}

#[test]
fn each_sequence_goes_on_where_it_ends() {
    same_everywhere("softcap=0.0", false);
    same_everywhere("softcap=2.5", true);
}

#[test]
fn windows_cut_what_is_seen() {
    for width in [1, 3, 66] {
        same_everywhere(&format!("softcap=0.0,window={width}"), false);
        same_everywhere(&format!("softcap=0.0,window={width}"), true);
    }
}

/// A past with room for all keeps its length.
#[test]
fn shared_buffers_keep_their_length() {
    let module = module("softcap=0.0", false);
    let mut session =
        Session::guarded(program(&module), &SessionOptions { threads: 2, ..SessionOptions::default() });
    let one = |seed| noise(&[2, 2, 1, 8], seed);
    let past = [noise(&[2, 2, 9, 8], 5), noise(&[2, 2, 9, 8], 6)];
    let (q, starts, longest) =
        (noise(&[2, 4, 1, 8], 1), Tensor::vector(vec![4i64, 8]), Tensor::vector(vec![0i8; 9]));
    let inputs = [&[q, one(2), one(3), starts, longest], &past[..]].concat();
    let (got, want) = (session.run(&inputs).unwrap(), eval::run(&module, inputs).unwrap());
    assert_near(&got[0], &want[0], "shared");
    assert_eq!((got[1].dims(), &got[1]), (&[2, 2, 9, 8][..], &want[1]));
}

#[test]
fn rows_outside_of_the_cache_are_errors() {
    let module = module("softcap=0.0", false);
    let mut session =
        Session::guarded(program(&module), &SessionOptions { threads: 2, ..SessionOptions::default() });
    for starts in [[3i64, 4], [-1, 0], [i64::MAX, 0], [0, i64::MIN]] {
        let one = |seed| noise(&[2, 2, 1, 8], seed);
        let inputs = [
            noise(&[2, 4, 1, 8], 1),
            one(2),
            one(3),
            Tensor::vector(starts.to_vec()),
            Tensor::vector(vec![0i8; 4]),
            noise(&[2, 2, 3, 8], 5),
            noise(&[2, 2, 3, 8], 6),
        ];
        assert!(session.run(&inputs).is_err(), "{starts:?}");
        assert!(eval::run(&module, inputs.to_vec()).is_err(), "{starts:?}");
    }
}
