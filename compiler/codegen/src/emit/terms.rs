//! Formulas of `trine_ir::math` over instructions instead of numbers.
//!
//! An op's meaning is a formula over [`Float`]; given [`Term`]s it writes itself as code, on one lane of f32 or
//! four, operation by operation. Given [`Cost`]s it says how long that code is.

use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32, F32X4, I32, I32X4};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value};
use cranelift_frontend::FunctionBuilder;
use trine_ir::Op;
use trine_ir::math::{self, Bits, Float, Lanes};

type Builder<'b, 'f> = RefCell<&'b mut FunctionBuilder<'f>>;

/// The value of `op` on f32 operands, all of type `ty`; `None` when it has no formula.
pub fn emit(b: &mut FunctionBuilder, op: &Op, args: &[Option<Value>], ty: Type) -> Option<Value> {
    let b = RefCell::new(b);
    let terms: Vec<Option<Term>> = args.iter().map(|a| a.map(|v| Term { b: &b, v, ty })).collect();
    trine_ir::ops::formula(op, &terms).map(|t| t.v)
}

/// `exp` of a value of type `ty`.
pub fn exp(b: &mut FunctionBuilder, v: Value, ty: Type) -> Value {
    let b = RefCell::new(b);
    math::exp(Term { b: &b, v, ty }).v
}

/// Roughly how many instructions the op takes on `operands` f32 operands; `None` when it has no formula.
pub fn cost(op: &Op, present: &[bool]) -> Option<usize> {
    let args: Vec<Option<Cost>> = present.iter().map(|p| p.then_some(Cost(0))).collect();
    trine_ir::ops::formula(op, &args).map(|c| c.0)
}

/// A value under construction.
struct Term<'b, 'c, 'f> {
    b: &'b Builder<'c, 'f>,
    v: Value,
    ty: Type,
}

impl Clone for Term<'_, '_, '_> {
    fn clone(&self) -> Self {
        *self
    }
}
impl Copy for Term<'_, '_, '_> {}

impl<'b, 'c, 'f> Term<'b, 'c, 'f> {
    fn with(self, v: Value) -> Self {
        Term { v, ..self }
    }
    fn make(self, f: impl FnOnce(&mut FunctionBuilder<'f>) -> Value) -> Self {
        let v = f(&mut self.b.borrow_mut());
        self.with(v)
    }
    fn ints(self) -> Type {
        if self.ty == F32X4 { I32X4 } else { I32 }
    }
    fn cast(self, v: Value, ty: Type) -> Value {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.borrow_mut().ins().bitcast(ty, flags, v)
    }
    fn compare(self, condition: FloatCC, other: Self) -> Mask<'b, 'c, 'f> {
        Mask(self.make(|b| b.ins().fcmp(condition, self.v, other.v)))
    }
}

/// The outcome of a comparison: a flag, or a mask of lanes.
#[derive(Clone, Copy)]
struct Mask<'b, 'c, 'f>(Term<'b, 'c, 'f>);

macro_rules! binary {
    ($($op:ident $method:ident $ins:ident),*) => { $(
        impl $op for Term<'_, '_, '_> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.make(|b| b.ins().$ins(self.v, other.v))
            }
        }
    )* };
}
binary! { Add add fadd, Sub sub fsub, Mul mul fmul, Div div fdiv }

impl Neg for Term<'_, '_, '_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.make(|b| b.ins().fneg(self.v))
    }
}

impl<'b, 'c, 'f> Float for Term<'b, 'c, 'f> {
    type Mask = Mask<'b, 'c, 'f>;

    fn constant(self, value: f64) -> Self {
        self.make(|b| {
            let scalar = b.ins().f32const(value as f32);
            if self.ty == F32 { scalar } else { b.ins().splat(self.ty, scalar) }
        })
    }
    fn less(self, other: Self) -> Self::Mask {
        self.compare(FloatCC::LessThan, other)
    }
    fn equal(self, other: Self) -> Self::Mask {
        self.compare(FloatCC::Equal, other)
    }
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self {
        if yes.ty == F32 {
            return yes.make(|b| b.ins().select(mask.0.v, yes.v, no.v));
        }
        let mask = yes.cast(mask.0.v, yes.ty);
        yes.make(|b| b.ins().bitselect(mask, yes.v, no.v))
    }
    fn abs(self) -> Self {
        self.make(|b| b.ins().fabs(self.v))
    }
    fn sqrt(self) -> Self {
        self.make(|b| b.ins().sqrt(self.v))
    }
    fn floor(self) -> Self {
        self.make(|b| b.ins().floor(self.v))
    }
    fn ceil(self) -> Self {
        self.make(|b| b.ins().ceil(self.v))
    }
    fn round(self) -> Self {
        self.make(|b| b.ins().nearest(self.v))
    }
    fn exp(self) -> Self {
        math::exp(self)
    }
    fn expm1(self) -> Self {
        math::expm1(self)
    }
    fn log(self) -> Self {
        math::log(self)
    }
    fn tanh(self) -> Self {
        math::tanh(self)
    }
    fn erf(self) -> Self {
        math::erf(self)
    }
}

