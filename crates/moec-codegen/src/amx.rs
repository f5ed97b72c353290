//! Leave to use AMX, whose registers the system gives to a process that asks for them.
#![expect(unsafe_code, reason = "the system is asked, and its answer passed on as a promise")]

use moec_plan::abi::AmxPermission;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[derive(Debug)]
struct Granted;

// SAFETY: it is handed out by `permission` only, once it has found both.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
unsafe impl AmxPermission for Granted {}

/// Asks the system for the registers of AMX, once for this process. None if the processor has no products of bf16
/// pairs in them, or if the system refuses.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn permission() -> Option<&'static dyn AmxPermission> {
    static ANSWER: std::sync::LazyLock<bool> = std::sync::LazyLock::new(ask);
    ANSWER.then_some(&Granted)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask() -> bool {
    use std::arch::x86_64::__cpuid_count;

    /// Structured extended features, in the register `edx`.
    const FEATURES: u32 = 7;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    /// `ARCH_REQ_XCOMP_PERM`, and the number of the state component: the data of tiles.
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;

    let needed = AMX_BF16 | AMX_TILE;
    // Leaf 0 tells the highest there is.
    if __cpuid_count(0, 0).eax < FEATURES || __cpuid_count(FEATURES, 0).edx & needed != needed {
        return false;
    }
    // SAFETY: the call takes two numbers and changes nothing but what this process may do.
    let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) };
    refused == 0
}

/// Nobody to ask.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn permission() -> Option<&'static dyn AmxPermission> {
    None
}
