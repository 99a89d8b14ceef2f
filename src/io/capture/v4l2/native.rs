//! What becomes of the buffers of a camera that delivers H.264? Each is passed on as it is, one access unit.
//!
//! A damaged or missing picture ends the stream up to the next keyframe, since the pictures after it would
//! show its damage.

use bytes::Bytes;

use super::stream::Filled;
use crate::engine::h264::{ParameterSets, Sps};
use crate::io::capture::encode::Fate;

/// The state of one camera's stream.
pub(super) struct Native {
    parameter_sets: ParameterSets,
    /// A picture before the next one is missing or damaged.
    awaits_keyframe: bool,
}

impl Native {
    pub(super) fn new() -> Native {
        Native { parameter_sets: ParameterSets::new(), awaits_keyframe: true }
    }

    /// What the stream says about itself, once it has.
    pub(super) fn sps(&self) -> Option<Sps> {
        self.parameter_sets.sps()
    }

    /// Makes an access unit of a buffer, unless it is damaged or comes after one that is missing.
    pub(super) fn accept(&mut self, buffer: &Filled, data: &[u8]) -> Fate {
        let is_break = (buffer.is_gap || buffer.is_damaged) && !self.awaits_keyframe;
        self.awaits_keyframe |= is_break;
        let dropped = if is_break { Fate::Damaged } else { Fate::Nothing };
        // The one copy of a picture on its way from the camera to the network.
        let data = Bytes::copy_from_slice(data);
        let Some(unit) = self.parameter_sets.access_unit(data, buffer.captured) else { return dropped };
        if buffer.is_damaged || self.awaits_keyframe && !unit.is_keyframe {
            return dropped;
        }
        self.awaits_keyframe = false;
        Fate::Unit(unit)
    }
}
