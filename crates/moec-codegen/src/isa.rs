//! Target selection: which instruction set, which flags.
//!
//! Knows names and features, not what is emitted with them. Emitters ask [`Target::fma`],
//! [`Target::tiles`] and [`Target::widens`] only.

use std::sync::Arc;

use cranelift_codegen::isa::{self, CallConv, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use moec_ir::DType;
use moec_plan::Panels;

use crate::tile::{TileFamily, TileOperands};
use crate::{CodegenError, amx};

/// What the code is for; decides how it addresses its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeKind {
    /// Runs in this process.
    Jit,
    /// Goes into an object file: position independent.
    Object,
}

/// A named target: its triple and the features beyond the architecture's baseline, level by level.
struct Row {
    name: &'static str,
    triple: &'static str,
    features: &'static [&'static [&'static str]],
    unnamed: Unnamed,
}

/// Features of x86-64 that Cranelift has no name for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unnamed {
    /// Conversion between f16 and f32.
    f16c: bool,
    /// Products of bf16 pairs (AVX512-BF16).
    bf16: bool,
    /// The same in registers of two dimensions (AMX-TILE, AMX-BF16).
    amx: bool,
}

const PLAIN: Unnamed = Unnamed { f16c: false, bf16: false, amx: false };
const WITH_F16C: Unnamed = Unnamed { f16c: true, ..PLAIN };
const WITH_BF16: Unnamed = Unnamed { bf16: true, ..WITH_F16C };
const WITH_AMX: Unnamed = Unnamed { amx: true, ..WITH_BF16 };

/// What x86-64-v3 adds to the baseline.
const V3: &[&str] = &[
    "has_cmpxchg16b",
    "has_sse3",
    "has_ssse3",
    "has_sse41",
    "has_sse42",
    "has_popcnt",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_bmi1",
    "has_bmi2",
    "has_lzcnt",
];

/// What x86-64-v4 adds to v3.
const V4: &[&str] = &["has_avx512f", "has_avx512dq", "has_avx512vl"];

const ROWS: [Row; 6] = [
    Row { name: "x86_64", triple: "x86_64-unknown-linux-gnu", features: &[], unnamed: PLAIN },
    Row { name: "x86_64-v3", triple: "x86_64-unknown-linux-gnu", features: &[V3], unnamed: WITH_F16C },
    Row { name: "x86_64-v4", triple: "x86_64-unknown-linux-gnu", features: &[V3, V4], unnamed: WITH_F16C },
    Row {
        name: "x86_64-v4-bf16",
        triple: "x86_64-unknown-linux-gnu",
        features: &[V3, V4],
        unnamed: WITH_BF16,
    },
    Row { name: "x86_64-v4-amx", triple: "x86_64-unknown-linux-gnu", features: &[V3, V4], unnamed: WITH_AMX },
    Row { name: "aarch64", triple: "aarch64-unknown-linux-gnu", features: &[], unnamed: PLAIN },
];

/// Every name that [`Target::named`] knows.
pub const TARGET_NAMES: [&str; 7] =
    ["host", ROWS[0].name, ROWS[1].name, ROWS[2].name, ROWS[3].name, ROWS[4].name, ROWS[5].name];

/// An instruction set with its features, ready to compile for.
#[derive(Clone)]
pub struct Target {
    name: String,
    isa: Arc<dyn TargetIsa>,
    /// The same machine without Cranelift's mid-level optimiser.
    as_written: Arc<dyn TargetIsa>,
    unnamed: Unnamed,
}

impl Target {
    /// This machine, with every feature Cranelift can use of it, and AMX if the system grants it to this process. Any
    /// other that runs an object with AMX has to ask for itself.
    ///
    /// # Errors
    /// `UnsupportedTarget` if Cranelift has no back end for this machine.
    pub fn host(kind: CodeKind) -> Result<Target, CodegenError> {
        let builder = cranelift_native::builder().map_err(|reason| unsupported("host", reason))?;
        Target::finish("host", builder, Unnamed::host(), kind)
    }

    /// The target called `name`, one of [`TARGET_NAMES`].
    ///
    /// # Errors
    /// `UnknownTarget`, or `UnsupportedTarget` if this build has no back end for it.
    pub fn named(name: &str, kind: CodeKind) -> Result<Target, CodegenError> {
        if name == "host" {
            return Target::host(kind);
        }
        let row = ROWS
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(|| CodegenError::UnknownTarget { name: name.to_owned() })?;
        let mut builder = isa::lookup_by_name(row.triple).map_err(|error| unsupported(name, error))?;
        for feature in row.features.iter().copied().flatten() {
            builder.enable(feature).map_err(|error| unsupported(name, error))?;
        }
        Target::finish(name, builder, row.unnamed, kind)
    }

    fn finish(
        name: &str,
        builder: isa::Builder,
        unnamed: Unnamed,
        kind: CodeKind,
    ) -> Result<Target, CodegenError> {
        let finish = |opt_level: &str| {
            let mut flags = settings::builder();
            for (flag, value) in [
                ("opt_level", opt_level),
                ("is_pic", if kind == CodeKind::Object { "true" } else { "false" }),
                ("use_colocated_libcalls", "false"),
                // Frames are larger than the page that guards a stack: each of their pages is touched in order.
                ("enable_probestack", "true"),
                ("probestack_strategy", "inline"),
                ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
            ] {
                flags.set(flag, value).map_err(|error| unsupported(name, error))?;
            }
            builder.finish(settings::Flags::new(flags)).map_err(|error| unsupported(name, error))
        };
        Ok(Target { name: name.to_owned(), isa: finish("speed")?, as_written: finish("none")?, unnamed })
    }

