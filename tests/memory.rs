//! Memory that a session may not have, or that nobody has: what wants it is named before it is taken.

use std::sync::Arc;

use trine::{Backend, Options, Program, RunError, Session, SessionOptions, Tensor};
use trine_ir::text;

fn program(source: &str, backend: Backend) -> Arc<Program> {
    let options = Options { backend, ..Options::default() };
    let zeros = |ty: &trine_ir::Type| {
        let dims = ty.static_dims().unwrap();
        Tensor::from_vec(dims.clone(), vec![0.5f32; dims.iter().product()]).unwrap()
    };
    let mut module = text::parse_with(source, &|_, ty| Some(zeros(ty))).unwrap();
    trine::optimize(&mut module, &options).unwrap();
    Arc::new(trine::build_program(module, &options).unwrap())
}

fn within(max_bytes: Option<usize>) -> SessionOptions {
    SessionOptions { max_bytes, ..SessionOptions::default() }
}

fn ones(dims: &[usize]) -> Tensor {
    Tensor::from_vec(dims.to_vec(), vec![1f32; dims.iter().product()]).unwrap()
}

const ATTENTION: &str = "\
graph @main(%q: f32[b,4,s,8], %k: f32[b,2,s,8], %v: f32[b,2,s,8], %pk: f32[b,2,past,8], %pv: f32[b,2,past,8]) -> (%a: f32[b,4,s,8], %ck: f32[b,2,past+s,8], %cv: f32[b,2,past+s,8]) {
  %a, %ck, %cv = attention %q, %k, %v, _, %pk, %pv {scale=0.35, causal=true, softcap=0.0} : f32[b,4,s,8], f32[b,2,past+s,8], f32[b,2,past+s,8]
}
";

#[test]
fn caches_are_named_with_their_positions() {
    let program = program(ATTENTION, Backend::Auto);
    let attend = |session: &mut Session, b: usize| {
        let given = [ones(&[b, 4, 1, 8]), ones(&[b, 2, 1, 8]), ones(&[b, 2, 1, 8])];
        let views: Vec<trine::View> = given.iter().map(trine::View::from).collect();
        session.execute(&views)
    };
    let of = |capacity: usize, max_bytes: Option<usize>| SessionOptions {
        state_capacity: Some(capacity),
        ..within(max_bytes)
    };
    for make in [Session::new, Session::guarded] {
        let mut session = make(program.clone(), &of(1000, Some(400_000)));
        let error = attend(&mut session, 4).unwrap_err();
        let RunError::MemoryLimit { what, bytes, needed, allowed } = &error else { panic!("{error}") };
        assert_eq!(what, "the cache `pk`, with 1 more, for 1,000 positions");
        assert_eq!((*bytes, *allowed), (2 * 4 * 2 * 1000 * 8 * 4, 400_000));
        assert!(needed >= bytes);
        let told = "the cache `pk`, with 1 more, for 1,000 positions takes 500 KiB; ";
        assert!(error.to_string().starts_with(told), "{error}");
        // One sequence fits.
        attend(&mut session, 1).unwrap();
        let fork = session.fork().unwrap();
        assert_eq!(fork.filled(), 1);
        for capacity in [1 << 44, usize::MAX] {
            let error = attend(&mut make(program.clone(), &of(capacity, None)), 1).unwrap_err();
            assert!(matches!(error, RunError::Memory { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains(" positions takes ") && told.ends_with(", which cannot be had"), "{told}");
        }
    }
}

#[test]
fn values_are_named_by_what_gives_them() {
    let source = "\
graph @main(%x: f32[n,8], %y: f32[8,n]) -> (%z: f32[n,8]) {
  %p = matmul %x, %y {trans_b=false} : f32[n,n]
  %s = softmax %p {axis=1} : f32[n,n]
  %z = matmul %s, %x {trans_b=false} : f32[n,8]
}
";
    for backend in [Backend::Auto, Backend::Interpret] {
        let mut session = Session::new(program(source, backend), &within(Some(1 << 20)));
        let error = session.run(&[ones(&[1024, 8]), ones(&[8, 1024])]).unwrap_err();
        let RunError::MemoryLimit { what, bytes, .. } = &error else { panic!("{error}") };
        assert!(what.contains("[n,n]") && what.contains("gives"), "{error}");
        assert_eq!(*bytes, 4 << 20);
        session.run(&[ones(&[16, 8]), ones(&[8, 16])]).unwrap();
    }
}

#[test]
fn values_whose_size_comes_late_are_named_too() {
    let source = "\
graph @main(%x: f32[n]) -> (%y: f32[1,m]) {
  %i = nonzero %x {count=m} : i64[1,m]
  %f = cast %i {to=f32} : f32[1,m]
  %y = softmax %f {axis=1} : f32[1,m]
}
";
    let mut session = Session::new(program(source, Backend::Auto), &within(Some(100_000)));
    let error = session.run(&[ones(&[20_000])]).unwrap_err();
    assert!(matches!(error, RunError::MemoryLimit { .. }) && error.to_string().contains("[1,m]"), "{error}");
    session.run(&[ones(&[100])]).unwrap();
}

#[test]
fn weights_count() {
    let source = "\
const @w: f32[256,256]
graph @main(%ids: i64[n]) -> (%y: f32[n,256]) {
  %y = gather @w, %ids {axis=0} : f32[n,256]
}
";
    let program = program(source, Backend::Auto);
    let run =
        |max_bytes| Session::new(program.clone(), &within(max_bytes)).run(&[Tensor::vector(vec![7i64, 255])]);
    let error = run(Some(200_000)).unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with("the weight data takes 256 KiB; ") && told.ends_with(" and 195 KiB are allowed"),
        "{told}"
    );
    assert_eq!(run(Some(1 << 20)), run(None));
}
