//! A pass of one's own: the equation, what takes its place, and the module before and after.
//!
//!     cargo run --example own_pass

use std::error::Error;

use trine::Tensor;
use trine::pattern::{any, apply, refuse, rule, scalar};
use trine_ir::ops::Mul;
use trine_ir::{Elem, Literal, eval, text};

const SOURCE: &str = "\
graph @main(%x: f32[n]) -> (%y: f32[n], %z: f32[n]) {
  %half = mul %x, 0.5 : f32[n]
  %y = mul 4.0, %half : f32[n]
  %z = mul %x, %y : f32[n]
}
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut module = text::parse(SOURCE)?;
    trine_ir::verify(&module)?;
    let x = Tensor::vector(vec![1f32, -2.5, 1e3]);
    let before = eval::run(&module, vec![x.clone()])?;

    // (x · a) · b  →  x · (a · b), and as multiplication commutes, any order of each.
    let (x_pattern, a, b) = (any(), scalar(), scalar());
    let root = &x_pattern * &a * &b;
    let join_scales = rule("join-scales", root.clone(), move |m, g| {
        if g.ty(m[&root]).elem != Elem::F32 {
            return refuse("only f32 has literals of its own");
        }
        let product = g.scalar(m[&a])? * g.scalar(m[&b])?;
        let product = g.literal(Literal::F32(product as f32));
        Ok(g.add(Mul {}, &[m[&x_pattern], product])?)
    });
    let (count, near_misses) = apply(&mut module, &[join_scales]);

    trine_ir::verify(&module)?;
    println!("{SOURCE}\n// {count} rewrite, {} near misses\n{}", near_misses.len(), text::print(&module));
    // Powers of two scale exactly, so even the bits are the same.
    assert!(eval::run(&module, vec![x])? == before);
    Ok(())
}
