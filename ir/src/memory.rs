//! Whether memory can be had, asked before it is taken: an allocation that is refused ends the process, and one that is
//! granted but cannot be backed ends it when it is written to.

use std::fs;

/// Below this many bytes nobody asks: what a model of ordinary size needs is not looked up at every op.
const SMALL: usize = 64 << 20;

/// Whether this process can have `bytes` more, as far as the system tells.
pub fn is_available(bytes: usize) -> bool {
    if bytes < SMALL {
        return true;
    }
    let fits = |left: Option<u64>| left.is_none_or(|left| bytes as u64 <= left);
    fits(system()) && fits(control_group()) && Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

/// Bytes of memory and swap that nobody uses; `None` where the system does not tell.
fn system() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    field("MemAvailable")?.checked_add(field("SwapFree").unwrap_or(0))
}

/// Bytes that the control group of a container leaves, if it has a limit.
fn control_group() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max")?;
    let file = fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
    // Pages of files are given up when memory is short.
    let cached =
        file.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok());
    Some(limit.saturating_sub(number("/sys/fs/cgroup/memory.current")?.saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_had_is() {
        assert!(is_available(0));
        assert!(is_available(SMALL));
        assert!(!is_available(usize::MAX));
        assert!(!is_available(isize::MAX as usize));
    }
}
