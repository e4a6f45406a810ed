//! The pieces that all kernel emitters share: arguments, sizes, loops, memory, calls of microkernels.
//!
//! An emitter writes one function of the kernel ABI. Shapes are polynomials over the program's symbols,
//! whose values the kernel is given; constant ones fold.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, F32X4, I8, I64};
use cranelift_codegen::ir::{
    self, AbiParam, BlockArg, ConstantData, Endianness, InstBuilder, MemFlagsData, Signature, StackSlotData,
    StackSlotKind, Type, UserFuncName, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};
use target_lexicon::Architecture;
use trine_ir::dim::{Atom, AtomOp, Factor};
use trine_ir::{Dim, Elem};
use trine_ukernel::prefetch;

use super::CodegenError;
use super::arguments::{Arguments, Field};

/// What the emission of a piece of code gives.
pub type Result<T> = std::result::Result<T, CodegenError>;

/// Names of the program's symbols, in the order of the kernel's `dims`.
pub type Symbols = [std::sync::Arc<str>];

/// A kernel function under construction.
pub struct Emit<'a> {
    /// Where instructions are appended.
    pub b: FunctionBuilder<'a>,
    module: &'a mut dyn Module,
    symbols: &'a Symbols,
    args: Vec<Value>,
    dims: Value,
    /// Which share of the work to do.
    pub part: Value,
    /// How many shares there are.
    pub parts: Value,
}

/// Declares and defines `name` with `args` pointers (operands, results, scratch); `body` writes it and gives
/// the status to return.
pub fn define(
    module: &mut dyn Module,
    symbols: &Symbols,
    name: &str,
    args: usize,
    body: impl FnOnce(&mut Emit) -> Result<Value>,
) -> Result<(FuncId, cranelift_codegen::Context)> {
    let mut context = module.make_context();
    context.func.signature.params.extend([AbiParam::new(I64); 4]);
    context.func.signature.returns.push(AbiParam::new(I64));
    let id = module
        .declare_function(name, Linkage::Export, &context.func.signature)
        .map_err(|e| CodegenError::bug(name, e))?;
    context.func.name = UserFuncName::user(0, id.as_u32());
    let target = module.target_config();
    let mut builder_context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut builder_context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    let flags = MemFlagsData::new().with_notrap().with_readonly();
    let loaded = (0..args).map(|i| b.ins().load(I64, flags, params[0], 8 * i as i32)).collect();
    let mut emit =
        Emit { b, module, symbols, args: loaded, dims: params[1], part: params[2], parts: params[3] };
    let status = body(&mut emit)?;
    emit.b.ins().return_(&[status]);
    emit.b.seal_all_blocks();
    emit.b.finalize(target);
    Ok((id, context))
}

