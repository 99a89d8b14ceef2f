//! What does this process itself take of the board?

use std::fs;
use std::time::Duration;

use rustix::param::page_size;
use rustix::time::{ClockId, clock_gettime};

/// What it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory; 0 where `/proc` is hidden.
    pub memory_bytes: u64,
    /// Processor time of all threads since the start.
    pub cpu: Duration,
}

/// Now.
pub fn usage() -> Usage {
    // proc(5): the second word of statm is the resident set, in pages.
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    Usage {
        memory_bytes: pages.saturating_mul(page_size() as u64),
        // It starts at zero and never goes back, so neither part is negative.
        cpu: Duration::new(cpu.tv_sec.max(0) as u64, cpu.tv_nsec.clamp(0, 999_999_999) as u32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_time() {
        let before = usage();
        assert!(before.memory_bytes > 1_000_000, "{before:?}");
        let mut sum = 0_u64;
        while usage().cpu == before.cpu {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(usage().cpu > before.cpu);
    }
}
