//! What sessions hold, saved, restored and forked: a session that goes on from there gives the bits of one that never stopped.

use std::sync::Arc;

use trine::{Options, Program, RunError, Session, SessionOptions, Tensor, View};
use trine_ir::{DimEnv, Elem, text};
use trine_runtime::{Saved, SavedError};

use crate::graphs::data::{Draw, tensor};

/// Caches that grow, whose positions are not the outermost axis, and one whose size stays.
const BOTH: &str = "\
graph @main(%q: f32[b,4,s,8], %k: f32[b,2,s,8], %v: f32[b,2,s,8], %x: f32[b,s,8], %at: i64[b], %pk: f32[b,2,past,8], \
%pv: f32[b,2,past,8], %cache: f32[b,16,8]) -> (%a: f32[b,4,s,8], %ck: f32[b,2,past+s,8], %cv: f32[b,2,past+s,8], \
%sum: f32[b,16,1], %new: f32[b,16,8]) {
  %a, %ck, %cv = attention %q, %k, %v, _, %pk, %pv {scale=0.35, causal=true, softcap=0.0} : f32[b,4,s,8], f32[b,2,past+s,8], f32[b,2,past+s,8]
  %new = tensor_scatter %cache, %x, %at {axis=1, circular=false} : f32[b,16,8]
  %sum = reduce_sum %new {axes=[2], keepdims=true} : f32[b,16,1]
}
";

/// Caches alone, as elements of two bytes or four.
const ATTENTION: &str = "\
graph @main(%q: E[b,4,s,8], %k: E[b,2,s,8], %v: E[b,2,s,8], %pk: E[b,2,past,8], %pv: E[b,2,past,8]) -> (%a: E[b,4,s,8], %ck: E[b,2,past+s,8], %cv: E[b,2,past+s,8]) {
  %a, %ck, %cv = attention %q, %k, %v, _, %pk, %pv {scale=0.35, causal=true, softcap=0.0} : E[b,4,s,8], E[b,2,past+s,8], E[b,2,past+s,8]
}
";

fn program(source: &str, states: usize) -> Arc<Program> {
    let options = Options::default();
    let mut module = text::parse(source).unwrap_or_else(|e| panic!("{e}\n{source}"));
    trine::optimize(&mut module, &options).unwrap();
    let program = trine::build_program(module, &options).unwrap();
    assert_eq!(program.states.len(), states, "{source}");
    Arc::new(program)
}

fn both() -> Arc<Program> {
    program(BOTH, 3)
}

fn attention(elem: &str) -> Arc<Program> {
    program(&ATTENTION.replace("E[", &format!("{elem}[")), 2)
}

fn holding(threads: usize, capacity: usize) -> SessionOptions {
    SessionOptions { threads, state_capacity: Some(capacity), ..SessionOptions::default() }
}

/// What all outputs are after `s` more positions of `b` sequences. The first of them is the `at`th.
fn step(session: &mut Session, b: usize, at: usize, s: usize, seed: u64) -> Result<Vec<Vec<u8>>, RunError> {
    let program = session.program().clone();
    let mut env = DimEnv::default();
    env.set("b".into(), b);
    env.set("c".into(), b + 1);
    env.set("s".into(), s);
    let given = program.inputs.iter().enumerate().filter(|(i, _)| !session.is_state(*i));
    let tensors: Vec<Tensor> = given
        .map(|(i, port)| {
            let dims = port.ty.eval_dims(&env).unwrap();
            match port.ty.elem {
                Elem::I64 => Tensor::vector(vec![at as i64; dims[0]]),
                elem => tensor(elem, &dims, Draw::Reals, seed * 10 + i as u64),
            }
        })
        .collect();
    session.execute(&tensors.iter().map(View::from).collect::<Vec<_>>())?;
    Ok((0..program.outputs.len()).map(|i| session.output(i).data.to_vec()).collect())
}

/// A session that read positions, four in three runs.
fn started(make: fn(Arc<Program>, &SessionOptions) -> Session, program: &Arc<Program>, b: usize) -> Session {
    let mut session = make(program.clone(), &holding(2, 10));
    for (at, s, seed) in [(0, 2, 1), (2, 1, 2), (3, 1, 3)] {
        step(&mut session, b, at, s, seed).unwrap();
    }
    session
}

const MAKES: [fn(Arc<Program>, &SessionOptions) -> Session; 2] = [Session::new, Session::guarded];

