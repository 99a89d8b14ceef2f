//! What do uplinks to media servers change for camera and encoder?
//!
//! An uplink is nobody's session: no key, no message on the broker, no place among the viewers. But it is sent
//! the same stream, so the camera runs for it, and its network has a say in the encoder's bitrate.

use crate::units::PeerId;

use super::Station;

impl Station {
    /// An id for a peer connection that the station does not negotiate.
    pub fn draw_peer(&mut self) -> PeerId {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        peer
    }

    /// An uplink is about to connect.
    pub(super) fn uplink_connecting(&mut self, peer: PeerId) {
        self.uplinks.insert(peer);
    }

    /// An uplink is sent pictures from now on.
    pub(super) fn uplink_started(&mut self, peer: PeerId) {
        self.rate.joined(peer);
    }

    /// An uplink is gone.
    pub(super) fn uplink_gone(&mut self, peer: PeerId) {
        self.uplinks.remove(&peer);
        self.rate.gone(peer);
    }
}
