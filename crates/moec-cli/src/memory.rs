//! How much memory there is.

/// Bytes that programs can have without driving others out, where the system says so.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What there is, if it is less than `needed`.
pub(crate) fn short_of(needed: u64) -> Option<u64> {
    available().filter(|&available| available < needed)
}
