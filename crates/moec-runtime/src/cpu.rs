//! What this machine offers, for reports and for the choice of kernels. Knows no kernel.

use std::fmt;

/// The processor as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// `x86_64`, `aarch64`, ...
    pub architecture: &'static str,
    /// Those of the features that matter here which the processor and the system both support, in a
    /// fixed order.
    pub features: Vec<&'static str>,
    /// Cores that this process may use.
    pub cores: usize,
}

impl Cpu {
    /// Looks at the machine.
    pub fn detect() -> Cpu {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Cpu { architecture: std::env::consts::ARCH, features: features(), cores }
    }

    /// Whether the feature was found.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(&feature)
    }
}

/// `x86_64 avx2 fma avx512f, 2 cores`
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.architecture)?;
        for feature in &self.features {
            write!(f, " {feature}")?;
        }
        write!(f, ", {} core{}", self.cores, if self.cores == 1 { "" } else { "s" })
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as detected;
    let all = [
        ("avx2", detected!("avx2")),
        ("fma", detected!("fma")),
        ("f16c", detected!("f16c")),
        ("avx512f", detected!("avx512f")),
        ("avx512vl", detected!("avx512vl")),
        ("avx512bw", detected!("avx512bw")),
        ("avx512bf16", detected!("avx512bf16")),
        ("avx512vnni", detected!("avx512vnni")),
        ("avx512fp16", detected!("avx512fp16")),
    ];
    all.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as detected;
    let all = [
        ("neon", detected!("neon")),
        ("fp16", detected!("fp16")),
        ("dotprod", detected!("dotprod")),
        ("bf16", detected!("bf16")),
        ("i8mm", detected!("i8mm")),
        ("sve", detected!("sve")),
        ("sve2", detected!("sve2")),
    ];
    all.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_architecture_features_and_cores() {
        let cpu = Cpu { architecture: "x86_64", features: vec!["avx2", "fma"], cores: 2 };
        assert_eq!(cpu.to_string(), "x86_64 avx2 fma, 2 cores");
        assert!(cpu.has("fma") && !cpu.has("avx512f"));
        assert!(Cpu::detect().cores >= 1);
    }
}