#[test]
fn a_session_goes_on_where_another_was_saved() {
    for program in [both(), attention("f32"), attention("f16")] {
        for make in MAKES {
            let mut first = started(make, &program, 2);
            let saved = first.save().unwrap();
            assert_eq!((saved.filled(), saved.is_empty()), (4, false));
            let bytes = saved.to_bytes();
            // With other room, other threads, and other things held before.
            let (mut small, mut large) =
                (make(program.clone(), &holding(1, 7)), make(program.clone(), &holding(3, 300)));
            step(&mut large, 3, 0, 5, 9).unwrap();
            for session in [&mut small, &mut large] {
                session.restore(&Saved::from_bytes(&bytes).unwrap()).unwrap();
                assert_eq!(session.filled(), 4);
                assert_eq!(session.save().unwrap().to_bytes(), bytes);
            }
            for (at, s, seed) in [(4, 1, 4), (5, 2, 5)] {
                let want = step(&mut first, 2, at, s, seed).unwrap();
                for session in [&mut small, &mut large] {
                    assert_eq!(step(session, 2, at, s, seed).unwrap(), want);
                }
            }
            // What was saved is not changed by what came after it, and positions can be forgotten.
            large.restore(&saved).unwrap();
            small.restore(&saved).unwrap();
            for session in [&mut small, &mut large] {
                session.truncate(2);
            }
            assert_eq!(small.save().unwrap(), large.save().unwrap());
            assert_eq!(step(&mut small, 2, 2, 2, 7).unwrap(), step(&mut large, 2, 2, 2, 7).unwrap());
        }
    }
}

#[test]
fn forks_share_a_prefix_and_nothing_else() {
    let program = both();
    for make in MAKES {
        let alone = |seeds: &[u64]| {
            let mut session = started(make, &program, 2);
            let each = seeds.iter().zip(4..);
            each.map(|(seed, at)| step(&mut session, 2, at, 1, *seed).unwrap()).collect::<Vec<_>>()
        };
        let mut prefix = started(make, &program, 2);
        let mut forks = [prefix.fork().unwrap(), prefix.fork().unwrap()];
        assert!(forks.iter().all(|fork| fork.threads() == prefix.threads() && fork.filled() == 4));
        let (seeds, last) = ([[11u64, 12], [21, 22]], [31, 32]);
        let mut got = [vec![], vec![], vec![]];
        // In turns, so that one that disturbs another is seen.
        for at in 0..2 {
            for (i, fork) in forks.iter_mut().enumerate() {
                got[i].push(step(fork, 2, 4 + at, 1, seeds[i][at]).unwrap());
            }
            got[2].push(step(&mut prefix, 2, 4 + at, 1, last[at]).unwrap());
        }
        assert_eq!(got, [alone(&seeds[0]), alone(&seeds[1]), alone(&last)]);
        // They have as much room.
        let full = step(&mut forks[0], 2, 6, 5, 1).unwrap_err();
        assert_eq!(full, RunError::StateFull { capacity: 10, needed: 11 });
        // A fork outlives what it was forked from.
        drop(prefix);
        step(&mut forks[1], 2, 6, 1, 1).unwrap();
    }
}

#[test]
fn many_sessions_of_one_program_do_not_disturb_each_other() {
    let program = both();
    let run = |number: u64, threads: usize| {
        let mut session = Session::new(program.clone(), &holding(threads, 16));
        let b = 1 + number as usize % 3;
        let mut all = vec![];
        for at in 0..12 {
            all.extend(step(&mut session, b, at, 1, 100 * number + at as u64).unwrap());
            if at == 5 {
                session = session.fork().unwrap();
            }
            if at == 8 {
                let saved = session.save().unwrap();
                session.reset();
                session.restore(&saved).unwrap();
            }
        }
        all
    };
    let alone: Vec<_> = (0..8).map(|number| run(number, 1)).collect();
    for _ in 0..5 {
        std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || run(n, 1 + n as usize % 2))).collect();
            for (thread, alone) in threads.into_iter().zip(&alone) {
                assert!(thread.join().unwrap() == *alone);
            }
        });
    }
}

