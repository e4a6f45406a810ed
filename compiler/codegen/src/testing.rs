//! What tests of code generation compile.

use trine_ir::{Module, text};

use crate::Target;
use crate::plan::form::form;

/// Weights, norms and scales, all of whose elements are 1.
const CONSTANTS: [(&str, &str, &[usize]); 9] = [
    ("g0", "f32", &[64]),
    ("w0", "trit", &[128, 64]),
    ("s0", "f32", &[128, 1]),
    ("g1", "f32", &[128]),
    ("w1", "trit", &[64, 128]),
    ("s1", "f32", &[64, 1]),
    ("g2", "f32", &[64]),
    ("w2", "trit", &[10, 64]),
    ("s2", "f32", &[10, 1]),
];

const MLP: &str = "\
graph @main(%x: f32[batch,64]) -> (%y: f32[batch,10]) {
  %n0 = rms_norm %x, @g0 {eps=1e-5} : f32[batch,64]
  %p0 = sign_select %n0, @w0 : f32[batch,128,64]
  %t0 = group_sum %p0 {group=64} : f32[batch,128,1]
  %o0 = rescale %t0, @s0 : f32[batch,128]
  %r0 = relu %o0 : f32[batch,128]
  %n1 = rms_norm %r0, @g1 {eps=1e-5} : f32[batch,128]
  %p1 = sign_select %n1, @w1 : f32[batch,64,128]
  %t1 = group_sum %p1 {group=128} : f32[batch,64,1]
  %o1 = rescale %t1, @s1 : f32[batch,64]
  %r1 = relu %o1 : f32[batch,64]
  %n2 = rms_norm %r1, @g2 {eps=1e-5} : f32[batch,64]
  %p2 = sign_select %n2, @w2 : f32[batch,10,64]
  %t2 = group_sum %p2 {group=64} : f32[batch,10,1]
  %y = rescale %t2, @s2 : f32[batch,10]
}
";

/// Three ternary layers, two of which have as many inputs, with norms before them: formed.
pub fn mlp(target: &Target) -> Module {
    let constant = |(name, elem, dims): (&str, &str, &[usize])| {
        let ones = vec!["1"; dims.iter().product()].join(",");
        format!("const @{name}: {elem}{dims:?} = [{ones}]\n").replace(", ", ",")
    };
    let constants: String = CONSTANTS.map(constant).concat();
    let mut module = text::parse(&format!("stage lowered\n{constants}{MLP}")).expect("a module");
    form(&mut module, target);
    module
}