    /// The name it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether multiply-add with one rounding is an instruction. Where it is not, Cranelift's `fma`
    /// calls a library function, which no emitted loop may do: emitters then multiply and add.
    pub fn fma(&self) -> bool {
        self.isa.name() != "x64" || (self.has("has_fma") && self.has("has_avx"))
    }

    /// The tiles that suit its vectors best. Machine code of tiles follows the System V convention;
    /// where the platform has another, tiles are CLIF.
    pub fn tiles(&self) -> TileFamily {
        let all = |features: &[&str]| features.iter().all(|feature| self.has(feature));
        if self.isa.name() != "x64" || self.isa.default_call_conv() != CallConv::SystemV {
            TileFamily::Clif
        } else if all(&["has_avx512f", "has_avx2", "has_fma"]) {
            match self.unnamed {
                Unnamed { amx: true, .. } => TileFamily::Amx,
                Unnamed { bf16: true, .. } => TileFamily::Avx512Bf16,
                _ => TileFamily::Avx512,
            }
        } else if all(&["has_avx2", "has_fma"]) && self.unnamed.f16c {
            TileFamily::Avx2
        } else {
            TileFamily::Clif
        }
    }

    /// Whether element-wise code has a wide form: where tiles are those of AVX-512.
    pub(crate) fn widens(&self) -> bool {
        self.tiles() >= TileFamily::Avx512
    }

    /// The panels that its tiles read; what a plan is made for.
    pub fn panels(&self) -> Panels {
        let tiles = self.tiles();
        let pairs = TileOperands { row: DType::Bf16, element: DType::Bf16, interleave: 2 };
        Panels { columns: tiles.columns() as u64, pairs: tiles.multiplies(pairs) }
    }

    /// Whether this process can execute the code: the host has every feature that it may use.
    pub fn runs_here(&self) -> bool {
        let Ok(host) = Target::host(CodeKind::Jit) else { return false };
        self.isa.name() == host.isa.name()
            && self.features().all(|feature| host.has(&feature))
            && self.tiles() <= host.tiles()
    }

    pub(crate) fn isa(&self) -> &Arc<dyn TargetIsa> {
        &self.isa
    }

    /// The target without Cranelift's mid-level optimiser, which moves every pure operation to its
    /// first use: for loops whose emitter has placed the operations to fit the registers.
    pub(crate) fn as_written(&self) -> &dyn TargetIsa {
        &*self.as_written
    }

    fn features(&self) -> impl Iterator<Item = String> {
        self.isa
            .isa_flags()
            .into_iter()
            .filter(|flag| flag.name.starts_with("has_") && flag.as_bool() == Some(true))
            .map(|flag| flag.name.to_owned())
    }

    /// The instruction set and its features as text: the same for every name of the same machine.
    pub(crate) fn features_text(&self) -> String {
        let mut text = self.isa.triple().to_string();
        for feature in self.features() {
            text = text + " " + feature.trim_start_matches("has_");
        }
        let Unnamed { f16c, bf16, amx } = self.unnamed;
        for (present, name) in [(f16c, "f16c"), (bf16, "avx512bf16"), (amx, "amx")] {
            if present {
                text = text + " " + name;
            }
        }
        text
    }

    fn has(&self, feature: &str) -> bool {
        self.features().any(|name| name == feature)
    }
}

impl Unnamed {
    /// Those of this machine that this process may use.
    fn host() -> Unnamed {
        #[cfg(target_arch = "x86_64")]
        return Unnamed {
            f16c: std::is_x86_feature_detected!("f16c"),
            bf16: std::is_x86_feature_detected!("avx512bf16"),
            amx: amx::permission().is_some(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        PLAIN
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("fma", &self.fma()).finish_non_exhaustive()
    }
}

fn unsupported(name: &str, reason: impl ToString) -> CodegenError {
    CodegenError::UnsupportedTarget { name: name.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_target() {
        for name in TARGET_NAMES {
            for kind in [CodeKind::Jit, CodeKind::Object] {
                assert_eq!(Target::named(name, kind).unwrap().name(), name);
            }
        }
    }

    #[test]
    fn fma_is_an_instruction_where_the_features_say_so() {
        let fma = |name| Target::named(name, CodeKind::Object).unwrap().fma();
        assert!(!fma("x86_64"));
        assert!(fma("x86_64-v3"));
        assert!(fma("x86_64-v4"));
        assert!(fma("aarch64"));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(fma("host"), std::is_x86_feature_detected!("fma"));
    }

    #[test]
    fn tiles_are_as_wide_as_the_features_say() {
        let tiles = |name| Target::named(name, CodeKind::Object).unwrap().tiles();
        assert_eq!(tiles("x86_64"), TileFamily::Clif);
        assert_eq!(tiles("x86_64-v3"), TileFamily::Avx2);
        assert_eq!(tiles("x86_64-v4"), TileFamily::Avx512);
        assert_eq!(tiles("x86_64-v4-bf16"), TileFamily::Avx512Bf16);
        assert_eq!(tiles("x86_64-v4-amx"), TileFamily::Amx);
        assert_eq!(tiles("aarch64"), TileFamily::Clif);
    }

    #[test]
    fn the_host_runs_itself() {
        assert!(Target::host(CodeKind::Jit).unwrap().runs_here());
        let foreign = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
        assert!(!Target::named(foreign, CodeKind::Jit).unwrap().runs_here());
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Target::named("z80", CodeKind::Jit).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown target `z80`; known are host, x86_64, x86_64-v3, x86_64-v4, x86_64-v4-bf16, x86_64-v4-amx, aarch64"
        );
    }
}