#[test]
fn nothing_held_is_saved_as_nothing() {
    let program = both();
    for make in MAKES {
        let mut session = make(program.clone(), &holding(1, 10));
        let nothing = session.save().unwrap();
        assert!(nothing.is_empty());
        assert_eq!(Saved::from_bytes(&nothing.to_bytes()), Ok(nothing.clone()));
        assert_eq!(session.fork().unwrap().filled(), 0);
        // It is as good as a reset, and leaves no sizes that others must have.
        let fresh = step(&mut session, 2, 0, 2, 1).unwrap();
        session.restore(&nothing).unwrap();
        assert!(session.save().unwrap().is_empty());
        assert_eq!(step(&mut session, 2, 0, 2, 1).unwrap(), fresh);
        session.reset();
        step(&mut session, 3, 0, 2, 1).unwrap();
        // Where states are inputs and outputs as others, nothing is held.
        let mut plain = make(program.clone(), &SessionOptions::default());
        assert!(plain.save().unwrap().is_empty());
        plain.restore(&nothing).unwrap();
        let error = plain.restore(&session.save().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "the saved state `pk` does not fit: the session holds no state of this name");
    }
    // Positions that are forgotten leave what has none.
    let mut session = started(Session::new, &program, 2);
    session.truncate(0);
    let saved = session.save().unwrap();
    assert_eq!((saved.filled(), saved.is_empty()), (0, false));
    let mut other = Session::new(program, &holding(1, 12));
    other.restore(&saved).unwrap();
    assert_eq!(step(&mut session, 2, 4, 2, 8).unwrap(), step(&mut other, 2, 4, 2, 8).unwrap());
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let program = both();
    for make in MAKES {
        let mut session = started(make, &program, 2);
        let held = session.save().unwrap();
        let refused = |session: &mut Session, source: &str, states: usize, b: usize| {
            let mut other = make(self::program(source, states), &holding(1, 40));
            step(&mut other, b, 0, 12, 5).unwrap();
            let saved = other.save().unwrap();
            match session.restore(&saved).unwrap_err() {
                RunError::SavedState { name, message } => format!("{name}: {message}"),
                other => panic!("{other}"),
            }
        };
        assert_eq!(refused(&mut session, BOTH, 3, 2), "pk: 12 positions, and room for 10");
        let mut roomy = make(program.clone(), &holding(1, 12));
        // Two batches, where the session's program has one.
        let apart = BOTH.replace("x: f32[b", "x: f32[c").replace("at: i64[b", "at: i64[c");
        let apart = apart.replace("[b,16", "[c,16");
        let cases = [
            (BOTH.replace("%pv", "%other"), 3, "other: the session holds no state of this name"),
            (ATTENTION.replace("E[", "f32["), 2, "cache: it is not among what was saved"),
            (BOTH.replace("16", "17"), 3, "cache: axis 1 has 17 elements, not `16`"),
            (BOTH.replace(",8]", ",4]"), 3, "pk: axis 3 has 4 elements, not `8`"),
            (apart, 3, "cache: axis 0 has 3 elements, not `b`"),
        ];
        for (source, states, want) in cases {
            assert_eq!(refused(&mut roomy, &source, states, 2), want);
            assert!(roomy.save().unwrap().is_empty());
        }
        refused(&mut session, BOTH, 3, 2);
        // The session is as it was.
        assert_eq!(session.save().unwrap(), held);
        let mut fresh = started(make, &program, 2);
        assert_eq!(step(&mut session, 2, 4, 2, 6).unwrap(), step(&mut fresh, 2, 4, 2, 6).unwrap());
    }
    let mut halves = Session::new(attention("f16"), &holding(1, 10));
    let singles = started(Session::new, &attention("f32"), 2).save().unwrap();
    let error = halves.restore(&singles).unwrap_err().to_string();
    assert_eq!(
        error,
        "the saved state `pk` does not fit: the session's is f16[b,2,past,8], not f32[2,2,4,8]"
    );
}

/// Other sizes than those held need a reset, as they do where nothing was restored.
#[test]
fn sizes_are_those_that_were_saved() {
    let program = both();
    let saved = |b: usize| started(Session::new, &program, b).save().unwrap();
    let (two, three) = (saved(2), saved(3));
    let mut session = Session::new(program.clone(), &holding(1, 10));
    session.restore(&two).unwrap();
    let error = step(&mut session, 3, 4, 1, 1).unwrap_err();
    assert_eq!(error, RunError::StateDims { name: "pk".into(), axis: 0, was: 2, now: 3 });
    session.restore(&three).unwrap();
    step(&mut session, 3, 4, 1, 1).unwrap();
}

#[test]
fn damaged_bytes_are_refused() {
    let program = attention("f32");
    let mut session = Session::new(program, &holding(1, 3));
    step(&mut session, 1, 0, 1, 1).unwrap();
    let good = session.save().unwrap().to_bytes();
    assert!(good.len() < 1000, "{}", good.len());
    for len in 0..good.len() {
        Saved::from_bytes(&good[..len]).unwrap_err();
    }
    for bit in 0..8 * good.len() {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        Saved::from_bytes(&bad).unwrap_err();
    }
    let mut newer = good.clone();
    newer[8] = 2;
    assert_eq!(Saved::from_bytes(&newer), Err(SavedError::Format { format: 2 }));
    assert_eq!(Saved::from_bytes(b"{}"), Err(SavedError::Magic));
    session.restore(&Saved::from_bytes(&good).unwrap()).unwrap();
}
