//! The machine that code is made for: Cranelift's instruction set, and which microkernels it can run.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, SettingKind};
use target_lexicon::Triple;
use trine_ukernel::{Features, second_cache};

use super::error::CodegenError;

/// What to compile for.
#[derive(Clone)]
pub struct Target {
    pub isa: OwnedTargetIsa,
    pub features: Features,
    /// Bytes of the second cache of a core.
    pub cache: usize,
    /// Microkernels that were [asked for by name](super::choice::force), before those that would be chosen.
    pub forced: Vec<String>,
}

/// The cache of a machine that does not state its own.
const USUAL_CACHE: usize = 1 << 20;

impl Target {
    /// This machine, for code that runs at once.
    pub fn host() -> Result<Target, CodegenError> {
        let target = Target::finish(native()?, Features::detect())?;
        Ok(Target { cache: second_cache().unwrap_or(USUAL_CACHE), ..target })
    }

    /// What code that is shipped is made for: `native`, this machine; a CPU of this architecture as Cranelift names
    /// it, `x86-64-v3`; or the baseline of a triple, `aarch64-unknown-linux-gnu`.
    pub fn named(name: &str) -> Result<Target, CodegenError> {
        let host = Triple::host();
        if name == "native" {
            return Target::finish(native()?, Features::detect());
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
        let mut target = Target::finish(isa, Features::NONE)?;
        target.features = target.stated_features();
        Ok(target)
    }

    fn finish(isa: cranelift_codegen::isa::Builder, features: Features) -> Result<Target, CodegenError> {
        let mut flags = settings::builder();
        // Vector loops keep their order and registers only when nothing moves them.
        let pairs = [
            ("opt_level", "none"),
            // Code finds others by a table, and is the same in memory, in a file, and in an object.
            ("is_pic", "true"),
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
        Ok(Target { isa, features, cache: USUAL_CACHE, forced: vec![] })
    }

    /// An error if this machine cannot run what is compiled for the target.
    pub fn expect_here(&self) -> Result<(), CodegenError> {
        let here = Target::finish(native()?, Features::detect())?;
        let flags = here.isa.isa_flags();
        let has = |name: &str| flags.iter().any(|f| f.name == name && f.as_bool() == Some(true));
        let lacks = self.isa.isa_flags().into_iter().find(|f| f.as_bool() == Some(true) && !has(f.name));
        let message = match lacks {
            _ if self.isa.triple().architecture != here.isa.triple().architecture => {
                format!("code for `{}` does not run here", self.isa.triple())
            }
            Some(flag) => format!("this machine lacks `{}`", flag.name),
            None if !here.features.contains(self.features) => {
                format!("this machine lacks some of {}", self.features)
            }
            None => return Ok(()),
        };
        Err(CodegenError::Target { message })
    }

    /// What the instruction set's flags promise microkernels.
    fn stated_features(&self) -> Features {
        let flags = self.isa.isa_flags();
        let has = |name: &str| flags.iter().any(|f| f.name == name && f.as_bool() == Some(true));
        // Cranelift knows no flag for BW; every CPU with DQ and VL has it.
        let avx512 = has("has_avx512f") && has("has_avx512dq") && has("has_avx512vl");
        let stated = [
            (Features::AVX2, has("has_avx2") && has("has_fma")),
            (Features::AVX_VNNI, has("has_avx_vnni")),
            (Features::AVX512, avx512),
            (Features::AVX512_VNNI, avx512 && has("has_avx512vnni")),
            (Features::AVX512_VBMI, avx512 && has("has_avx512vbmi")),
        ];
        let stated = stated.into_iter().filter(|(_, has)| *has);
        stated.fold(Features::NONE, |all, (feature, _)| all.union(feature))
    }
}

/// This machine's instruction set.
fn native() -> Result<cranelift_codegen::isa::Builder, CodegenError> {
    cranelift_native::builder().map_err(|e| CodegenError::Target { message: e.into() })
}
