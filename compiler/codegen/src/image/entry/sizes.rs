//! Sizes in code: polynomials of the caller's dimensions, whose arithmetic is checked.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use trine_ir::dim::AtomOp;
use trine_runtime::{Derived, Size};

use super::{ALIGN, Function};

/// Checked arithmetic over the dimensions.
pub struct Sizes {
    pub values: Vec<Value>,
    /// Not zero where there is no such size.
    pub bad: Value,
}

impl Sizes {
    /// Works out the next derived size, which `Derived::eval` does in a session.
    pub fn derive(&mut self, f: &mut Function, derived: &Derived) {
        let args: Vec<Value> = derived.args.iter().map(|a| self.sum(f, a)).collect();
        let value = match (derived.op, args.as_slice()) {
            (AtomOp::FloorDiv, [p, q]) => {
                let divisor = f.b.ins().icmp_imm_s(IntCC::SignedLessThanOrEqual, *q, 0);
                self.refuse(f, divisor);
                let one = f.b.ins().iconst(I64, 1);
                // What is not negative is divided alike either way; what is has no size.
                self.refuse_negative(f, *p);
                let q = f.b.ins().smax(*q, one);
                f.b.ins().udiv(*p, q)
            }
            (op, args) => {
                let mut args = args.iter().copied();
                let first = args.next().unwrap_or_else(|| f.b.ins().iconst(I64, 1));
                args.fold(first, |all, arg| match op {
                    AtomOp::Min => f.b.ins().smin(all, arg),
                    AtomOp::Max => f.b.ins().smax(all, arg),
                    _ => {
                        // Sizes broadcast where they are equal, or one of them is 1.
                        let one = f.b.ins().icmp_imm_s(IntCC::Equal, arg, 1);
                        let other = f.b.ins().icmp_imm_s(IntCC::Equal, all, 1);
                        let differ = f.b.ins().icmp(IntCC::NotEqual, all, arg);
                        let either = f.b.ins().bor(one, other);
                        let neither = f.b.ins().icmp_imm_s(IntCC::Equal, either, 0);
                        let bad = f.b.ins().band(differ, neither);
                        self.refuse(f, bad);
                        f.b.ins().select(one, all, arg)
                    }
                })
            }
        };
        self.refuse_negative(f, value);
        self.values.push(value);
    }

    pub fn eval(&mut self, f: &mut Function, size: &Size) -> Value {
        let sum = self.sum(f, size);
        self.refuse_negative(f, sum);
        sum
    }

    /// The value of a size, which may be negative.
    pub fn sum(&mut self, f: &mut Function, size: &Size) -> Value {
        let mut sum = f.b.ins().iconst(I64, 0);
        for (coefficient, symbols) in size.terms() {
            let mut product = f.b.ins().iconst(I64, *coefficient);
            for symbol in symbols {
                let value = self.values[*symbol as usize];
                self.refuse_negative(f, value);
                product = self.multiply(f, product, value);
            }
            sum = self.add(f, sum, product);
        }
        sum
    }

    pub fn add(&mut self, f: &mut Function, a: Value, b: Value) -> Value {
        let (result, overflow) = f.b.ins().sadd_overflow(a, b);
        self.checked(f, result, overflow)
    }

    pub fn multiply(&mut self, f: &mut Function, a: Value, b: Value) -> Value {
        let (result, overflow) = f.b.ins().smul_overflow(a, b);
        self.checked(f, result, overflow)
    }

    pub fn round_up(&mut self, f: &mut Function, bytes: Value) -> Value {
        let rest = f.b.ins().iconst(I64, ALIGN - 1);
        let end = self.add(f, bytes, rest);
        f.b.ins().band_imm_s(end, -ALIGN)
    }

    fn checked(&mut self, f: &mut Function, result: Value, overflow: Value) -> Value {
        let overflow = f.b.ins().uextend(I64, overflow);
        self.bad = f.b.ins().bor(self.bad, overflow);
        result
    }

    pub fn refuse_negative(&mut self, f: &mut Function, value: Value) {
        let negative = f.b.ins().icmp_imm_s(IntCC::SignedLessThan, value, 0);
        self.refuse(f, negative);
    }

    pub fn refuse(&mut self, f: &mut Function, bad: Value) {
        let bad = f.b.ins().uextend(I64, bad);
        self.bad = f.b.ins().bor(self.bad, bad);
    }
}
