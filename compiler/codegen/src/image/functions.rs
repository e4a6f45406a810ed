//! Functions as Cranelift compiles them, and their code as one piece.

use std::ops::Range;

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::{Context, ir};
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleDeclarations, ModuleError, ModuleReloc,
    ModuleRelocTarget, ModuleResult, default_libcall_names,
};
use indexmap::IndexMap;
use rayon::prelude::*;
use rustc_hash::{FxBuildHasher, FxHashMap};
use trine_runtime::code::{SLOT, table};

use crate::error::CodegenError;

/// What no function has, so that a jump astray stops.
const FILLER: u8 = 0xcc;

/// The functions of an image while they are made. Data is declared only: what it holds is not code.
pub struct Functions {
    isa: OwnedTargetIsa,
    declarations: ModuleDeclarations,
    made: IndexMap<FuncId, Function, FxBuildHasher>,
}

struct Function {
    align: usize,
    bytes: Vec<u8>,
    relocations: Vec<ModuleReloc>,
}

/// Functions one after the other, which find each other wherever they lie.
pub struct Code {
    pub bytes: Vec<u8>,
    /// Where each function lies.
    pub places: FxHashMap<FuncId, Range<usize>>,
    /// Names of the functions that are called and not there.
    pub imports: Vec<String>,
    /// Where the addresses of imports and of data are wanted; these places are still zero.
    pub fields: Vec<Field>,
}

/// A place in code that says where something outside of it is.
pub struct Field {
    pub at: usize,
    pub kind: Reloc,
    pub addend: i64,
    pub to: Outside,
}

/// What lies outside of the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outside {
    /// An import, by its number.
    Import(usize),
    Data(DataId),
}

impl Functions {
    pub fn new(isa: &OwnedTargetIsa) -> Functions {
        Functions { isa: isa.clone(), declarations: ModuleDeclarations::default(), made: IndexMap::default() }
    }

    /// Compiles functions that are declared, each on a core of its own.
    pub fn define_all(&mut self, functions: Vec<(FuncId, Context)>) -> ModuleResult<()> {
        let isa = self.isa.clone();
        let compiled = functions.into_par_iter().map(|(id, mut context)| {
            Ok((id, compile(&*isa, id, &mut context, &mut ControlPlane::default())?))
        });
        for (id, function) in compiled.collect::<ModuleResult<Vec<_>>>()? {
            self.insert(id, function)?;
        }
        Ok(())
    }

    fn insert(&mut self, id: FuncId, function: Function) -> ModuleResult<()> {
        let declaration = self.declarations.get_function_decl(id);
        let name = || declaration.linkage_name(id).into_owned();
        if !declaration.linkage.is_definable() {
            return Err(ModuleError::InvalidImportDefinition(name()));
        }
        match self.made.insert(id, function) {
            None => Ok(()),
            Some(_) => Err(ModuleError::DuplicateDefinition(name())),
        }
    }

    /// Puts the functions side by side.
    pub fn link(&self) -> Result<Code, CodegenError> {
        let (mut bytes, mut places) = (vec![], FxHashMap::default());
        for (id, function) in &self.made {
            bytes.resize(bytes.len().next_multiple_of(function.align), FILLER);
            let start = bytes.len();
            bytes.extend_from_slice(&function.bytes);
            places.insert(*id, start..bytes.len());
        }
        let mut code = Code { bytes, places, imports: vec![], fields: vec![] };
        let mut numbers = FxHashMap::default();
        for (id, function) in &self.made {
            let start = code.places[id].start;
            for relocation in &function.relocations {
                let ModuleReloc { offset, kind, addend, .. } = *relocation;
                let at = start + offset as usize;
                match self.target(&code.places, &relocation.name)? {
                    Target::Inside(to) => write(&mut code.bytes, kind, at, to as i64 + addend)?,
                    Target::Data(data) => {
                        code.fields.push(Field { at, kind, addend, to: Outside::Data(data) });
                    }
                    Target::Import(name) => {
                        let number = *numbers.entry(name.clone()).or_insert_with(|| {
                            code.imports.push(name);
                            code.imports.len() - 1
                        });
                        code.fields.push(Field { at, kind, addend, to: Outside::Import(number) });
                    }
                }
            }
        }
        Ok(code)
    }

    fn target(
        &self,
        places: &FxHashMap<FuncId, Range<usize>>,
        name: &ModuleRelocTarget,
    ) -> Result<Target, CodegenError> {
        Ok(match *name {
            ModuleRelocTarget::User { namespace: 0, index } => {
                let id = FuncId::from_u32(index);
                match places.get(&id) {
                    Some(place) => Target::Inside(place.start),
                    None => Target::Import(self.declarations.get_function_decl(id).linkage_name(id).into()),
                }
            }
            ModuleRelocTarget::User { index, .. } => Target::Data(DataId::from_u32(index)),
            ModuleRelocTarget::LibCall(call) => Target::Import(default_libcall_names()(call)),
            ModuleRelocTarget::FunctionOffset(id, offset) => {
                Target::Inside(places[&id].start + offset as usize)
            }
            ModuleRelocTarget::KnownSymbol(symbol) => {
                return Err(CodegenError::bug("a relocation", symbol));
            }
        })
    }
}