impl<'b, 'c, 'f> Lanes for Term<'b, 'c, 'f> {
    type Bits = Word<'b, 'c, 'f>;

    fn to_bits(self) -> Self::Bits {
        Word(self.with(self.cast(self.v, self.ints())))
    }
    fn from_bits(bits: Self::Bits) -> Self {
        bits.0.with(bits.0.cast(bits.0.v, bits.0.ty))
    }
}

/// The bits of a term.
#[derive(Clone, Copy)]
struct Word<'b, 'c, 'f>(Term<'b, 'c, 'f>);

impl Word<'_, '_, '_> {
    fn constant(self, value: u32) -> Value {
        let mut b = self.0.b.borrow_mut();
        let scalar = b.ins().iconst(I32, i64::from(value));
        if self.0.ty == F32 { scalar } else { b.ins().splat(I32X4, scalar) }
    }
}

impl Sub for Word<'_, '_, '_> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Word(self.0.make(|b| b.ins().isub(self.0.v, other.0.v)))
    }
}

impl Bits for Word<'_, '_, '_> {
    fn add(self, value: u32) -> Self {
        let c = self.constant(value);
        Word(self.0.make(|b| b.ins().iadd(self.0.v, c)))
    }
    fn and(self, value: u32) -> Self {
        let c = self.constant(value);
        Word(self.0.make(|b| b.ins().band(self.0.v, c)))
    }
    fn shift_left(self, by: u32) -> Self {
        Word(self.0.make(|b| {
            let by = b.ins().iconst(I32, i64::from(by));
            b.ins().ishl(self.0.v, by)
        }))
    }
    fn shift_right(self, by: u32) -> Self {
        Word(self.0.make(|b| {
            let by = b.ins().iconst(I32, i64::from(by));
            b.ins().ushr(self.0.v, by)
        }))
    }
}

/// The length of a formula so far.
#[derive(Clone, Copy)]
struct Cost(usize);

impl Cost {
    fn and(self, other: Cost) -> Cost {
        Cost(self.0.saturating_add(other.0).saturating_add(1))
    }
    fn plus(self, instructions: usize) -> Cost {
        Cost(self.0 + instructions)
    }
}

macro_rules! counted {
    ($($op:ident $method:ident),*) => { $(
        impl $op for Cost {
            type Output = Cost;
            fn $method(self, other: Cost) -> Cost { self.and(other) }
        }
    )* };
}
counted! { Add add, Sub sub, Mul mul, Div div }

impl Neg for Cost {
    type Output = Cost;
    fn neg(self) -> Cost {
        self.plus(1)
    }
}

impl Float for Cost {
    type Mask = Cost;

    fn constant(self, _: f64) -> Cost {
        Cost(0)
    }
    fn less(self, other: Cost) -> Cost {
        self.and(other)
    }
    fn equal(self, other: Cost) -> Cost {
        self.and(other)
    }
    fn select(mask: Cost, yes: Cost, no: Cost) -> Cost {
        mask.and(yes).and(no)
    }
    fn abs(self) -> Cost {
        self.plus(1)
    }
    fn sqrt(self) -> Cost {
        self.plus(1)
    }
    fn floor(self) -> Cost {
        self.plus(1)
    }
    fn ceil(self) -> Cost {
        self.plus(1)
    }
    fn round(self) -> Cost {
        self.plus(1)
    }
    fn exp(self) -> Cost {
        self.plus(20)
    }
    fn expm1(self) -> Cost {
        self.plus(20)
    }
    fn log(self) -> Cost {
        self.plus(30)
    }
    fn tanh(self) -> Cost {
        self.plus(30)
    }
    fn erf(self) -> Cost {
        self.plus(40)
    }
}
