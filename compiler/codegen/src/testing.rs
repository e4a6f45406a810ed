//! What tests of code generation compile.

use trine_ir::{Module, text};

use crate::Target;
use crate::plan::form::form;

const MLP: &str = "\
stage lowered
const @g0: f32[64]
const @w0: trit[128,64]
const @s0: f32[128,1]
const @g1: f32[128]
const @w1: trit[64,128]
const @s1: f32[64,1]
const @g2: f32[64]
const @w2: trit[10,64]
const @s2: f32[10,1]
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

/// Three ternary layers, two of which have as many inputs, with norms before them: formed, and without data.
pub fn mlp(target: &Target) -> Module {
    let mut module = text::parse(MLP).expect("a module");
    form(&mut module, target);
    module
}
