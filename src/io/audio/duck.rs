//! How does the speaker's thread tell the microphone's to be soft?
//!
//! By one number that the one writes and the other reads: a gain. Neither waits for the other, and a
//! value that is read a moment late is only a moment late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::engine::pcm::{Channels, PcmFrame};
use crate::engine::talk::{self, Ramp};

/// The microphone's gain, 0 to 1; clones share it. It begins at 1.
#[derive(Clone, Debug)]
pub struct DuckGain(Arc<AtomicU32>);

impl Default for DuckGain {
    fn default() -> Self {
        DuckGain(Arc::new(AtomicU32::new(1.0_f32.to_bits())))
    }
}

impl DuckGain {
    /// Sets it.
    pub(super) fn set(&self, gain: f32) {
        self.0.store(gain.to_bits(), Ordering::Relaxed);
    }

    /// As it was last set.
    pub(super) fn now(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Turns a microphone's frames to that gain.
#[derive(Debug)]
pub(super) struct Ducked {
    gain: DuckGain,
    ramp: Ramp,
}

impl Ducked {
    pub(super) fn new(gain: DuckGain) -> Ducked {
        let ramp = Ramp::at(gain.now());
        Ducked { gain, ramp }
    }

    pub(super) fn apply(&mut self, frame: &mut PcmFrame, channels: Channels) {
        talk::turn_to(self.gain.now(), &mut self.ramp, &mut frame.samples, channels.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::pcm::FRAME_SAMPLES;
    use crate::units::MediaTime;

    #[test]
    fn what_one_thread_sets_turns_the_other_s_frames_down_and_up_again() {
        let gain = DuckGain::default();
        let mut ducked = Ducked::new(gain.clone());
        let last = |ducked: &mut Ducked| {
            let samples = vec![10_000_i16; FRAME_SAMPLES];
            let mut frame = PcmFrame { samples, captured: MediaTime::default() };
            ducked.apply(&mut frame, Channels::Mono);
            frame.samples[FRAME_SAMPLES - 1]
        };
        assert_eq!(last(&mut ducked), 10_000);
        gain.set(0.1);
        assert_eq!(last(&mut ducked), 1_000);
        gain.set(1.0);
        assert_eq!(last(&mut ducked), 10_000);
    }
}
