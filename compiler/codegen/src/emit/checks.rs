//! What a kernel assumes of its operands' shapes, where the types alone do not say that it holds.
//!
//! Inference takes operands whose dimensions may be equal; a kernel reads all of them by those of one. It asks before it
//! reads anything, and its status says that the shapes do not fit.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use trine_ir::Dim;
use trine_runtime::kernel::STATUS_SHAPE;

use super::function::{ClifValue, Emit, Result};

/// Conditions on dimensions that only a run can tell.
#[derive(Default)]
pub struct Checks {
    equal: Vec<(Dim, Dim)>,
    at_most: Vec<(Dim, Dim)>,
    multiples: Vec<(Dim, Dim)>,
}

impl Checks {
    pub fn equal(&mut self, a: &Dim, b: &Dim) {
        let pair = (a.clone(), b.clone());
        if a != b && !self.equal.contains(&pair) {
            self.equal.push(pair);
        }
    }

    pub fn at_most(&mut self, a: &Dim, b: &Dim) {
        let is_proven = a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a <= b);
        if a != b && !is_proven {
            self.at_most.push((a.clone(), b.clone()));
        }
    }

    /// That `a` is a multiple of `b`, which is not 0.
    pub fn multiple(&mut self, a: &Dim, b: &Dim) {
        let is_proven = a.as_const().zip(b.as_const()).is_some_and(|(a, b)| b > 0 && a % b == 0);
        if !is_proven {
            self.multiples.push((a.clone(), b.clone()));
        }
    }

    /// Whether the types say all.
    pub fn is_empty(&self) -> bool {
        self.equal.is_empty() && self.at_most.is_empty() && self.multiples.is_empty()
    }

    /// Zero if all hold, else `STATUS_SHAPE`.
    pub fn emit(&self, e: &mut Emit) -> Result<ClifValue> {
        let (mut status, bad) = (e.int(0), e.int(STATUS_SHAPE));
        for (condition, pairs) in [(IntCC::Equal, &self.equal), (IntCC::SignedLessThanOrEqual, &self.at_most)]
        {
            for (a, b) in pairs {
                let (a, b) = (e.size(a)?, e.size(b)?);
                let holds = e.b.ins().icmp(condition, a, b);
                status = e.b.ins().select(holds, status, bad);
            }
        }
        for (a, b) in &self.multiples {
            let (a, b) = (e.size(a)?, e.size(b)?);
            let one = e.int(1);
            let divisor = e.b.ins().smax(b, one);
            let rest = e.b.ins().urem(a, divisor);
            status = e.b.ins().select(rest, bad, status);
            status = e.b.ins().select(b, status, bad);
        }
        Ok(status)
    }
}