/// The code of one function.
fn compile(
    isa: &dyn TargetIsa,
    id: FuncId,
    context: &mut Context,
    control: &mut ControlPlane,
) -> ModuleResult<Function> {
    context.compile(isa, control).map_err(|e| ModuleError::from(e.inner))?;
    let code = context.compiled_code().ok_or_else(|| ModuleError::Undeclared("code".into()))?;
    let relocations = code.buffer.relocs().iter();
    let relocations = relocations.map(|r| ModuleReloc::from_mach_reloc(r, &context.func, id)).collect();
    let align = code.buffer.alignment.max(isa.function_alignment().minimum) as usize;
    Ok(Function { align, bytes: code.code_buffer().to_vec(), relocations })
}

/// What a relocation is about.
enum Target {
    Inside(usize),
    Import(String),
    Data(DataId),
}

impl Code {
    /// Has the code find its imports in a [table] after it, so that it is complete.
    pub fn resolve(&mut self) -> Result<(), CodegenError> {
        let table = table(self.bytes.len()).ok_or(CodegenError::malformed("the code"))?;
        for Field { at, kind, addend, to } in self.fields.drain(..) {
            let Outside::Import(number) = to else { return Err(CodegenError::malformed("a kernel")) };
            write(&mut self.bytes, kind, at, (table + SLOT * number) as i64 + addend)?;
        }
        Ok(())
    }
}

/// Writes at `at` where `to` is; both count from the start of the code, which lies on a page of any size.
fn write(code: &mut [u8], kind: Reloc, at: usize, to: i64) -> Result<(), CodegenError> {
    let far = || CodegenError::Overflow { what: "the distance of two pieces of code".into() };
    let field = code.get_mut(at..at + 4).and_then(|field| <&mut [u8; 4]>::try_from(field).ok());
    let field = field.ok_or(CodegenError::malformed("a relocation"))?;
    let from = at as i64;
    let signed = |value: i64, bits: u32| {
        let limit = 1i64 << (bits - 1);
        (-limit..limit).contains(&value).then_some(value as u32 & (u32::MAX >> (32 - bits))).ok_or_else(far)
    };
    let is = u32::from_le_bytes(*field);
    let becomes = match kind {
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 | Reloc::X86GOTPCRel4 => signed(to - from, 32)?,
        Reloc::Arm64Call => is | signed((to - from) >> 2, 26)?,
        Reloc::Aarch64AdrGotPage21 | Reloc::Aarch64AdrPrelPgHi21 => {
            let pages = signed((to >> 12) - (from >> 12), 21)?;
            is | (pages & 3) << 29 | (pages >> 2) << 5
        }
        Reloc::Aarch64Ld64GotLo12Nc => is | (to as u32 & 0xfff) >> 3 << 10,
        Reloc::Aarch64AddAbsLo12Nc => is | (to as u32 & 0xfff) << 10,
        other => return Err(CodegenError::bug("a relocation", other)),
    };
    *field = becomes.to_le_bytes();
    Ok(())
}

impl Module for Functions {
    fn isa(&self) -> &dyn TargetIsa {
        &*self.isa
    }

    fn declarations(&self) -> &ModuleDeclarations {
        &self.declarations
    }

    fn declare_function(
        &mut self,
        name: &str,
        linkage: Linkage,
        signature: &ir::Signature,
    ) -> ModuleResult<FuncId> {
        Ok(self.declarations.declare_function(name, linkage, signature)?.0)
    }

    fn declare_anonymous_function(&mut self, signature: &ir::Signature) -> ModuleResult<FuncId> {
        self.declarations.declare_anonymous_function(signature)
    }

    fn declare_data(
        &mut self,
        name: &str,
        linkage: Linkage,
        writable: bool,
        tls: bool,
    ) -> ModuleResult<DataId> {
        Ok(self.declarations.declare_data(name, linkage, writable, tls)?.0)
    }

    fn declare_anonymous_data(&mut self, writable: bool, tls: bool) -> ModuleResult<DataId> {
        self.declarations.declare_anonymous_data(writable, tls)
    }

    fn define_function_with_control_plane(
        &mut self,
        id: FuncId,
        context: &mut Context,
        control: &mut ControlPlane,
    ) -> ModuleResult<()> {
        let function = compile(&*self.isa, id, context, control)?;
        self.insert(id, function)
    }

    fn define_function_bytes(
        &mut self,
        id: FuncId,
        align: u64,
        bytes: &[u8],
        relocations: &[ModuleReloc],
    ) -> ModuleResult<()> {
        let align = align as usize;
        self.insert(id, Function { align, bytes: bytes.to_vec(), relocations: relocations.to_vec() })
    }

    fn define_data(&mut self, id: DataId, _: &DataDescription) -> ModuleResult<()> {
        let name = self.declarations.get_data_decl(id).linkage_name(id).into_owned();
        Err(ModuleError::InvalidImportDefinition(name))
    }
}
