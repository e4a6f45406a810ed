//! An image in an object file, for any linker.

use cranelift_codegen::binemit::Reloc;
use cranelift_module::FuncId;
use object::write::{Object, Relocation, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationEncoding, RelocationFlags, RelocationKind, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope, elf, macho,
};
use rustc_hash::FxHashMap;
use target_lexicon::Triple;

use super::functions::{Code, Outside};
use super::object::Weights;
use super::{Image, microkernels};
use crate::error::{BuildError, CodegenError};

/// Vectors are loaded from constants a cache line at a time, and a kernel may read a line past the end.
const LINE: usize = 64;

/// The bytes of the object file `name`. Other files see the functions `exported`.
pub fn write(
    name: &str,
    image: &Image,
    code: &Code,
    weights: Weights,
    exported: &[(FuncId, String)],
) -> Result<Vec<u8>, BuildError> {
    let (format, architecture) = format(image.target.isa.triple())?;
    let mut file = Object::new(format, architecture, Endianness::Little);
    file.add_file_symbol(name.into());
    let text = file.section_id(StandardSection::Text);
    file.append_section_data(text, &code.bytes, LINE as u64);
    let kernels = image.plan.kernels.iter();
    let kernels =
        kernels.map(|k| (format!("{name}.{}", k.name.escape_debug()), k.function, SymbolScope::Compilation));
    let exported = exported.iter().map(|(function, name)| (name.clone(), *function, SymbolScope::Dynamic));
    for (name, function, scope) in kernels.chain(exported) {
        let place = code.places.get(&function).ok_or(CodegenError::malformed("a function"))?;
        let named = symbol(&name, SymbolKind::Text, scope, SymbolSection::Section(text));
        file.add_symbol(Symbol { value: place.start as u64, size: place.len() as u64, ..named });
    }
    let mut known = match microkernels::of(&image.target.isa.triple().architecture.to_string()) {
        Some(from) if format == BinaryFormat::Elf => microkernels::pull(&mut file, from, &code.imports)?,
        _ => FxHashMap::default(),
    };
    let missing = code.imports.iter().filter(|name| name.starts_with("trine_") && !known.contains_key(*name));
    let missing: Vec<String> = missing.map(|name| format!("`{name}`")).collect();
    if !missing.is_empty() {
        let message = format!(
            "this build of Trine has no {} for objects of `{}`: it has those of the targets that were installed when it was built",
            missing.join(", "),
            image.target.isa.triple()
        );
        return Err(CodegenError::Target { message }.into());
    }
    let mut import = |name: &String| {
        let outside = || {
            file.add_symbol(symbol(name, SymbolKind::Text, SymbolScope::Unknown, SymbolSection::Undefined))
        };
        *known.entry(name.clone()).or_insert_with(outside)
    };
    let imports: Vec<SymbolId> = code.imports.iter().map(&mut import).collect();
    let constants = file.section_id(StandardSection::ReadOnlyData);
    let mut places = vec![];
    let embedded = image.consts.iter().filter(|_| weights == Weights::Embed);
    for (i, constant) in embedded.enumerate() {
        let bytes = constant.to_bytes()?;
        let at = file.append_section_data(constants, bytes.as_slice(), LINE as u64);
        file.append_section_data(constants, &[0; LINE], 1);
        let scope = SymbolScope::Compilation;
        let named =
            symbol(&format!("{name}.const.{i}"), SymbolKind::Data, scope, SymbolSection::Section(constants));
        places.push(file.add_symbol(Symbol { value: at, size: bytes.as_slice().len() as u64, ..named }));
    }
    for field in &code.fields {
        let symbol = match field.to {
            Outside::Import(number) => imports[number],
            Outside::Data(data) => places[data.as_u32() as usize],
        };
        let flags = flags(field.kind, format)?;
        let relocation = Relocation { offset: field.at as u64, symbol, addend: field.addend, flags };
        file.add_relocation(text, relocation).map_err(|e| CodegenError::bug("the object file", e))?;
    }
    if format == BinaryFormat::Elf {
        // Says that nothing here wants a stack that can be executed.
        file.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Note);
    }
    Ok(file.write().map_err(|e| CodegenError::bug("the object file", e))?)
}

fn symbol(name: &str, kind: SymbolKind, scope: SymbolScope, section: SymbolSection) -> Symbol {
    let (value, size, weak, flags) = (0, 0, false, SymbolFlags::None);
    Symbol { name: name.into(), value, size, kind, scope, weak, section, flags }
}

fn format(triple: &Triple) -> Result<(BinaryFormat, Architecture), CodegenError> {
    let format = match triple.binary_format {
        target_lexicon::BinaryFormat::Elf => Some(BinaryFormat::Elf),
        target_lexicon::BinaryFormat::Macho => Some(BinaryFormat::MachO),
        _ => None,
    };
    let architecture = match triple.architecture {
        target_lexicon::Architecture::X86_64 => Some(Architecture::X86_64),
        target_lexicon::Architecture::Aarch64(_) => Some(Architecture::Aarch64),
        _ => None,
    };
    format.zip(architecture).ok_or_else(|| CodegenError::Target {
        message: format!("`{triple}` has no object files that are written here: those of x86-64 and aarch64 are, in ELF or Mach-O"),
    })
}

/// What a linker calls the place in code.
fn flags(kind: Reloc, format: BinaryFormat) -> Result<RelocationFlags, CodegenError> {
    let (elf, macho) = match kind {
        Reloc::X86GOTPCRel4 => {
            let (kind, encoding) = (RelocationKind::GotRelative, RelocationEncoding::Generic);
            return Ok(RelocationFlags::Generic { kind, encoding, size: 32 });
        }
        Reloc::Aarch64AdrGotPage21 => {
            (elf::R_AARCH64_ADR_GOT_PAGE, (macho::ARM64_RELOC_GOT_LOAD_PAGE21, true))
        }
        Reloc::Aarch64Ld64GotLo12Nc => {
            (elf::R_AARCH64_LD64_GOT_LO12_NC, (macho::ARM64_RELOC_GOT_LOAD_PAGEOFF12, false))
        }
        other => return Err(CodegenError::bug("a relocation", other)),
    };
    Ok(match format {
        BinaryFormat::Elf => RelocationFlags::Elf { r_type: elf },
        _ => RelocationFlags::MachO { r_type: macho.0, r_pcrel: macho.1, r_length: 2 },
    })
}