impl Emit<'_> {
    /// The pointer of argument `i`.
    pub fn arg(&self, i: usize) -> Value {
        self.args[i]
    }

    pub fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(I64, value)
    }

    /// The value of a dimension.
    pub fn size(&mut self, dim: &Dim) -> Result<Value> {
        let mut sum = None;
        for (monomial, coefficient) in dim.terms() {
            let mut product = self.int(coefficient);
            for factor in monomial {
                let value = match factor {
                    Factor::Symbol(symbol) => self.symbol(symbol)?,
                    Factor::Atom(atom) => self.atom(atom)?,
                };
                product = self.b.ins().imul(product, value);
            }
            sum = Some(match sum {
                None => product,
                Some(sum) => self.b.ins().iadd(sum, product),
            });
        }
        Ok(sum.unwrap_or_else(|| self.int(0)))
    }

    /// The capacity of the states, -1 when they are dense.
    pub fn capacity(&mut self) -> Value {
        let offset = 8 * self.symbols.len() as i32;
        self.b.ins().load(I64, readonly(), self.dims, offset)
    }

    /// A derived size. Least and largest ones that no type has, such as strides are made of, are worked out in place.
    fn atom(&mut self, atom: &Atom) -> Result<Value> {
        let name = atom.to_string();
        let is_least = match atom.op() {
            _ if self.symbols.iter().any(|s| **s == *name) => return self.symbol(&name),
            AtomOp::Min => true,
            AtomOp::Max => false,
            _ => return Err(CodegenError::Symbol { symbol: name }),
        };
        let args = atom.args().iter().map(|d| self.size(d)).collect::<Result<Vec<_>>>()?;
        let chosen = args.into_iter().reduce(|a, b| match is_least {
            true => self.b.ins().smin(a, b),
            false => self.b.ins().smax(a, b),
        });
        chosen.ok_or_else(|| CodegenError::malformed("a derived size"))
    }

    fn symbol(&mut self, symbol: &str) -> Result<Value> {
        let index = self.symbols.iter().position(|s| &**s == symbol);
        let index = index.ok_or_else(|| CodegenError::Symbol { symbol: symbol.into() })?;
        Ok(self.b.ins().load(I64, readonly(), self.dims, 8 * index as i32))
    }

    /// The range of `total` that this part does, in whole multiples of `grain`.
    pub fn share(&mut self, total: Value, grain: i64) -> (Value, Value) {
        let blocks = self.b.ins().iadd_imm_s(total, grain - 1);
        let grain_value = self.int(grain);
        let blocks = self.b.ins().udiv(blocks, grain_value);
        let next = self.b.ins().iadd_imm_s(self.part, 1);
        let [begin, end] = [self.part, next].map(|part| {
            let scaled = self.b.ins().imul(blocks, part);
            let block = self.b.ins().udiv(scaled, self.parts);
            let at = self.b.ins().imul(block, grain_value);
            self.b.ins().smin(at, total)
        });
        (begin, end)
    }

    /// `for i in (begin..end).step_by(step)`, carrying values from round to round.
    pub fn for_range(
        &mut self,
        begin: Value,
        end: Value,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Result<Vec<Value>>,
    ) -> Result<Vec<Value>> {
        let (header, inside, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.append_block_param(header, I64);
        for v in carried {
            let ty = self.b.func.dfg.value_type(*v);
            self.b.append_block_param(header, ty);
        }
        let jump = |first: Value, rest: &[Value]| {
            let all = std::iter::once(first).chain(rest.iter().copied());
            all.map(BlockArg::from).collect::<Vec<_>>()
        };
        self.b.ins().jump(header, &jump(begin, carried));
        self.b.switch_to_block(header);
        let params = self.b.block_params(header).to_vec();
        let go = self.b.ins().icmp(IntCC::SignedLessThan, params[0], end);
        self.b.ins().brif(go, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        let next = body(self, params[0], &params[1..])?;
        let i = self.b.ins().iadd_imm_s(params[0], step);
        self.b.ins().jump(header, &jump(i, &next));
        self.b.switch_to_block(exit);
        Ok(params[1..].to_vec())
    }

    /// Code that runs only when `condition` is not zero.
    pub fn when(&mut self, condition: Value, body: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let (inside, exit) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, inside, &[], exit, &[]);
        self.b.switch_to_block(inside);
        body(self)?;
        self.b.ins().jump(exit, &[]);
        self.b.switch_to_block(exit);
        Ok(())
    }

    /// `base + index·scale`.
    pub fn at(&mut self, base: Value, index: Value, scale: i64) -> Value {
        let offset = if scale == 1 { index } else { self.b.ins().imul_imm_s(index, scale) };
        self.b.ins().iadd(base, offset)
    }

    pub fn load(&mut self, ty: Type, pointer: Value, offset: i32) -> Value {
        self.b.ins().load(ty, readwrite(), pointer, offset)
    }

    pub fn store(&mut self, value: Value, pointer: Value, offset: i32) {
        self.b.ins().store(readwrite(), value, pointer, offset);
    }

    /// A constant of four equal floats, or one.
    pub fn float(&mut self, value: f32, ty: Type) -> Value {
        match ty {
            F32 => self.b.ins().f32const(value),
            _ => self.four(value.to_bits(), ty),
        }
    }

    /// Four lanes of the same bits.
    pub fn four(&mut self, bits: u32, ty: Type) -> Value {
        let mut bytes = [0; 16];
        bytes.chunks_exact_mut(4).for_each(|lane| lane.copy_from_slice(&bits.to_le_bytes()));
        self.bytes(bytes, ty)
    }

    /// A 128-bit constant.
    pub fn bytes(&mut self, bytes: [u8; 16], ty: Type) -> Value {
        let handle = self.b.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.b.ins().vconst(ty, handle)
    }

    pub fn cast(&mut self, value: Value, ty: Type) -> Value {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, value)
    }

    /// `size` bytes on the stack, aligned to 16.
    pub fn stack(&mut self, size: u32) -> Value {
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 4));
        self.b.ins().stack_addr(I64, slot, 0)
    }

    /// Calls the microkernel `symbol` with a pointer to its arguments.
    pub fn call_with_struct<S>(&mut self, symbol: &str, arguments: Arguments<S>) -> Result<()> {
        let args = self.stack(size_of::<S>() as u32);
        for Field { offset, size, value } in arguments.in_order() {
            let bytes = self.b.func.dfg.value_type(value).bytes() as usize;
            debug_assert_eq!(bytes, size, "`{symbol}` has another type at offset {offset}");
            self.store(value, args, offset as i32);
        }
        self.call(symbol, &[args], None).map(|_| ())
    }

    /// Calls an external function; parameters are as the values are.
    pub fn call(&mut self, symbol: &str, args: &[Value], result: Option<Type>) -> Result<Option<Value>> {
        let signature = self.module.make_signature();
        self.call_as(signature, symbol, args, result)
    }

    /// Asks for [`prefetch::BYTES`] at any address, where the machine can; there is no instruction for it, but the
    /// call that stands for it changes no register.
    pub fn prefetch(&mut self, pointer: Value) -> Result<()> {
        if matches!(self.module.isa().triple().architecture, Architecture::X86_64 | Architecture::Aarch64(_))
        {
            let mut signature = self.module.make_signature();
            signature.call_conv = CallConv::PreserveAll;
            self.call_as(signature, prefetch::SYMBOL, &[pointer], None)?;
        }
        Ok(())
    }

    fn call_as(
        &mut self,
        mut signature: Signature,
        symbol: &str,
        args: &[Value],
        result: Option<Type>,
    ) -> Result<Option<Value>> {
        for a in args {
            signature.params.push(AbiParam::new(self.b.func.dfg.value_type(*a)));
        }
        signature.returns.extend(result.map(AbiParam::new));
        let id = self
            .module
            .declare_function(symbol, Linkage::Import, &signature)
            .map_err(|e| CodegenError::bug(symbol, e))?;
        let function = self.module.declare_func_in_func(id, self.b.func);
        let call = self.b.ins().call(function, args);
        Ok(self.b.inst_results(call).first().copied())
    }
}

/// The Cranelift type of an element in memory; `None` for those under eight bits. Half floats are their bits there, and
/// [f32](super::halves) everywhere else.
pub fn clif_type(elem: Elem) -> Option<Type> {
    use cranelift_codegen::ir::types::{F64, I16, I32};
    Some(match elem {
        Elem::F32 => F32,
        Elem::F64 => F64,
        Elem::I8 | Elem::U8 | Elem::Bool => I8,
        Elem::I16 | Elem::U16 | Elem::F16 | Elem::Bf16 => I16,
        Elem::I32 | Elem::U32 => I32,
        Elem::I64 | Elem::U64 => I64,
        _ => return None,
    })
}

/// How many elements a value of this type holds.
pub fn lanes(ty: Type) -> i64 {
    if ty == F32X4 { 4 } else { 1 }
}

fn readonly() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_readonly()
}

fn readwrite() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

pub use ir::Value as ClifValue;
