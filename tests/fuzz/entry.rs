//! What is asked of arbitrary bytes: results or typed errors, and where there are results, the right ones.
//!
//! Each function panics where something is wrong. cargo-fuzz calls them with what it makes up (`targets/`), and
//! `cargo test --test library fuzz` with a few hundred inputs that are always the same.

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use trine::Options;
use trine::artefact::container::Head;
use trine::import::{ImportError, import_bytes};
use trine::npz::{Npz, read_npy};
use trine::pass::PassError;
use trine::passes::PASSES;
use trine_ir::{Elem, Module, Tensor, Type, eval, sidecar, text, verify};

use crate::feed;
use crate::graphs::check::{Plan, Verdict, check};
use crate::graphs::choices::Choices;
use crate::graphs::data::{Draw, tensor};
use crate::graphs::{generate, shipped};
use crate::sections::replaced;

/// Text whose constants are looked for in a file of weights.
pub const WEIGHED: &str = "\
const @w: f32[4,2]
const @q: i4[8]
const @t: trit[5]
const @h: f16[3]
const @p: bool[3]

graph @main(%x: f32[n,4]) -> (%y: f32[n,2], %a: i4[8], %b: trit[5], %c: f16[3], %d: bool[3]) {
  %y = matmul %x, @w {trans_b=false} : f32[n,2]
  %a = identity @q : i4[8]
  %b = identity @t : trit[5]
  %c = identity @h : f16[3]
  %d = not @p : bool[3]
}
";

/// Text of what becomes a `.trine` file.
pub const SHIPPED: &str = "\
stage lowered
require n == m
const @w: f32[40,40]
const @t: trit[8,40]
const @s: f32[8,1]
graph @then(%x: f32[n,40]) -> (%y: f32[n,40]) {
  %y = matmul %x, @w {trans_b=false} : f32[n,40]
}
graph @else(%x: f32[n,40]) -> (%y: f32[n,40]) {
  %y = neg %x : f32[n,40]
}
graph @main(%c: bool[], %x: f32[n,40], %b: f32[2,m]) -> (%y: f32[2,8]) {
  %i = if %c, %x, %x {then_body=@then, else_body=@else, then_args=1, results=[f32[n,40]]} : f32[n,40]
  %p = sign_select %i, @t : f32[n,8,40]
  %g = group_sum %p {group=40} : f32[n,8,1]
  %r = rescale %g, @s : f32[n,8]
  %y = matmul %b, %r {trans_b=false} : f32[2,8]
}
";

/// An ONNX model: imported, printed, optimised and run.
pub fn onnx(bytes: &[u8]) {
    match import_bytes(Bytes::copy_from_slice(bytes), None) {
        Ok(module) => of_module(&module),
        Err(ImportError::Verify(error)) => panic!("the importer made a module that does not verify: {error}"),
        Err(_) => {}
    }
}

/// Text of IR.
pub fn ir(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let Ok(module) = text::parse(source) else { return };
    if verify(&module).is_ok() {
        of_module(&module);
    }
}

/// An archive of arrays, and each of its bytes as an array.
pub fn npz(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a folder for temporary files");
    file.write_all(bytes).expect("room for a few bytes");
    let fits = |t: &Tensor| t.elem().bits() >= 8 && t.bytes().len() == t.len() * t.elem().bits() / 8;
    if let Ok(mut npz) = Npz::open(file.path()) {
        for name in npz.names().to_vec() {
            if let Ok(Some(tensor)) = npz.get(&name) {
                assert!(fits(&tensor), "{}", tensor.ty());
            }
        }
    }
    if let Ok(tensor) = read_npy(file.path()) {
        assert!(fits(&tensor), "{}", tensor.ty());
    }
}

/// Weights beside text.
pub fn safetensors(bytes: &[u8]) {
    if let Ok(module) = sidecar::parse(WEIGHED, &Bytes::copy_from_slice(bytes)) {
        for (name, tensor) in &module.consts {
            let elem = tensor.elem();
            assert_eq!(Some(tensor.bytes().len()), elem.bytes(tensor.len()), "`{name}`");
            assert!(elem != Elem::Bool || tensor.bytes().iter().all(|b| *b <= 1), "`{name}`");
        }
        let x = Tensor::from_vec(vec![2, 4], vec![1f32; 8]).expect("eight elements");
        if verify(&module).is_ok() {
            eval::run(&module, vec![x]).expect("the module verifies");
        }
    }
}

/// A `.trine` file, and a good one with other bytes in a section that the first byte says, whose checksums are right. What
/// is loaded is not run.
pub fn artefact(bytes: &[u8]) {
    let refused = |file: Vec<u8>| shipped::load(file).err().is_none_or(|message| !message.is_empty());
    assert!(refused(bytes.to_vec()));
    let good = shipped();
    let sections = Head::read(good).expect("it was just written").sections.len();
    if let Some((first, rest)) = bytes.split_first() {
        assert!(refused(replaced(good, *first as usize % sections, rest)));
    }
}

/// A file with kernels, packed weights, and a step that runs by its meaning and calls a function that reads a constant.
pub fn shipped() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let data = |_: &str, ty: &Type| Some(tensor(ty.elem, &ty.static_dims()?, Draw::Whole(0, 1), 1));
        let module = text::parse_with(SHIPPED, &data).expect("it is right");
        shipped::file(&module, &Options::default()).expect("it compiles")
    })
}

/// A graph whose decisions are the bytes: passes, kernels and sessions keep what it means.
pub fn graphs(bytes: &[u8]) {
    let mut choices = Choices::of_bytes(bytes);
    let plan = Plan::of(&mut choices);
    let Some(case) = generate(&mut choices, usize::MAX, false) else { return };
    match check(&case, &plan) {
        Verdict::Passed(passes) => assert!(passes.iter().all(|p| PASSES.iter().any(|pass| pass.name == *p))),
        Verdict::Refused(why) | Verdict::Idle(why) => assert!(!why.is_empty()),
        Verdict::Failed(message, module) => {
            panic!("{message}\n{}", module.map_or(String::new(), |m| text::print(&m)))
        }
    }
}

/// What holds of every module that verifies: it prints and reads back, passes leave it whole, and it runs or says why not.
fn of_module(module: &Module) {
    let mut weights = vec![];
    sidecar::write(module, &mut weights).expect("memory takes all");
    let printed = text::print(module);
    let again = sidecar::parse(&printed, &weights.into()).unwrap_or_else(|e| panic!("{e} in\n{printed}"));
    assert_eq!(text::print(&again), printed);
    let mut after = module.clone();
    let options = Options { backend: trine::Backend::Interpret, ..Options::default() };
    match trine::optimize(&mut after, &options) {
        Ok(_) => {}
        Err(PassError::Refused { .. }) => return,
        Err(error) => panic!("{error} in\n{printed}"),
    }
    let Some(inputs) = feed::inputs(module, false) else { return };
    let (before, after) = (eval::run(module, inputs.clone()), eval::run(&after, inputs));
    match (before, after) {
        (Ok(before), Ok(after)) => {
            let types = |all: &[Tensor]| all.iter().map(Tensor::ty).collect::<Vec<_>>();
            assert_eq!(types(&before), types(&after), "{printed}");
        }
        (Ok(_), Err(error)) => panic!("{error} once optimised:\n{printed}"),
        (Err(_), _) => {}
    }
}
