//! The machine that code is made for: Cranelift's instruction set, and which microkernels it can run.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, SettingKind};
use target_lexicon::Triple;
use trine_ukernel::{Features, Layout, best, by_name, dot_i8, signsum_f32, signsum_i8};

use super::{CodegenError, contraction};

/// What to compile for.
#[derive(Clone)]
pub struct Target {
    pub isa: OwnedTargetIsa,
    pub features: Features,
    /// Microkernels that were asked for by name, before those that would be chosen.
    pub forced: Vec<String>,
}

impl Target {
    /// This machine, for code that runs at once.
    pub fn host() -> Result<Target, CodegenError> {
        let isa = cranelift_native::builder().map_err(|e| CodegenError::Target { message: e.into() })?;
        Target::finish(isa, Features::detect(), false)
    }

    /// What code that is shipped is made for: `native`, this machine; a CPU of this architecture as Cranelift names
    /// it, `x86-64-v3`; or the baseline of a triple, `aarch64-unknown-linux-gnu`.
    pub fn named(name: &str) -> Result<Target, CodegenError> {
        let host = Triple::host();
        if name == "native" {
            let isa = cranelift_native::builder().map_err(|e| CodegenError::Target { message: e.into() })?;
            return Target::finish(isa, Features::detect(), true);
        }
        if Target::cpus().contains(&name) {
            return Target::object(&host.to_string(), Some(name));
        }
        Target::object(name, None)
    }

    /// What every CPU of this architecture has.
    pub fn baseline() -> Result<Target, CodegenError> {
        Target::object(&Triple::host().to_string(), None)
    }

    /// The CPUs of this architecture that have a name.
    pub fn cpus() -> Vec<&'static str> {
        let Ok(isa) = cranelift_codegen::isa::lookup(Triple::host()) else { return vec![] };
        isa.iter().filter(|setting| setting.kind == SettingKind::Preset).map(|setting| setting.name).collect()
    }

    /// The machine called `triple`, with the CPU preset `cpu` (as Cranelift names them) or its baseline, for
    /// object files.
    pub fn object(triple: &str, cpu: Option<&str>) -> Result<Target, CodegenError> {
        let fail = |message: String| CodegenError::Target { message };
        let triple = triple.parse().map_err(|_| fail(format!("no target `{triple}`")))?;
        let mut isa = cranelift_codegen::isa::lookup(triple).map_err(|e| fail(e.to_string()))?;
        if let Some(cpu) = cpu {
            isa.enable(cpu).map_err(|e| fail(format!("CPU `{cpu}`: {e}")))?;
        }
        let mut target = Target::finish(isa, Features::NONE, true)?;
        target.features = target.stated_features();
        Ok(target)
    }

    fn finish(
        isa: cranelift_codegen::isa::Builder,
        features: Features,
        pic: bool,
    ) -> Result<Target, CodegenError> {
        let mut flags = settings::builder();
        // Vector loops keep their order and registers only when nothing moves them.
        let pairs = [
            ("opt_level", "none"),
            ("is_pic", if pic { "true" } else { "false" }),
            ("use_colocated_libcalls", "false"),
            ("log2_min_function_alignment", "6"),
            ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ];
        for (name, value) in pairs {
            flags.set(name, value).map_err(|e| CodegenError::Target { message: e.to_string() })?;
        }
        let isa = isa
            .finish(settings::Flags::new(flags))
            .map_err(|e| CodegenError::Target { message: e.to_string() })?;
        Ok(Target { isa, features, forced: vec![] })
    }

    /// What the instruction set's flags promise microkernels.
    fn stated_features(&self) -> Features {
        let flags = self.isa.isa_flags();
        let has = |name: &str| flags.iter().any(|f| f.name == name && f.as_bool() == Some(true));
        // Cranelift knows no flag for BW; every CPU with DQ and VL has it.
        let avx512 = has("has_avx512f") && has("has_avx512dq") && has("has_avx512vl");
        let stated = [
            (Features::AVX2, has("has_avx2") && has("has_fma")),
            (Features::AVX512, avx512),
            (Features::AVX512_VNNI, avx512 && has("has_avx512vnni")),
            (Features::AVX512_VBMI, avx512 && has("has_avx512vbmi")),
        ];
        let stated = stated.into_iter().filter(|(_, has)| *has);
        stated.fold(Features::NONE, |all, (feature, _)| all.union(feature))
    }

    /// What sums the ternary layer of `n` outputs and `k` inputs, and the layout of its weights.
    pub fn sign_sum(&self, int8: bool, _n: usize, _k: usize) -> Option<(Layout, Contraction)> {
        if int8 {
            if self.forced.iter().any(|name| name == contraction::NAME) {
                return Some((contraction::LAYOUT, Contraction::Own));
            }
            let forced = self.forced.iter().find_map(|name| by_name(signsum_i8::VARIANTS, name));
            let variant = forced.or_else(|| best(signsum_i8::VARIANTS, self.features))?;
            // Where there is only the oracle, vectors of 128 bits are faster.
            if forced.is_none() && variant.needs == Features::NONE {
                return Some((contraction::LAYOUT, Contraction::Own));
            }
            return Some((variant.layout, Contraction::Int8(variant.symbol)));
        }
        let forced = self.forced.iter().find_map(|name| by_name(signsum_f32::VARIANTS, name));
        let variant = forced.or_else(|| best(signsum_f32::VARIANTS, self.features))?;
        let prepare = signsum_f32::prepare(variant.layout)?.symbol;
        Some((variant.layout, Contraction::F32 { prepare, symbol: variant.symbol }))
    }

    /// What sums products with int8 weights, and the layout of those.
    pub fn dot_int8(&self) -> Option<(Layout, Contraction)> {
        let forced = self.forced.iter().find_map(|name| by_name(dot_i8::VARIANTS, name));
        let variant = forced.or_else(|| best(dot_i8::VARIANTS, self.features))?;
        Some((variant.layout, Contraction::Int8(variant.symbol)))
    }
}

/// What computes the sums of a ternary layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contraction {
    /// A microkernel on int8, by its symbol.
    Int8(&'static str),
    /// Code of this compiler, on int8.
    Own,
    /// A microkernel on f32, and the one that prepares its activations.
    F32 { prepare: &'static str, symbol: &'static str },
}
