//! The machine that code is made for: Cranelift's instruction set, and which microkernels it can run.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, SettingKind};
use rustc_hash::{FxHashMap, FxHashSet};
use target_lexicon::Triple;
use trine_ir::{Elem, Module};
use trine_ukernel::matmul::Panels;
use trine_ukernel::{Features, Geometry, second_cache};

use super::CodegenError;
use super::choice::{self, Contraction, Layer};
use super::tables;

/// What to compile for.
#[derive(Clone)]
pub struct Target {
    pub isa: OwnedTargetIsa,
    pub features: Features,
    /// Microkernels that were asked for by name, before those that would be chosen.
    pub forced: Vec<String>,
    /// Microkernels that were [measured](super::autotune) to be the fastest, by their names.
    pub tuned: FxHashMap<Layer, String>,
    /// Bytes of the second cache of a core.
    pub cache: usize,
    /// Whether a run finds its weights in memory, or in a cache that is shared, because together they exceed its own.
    pub streams: bool,
    /// How tables lie that products read too; see [`tables`].
    pub panels: FxHashSet<Panels>,
    /// Whether the microkernels of a program are [checked](super::verify_kernels) first.
    pub verify: bool,
}

/// The cache of a machine that does not state its own.
const USUAL_CACHE: usize = 1 << 20;

impl Target {
    /// This machine, for code that runs at once. `TRINE_UKERNEL` may name microkernels to prefer.
    pub fn host() -> Result<Target, CodegenError> {
        let mut target = Target::finish(native()?, Features::detect(), false)?;
        target.cache = second_cache().unwrap_or(USUAL_CACHE);
        if let Some(names) = std::env::var_os("TRINE_UKERNEL") {
            target.force(&names.to_string_lossy())?;
        }
        Ok(target)
    }

    /// The target for programs of `module`: whether its weights stay in the cache from run to run.
    pub fn for_module(mut self, module: &Module) -> Target {
        let bytes = module.consts.values().map(|tensor| match tensor.elem() {
            Elem::Trit => tensor.dims().iter().product::<usize>() / 4,
            _ => tensor.bytes().len(),
        });
        self.streams = bytes.fold(0, usize::saturating_add) > self.cache;
        self
    }

    /// The target for a program of the kernels of `module`: how they share constants.
    pub fn for_kernels(&self, module: &Module) -> Target {
        Target { panels: tables::packed(module, self), ..self.clone() }
    }

    /// Prefers the microkernels called `names`, separated by commas. Each must be one of
    /// [`choice::names`].
    pub fn force(&mut self, names: &str) -> Result<(), CodegenError> {
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let fitting: Vec<&str> = choice::names(self.features).collect();
            if !fitting.contains(&name) {
                let message = format!("no microkernel `{name}` here; there are: {}", fitting.join(", "));
                return Err(CodegenError::Target { message });
            }
            self.forced.push(name.into());
        }
        Ok(())
    }

    /// The names of microkernels that `layer` gets before any other, the first that fits.
    pub fn asked(&self, layer: &Layer) -> impl Iterator<Item = &str> {
        self.forced.iter().chain(self.tuned.get(layer)).map(String::as_str)
    }

    /// What code that is shipped is made for: `native`, this machine; a CPU of this architecture as Cranelift names
    /// it, `x86-64-v3`; or the baseline of a triple, `aarch64-unknown-linux-gnu`.
    pub fn named(name: &str) -> Result<Target, CodegenError> {
        let host = Triple::host();
        if name == "native" {
            return Target::finish(native()?, Features::detect(), true);
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
        Ok(Target {
            isa,
            features,
            forced: vec![],
            tuned: FxHashMap::default(),
            cache: USUAL_CACHE,
            streams: false,
            panels: FxHashSet::default(),
            verify: false,
        })
    }

    /// An error if this machine cannot run what is compiled for the target.
    pub fn expect_here(&self) -> Result<(), CodegenError> {
        let here = Target::finish(native()?, Features::detect(), false)?;
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

    /// What sums a ternary layer, and how its weights are packed; see [`choice`](super::choice).
    pub fn sign_sum(&self, layer: &Layer) -> Option<(Geometry, Contraction)> {
        choice::sign_sum(self, layer)
    }
}

/// This machine's instruction set.
fn native() -> Result<cranelift_codegen::isa::Builder, CodegenError> {
    cranelift_native::builder().map_err(|e| CodegenError::Target { message: e.into() })
}
