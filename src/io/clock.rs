//! What time is it on the clock that media is stamped with?

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::units::MediaTime;

/// Now, on `CLOCK_MONOTONIC`.
pub fn media_now() -> MediaTime {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts near zero at boot and never goes back, so neither part is negative.
    MediaTime(Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32))
}

/// How long this thread has had a processor to itself, since it began.
pub fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// Now on the wall clock, since the Unix epoch. For showing to people and for measuring delay, never
/// for deciding: it jumps when the board learns the time. Only a TURN server that makes passwords of it is told it.
pub fn wall_now() -> Duration {
    let now = clock_gettime(ClockId::Realtime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// How long it is until the clock shows a whole multiple of `period`. What is done now and then for many viewers is
/// done at such a moment for all of them, so that the board wakes up once.
pub fn until_next(period: Duration) -> Duration {
    // Both are far below 584 years of nanoseconds.
    let (now, period) = (media_now().0.as_nanos() as u64, period.as_nanos().max(1) as u64);
    Duration::from_nanos(period - now % period)
}
