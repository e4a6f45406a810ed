//! The machine that code is made for: Cranelift's instruction set, and which microkernels it can run.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, SettingKind};
use target_lexicon::Triple;
use trine_runtime::cpu;
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

    /// What code that is shipped is made for: `native`, this machine; `baseline`, every machine of this architecture; a CPU
    /// of it as Cranelift names them, `x86-64-v3`, or `v3` for short; or the baseline of a triple,
    /// `aarch64-unknown-linux-gnu`.
    pub fn named(name: &str) -> Result<Target, CodegenError> {
        let host = Triple::host();
        if name == "native" {
            return Target::host();
        }
        if name == "baseline" {
            return Target::object(&host.to_string(), None);
        }
        let level = format!("x86-64-{name}");
        if let Some(cpu) = Target::cpus().into_iter().find(|cpu| *cpu == name || *cpu == level) {
            return Target::object(&host.to_string(), Some(cpu));
        }
        Target::object(name, None)
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

    /// The extensions of the instruction set that code for the target uses, by the names that the runtime looks for.
    pub fn extensions(&self) -> Vec<String> {
        let flags = self.isa.isa_flags().into_iter().filter(|flag| flag.as_bool() == Some(true));
        let extension = |name: &str| {
            let name = name.strip_prefix("has_")?;
            let theirs = ["sse41", "sse42", "avx_vnni", "pauth"].iter().position(|known| *known == name);
            Some(theirs.map_or(name, |i| ["sse4.1", "sse4.2", "avxvnni", "paca"][i]).to_string())
        };
        let mut all: Vec<String> = flags.filter_map(|flag| extension(flag.name)).collect();
        for name in self.features.names() {
            if !all.iter().any(|known| known == name) {
                all.push(name.into());
            }
        }
        all
    }

    /// An error if this machine cannot run what is compiled for the target.
    pub fn expect_here(&self) -> Result<(), CodegenError> {
        let triple = self.isa.triple();
        let message = match cpu::lacking(self.extensions().iter().map(String::as_str)) {
            _ if triple.architecture != Triple::host().architecture => {
                format!("code for `{triple}` does not run here")
            }
            Some(extension) => format!("this machine lacks `{extension}`"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_code_for_it_uses() {
        let host = Target::host().unwrap();
        host.expect_here().unwrap();
        assert_eq!(cpu::lacking(host.extensions().iter().map(String::as_str)), None);
    }

    #[test]
    fn the_runtime_knows_each_extension() {
        if !cfg!(target_arch = "x86_64") {
            return;
        }
        let asked: Vec<_> = Target::cpus().into_iter().map(|cpu| Target::named(cpu).unwrap()).collect();
        let known = trine_runtime::cpu::known();
        for extension in asked.iter().flat_map(Target::extensions) {
            assert!(known.contains(&&*extension), "{extension}");
        }
    }
}
