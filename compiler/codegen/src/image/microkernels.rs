//! Microkernels as machine code that object files take in: those that a model calls, and what they reach.

use std::collections::BTreeMap;

use object::read::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex};
use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use rustc_hash::FxHashMap;

use crate::error::CodegenError;

include!(concat!(env!("OUT_DIR"), "/microkernels.rs"));

/// The object of all microkernels of an architecture, in ELF, if this compiler has one.
pub fn of(architecture: &str) -> Option<&'static [u8]> {
    OBJECTS.iter().find(|(name, _)| *name == architecture).map(|(_, bytes)| *bytes)
}

/// Copies into `file` the sections of the object `from` that the functions `wanted` reach, as a linker does that drops what
/// nobody needs. Other files see none of it. What the sections do not have is left to the C library.
pub(super) fn pull(
    file: &mut Object,
    from: &[u8],
    wanted: &[String],
) -> Result<FxHashMap<String, SymbolId>, CodegenError> {
    let fail = |e| CodegenError::bug("the microkernels", e);
    let from = object::File::parse(from).map_err(fail)?;
    let mut ids = FxHashMap::default();
    let find = |name: &String| from.symbols().find(|s| s.name() == Ok(name) && s.is_definition());
    let roots: Vec<_> = wanted.iter().filter_map(find).collect();
    let mut todo: Vec<SectionIndex> = roots.iter().filter_map(|symbol| symbol.section_index()).collect();
    let mut placed: BTreeMap<usize, SectionId> = BTreeMap::new();
    while let Some(index) = todo.pop() {
        if placed.contains_key(&index.0) {
            continue;
        }
        let section = from.section_by_index(index).map_err(fail)?;
        let name = section.name_bytes().map_err(fail)?.to_vec();
        let id = file.add_section(vec![], name, section.kind());
        match section.kind() {
            SectionKind::UninitializedData => {
                file.append_section_bss(id, section.size(), section.align());
            }
            _ => {
                file.append_section_data(id, section.data().map_err(fail)?, section.align());
            }
        }
        placed.insert(index.0, id);
        for (_, relocation) in section.relocations() {
            if let RelocationTarget::Symbol(target) = relocation.target() {
                todo.extend(from.symbol_by_index(target).map_err(fail)?.section_index());
            }
        }
    }
    for (index, id) in &placed {
        let section = from.section_by_index(SectionIndex(*index)).map_err(fail)?;
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(target) = relocation.target() else {
                return Err(CodegenError::malformed("a microkernel"));
            };
            let target = from.symbol_by_index(target).map_err(fail)?;
            let symbol = match target.section_index() {
                Some(of) if target.kind() == SymbolKind::Section => file.section_symbol(placed[&of.0]),
                Some(of) => named(file, &mut ids, &target, Some(placed[&of.0]))?,
                None => named(file, &mut ids, &target, None)?,
            };
            let relocation =
                Relocation { offset, symbol, addend: relocation.addend(), flags: relocation.flags() };
            file.add_relocation(*id, relocation).map_err(|e| CodegenError::bug("the microkernels", e))?;
        }
    }
    for root in &roots {
        let section = root.section_index().map(|section| placed[&section.0]);
        named(file, &mut ids, root, section)?;
    }
    Ok(ids)
}

/// The symbol in `file` for one of the microkernels' object, which lies in `section` or elsewhere.
fn named<'d>(
    file: &mut Object,
    ids: &mut FxHashMap<String, SymbolId>,
    symbol: &impl object::ObjectSymbol<'d>,
    section: Option<SectionId>,
) -> Result<SymbolId, CodegenError> {
    let name = symbol.name().map_err(|e| CodegenError::bug("the microkernels", e))?;
    if let Some(id) = ids.get(name) {
        return Ok(*id);
    }
    let (scope, section) = match section {
        Some(section) => (SymbolScope::Compilation, SymbolSection::Section(section)),
        None => (SymbolScope::Unknown, SymbolSection::Undefined),
    };
    let id = file.add_symbol(Symbol {
        name: name.into(),
        value: symbol.address(),
        size: symbol.size(),
        // Those of constants say nothing of what they are.
        kind: match symbol.kind() {
            _ if section == SymbolSection::Undefined => SymbolKind::Text,
            SymbolKind::Unknown => SymbolKind::Data,
            kind => kind,
        },
        scope,
        weak: false,
        section,
        flags: SymbolFlags::None,
    });
    ids.insert(name.into(), id);
    Ok(id)
}
