//! Which pair of candidates carries a viewer's media?
//!
//! For people and their statistics alone: media goes by what the port has noted (`io/port/route.rs`), which is
//! the same pair, but does not know what kind of candidates it is made of.

use std::net::SocketAddr;
use std::sync::Arc;

use rtc::peer_connection::transport::{RTCIceCandidate, RTCIceCandidateType};
use webrtc::peer_connection::PeerConnection;

use super::socket::Gated;
use crate::engine::tally::{CandidateKind, Pair};

/// The selected pair; `None` before there is one.
pub async fn selected(connection: &Arc<dyn PeerConnection>, sockets: &Gated) -> Option<Pair> {
    // The data channel's transport is everybody's: all sections are bundled.
    let ice = connection.sctp().await?.transport().ice_transport();
    let pair = ice.get_selected_candidate_pair().await.ok()??;
    let (local, remote) = (pair.local(), pair.remote());
    let seen = |address: SocketAddr| sockets.seen(address);
    let is_relayed = local.typ == RTCIceCandidateType::Relay;
    let relay = is_relayed.then(|| address(&local.address, local.port)).flatten();
    // The board's own end of a relayed path is what it reached the relay from.
    let own = match is_relayed {
        true => address(&local.related_address, local.related_port).or(relay),
        false => address(&local.address, local.port),
    };
    Some(Pair {
        local: seen(own?),
        local_kind: kind(local),
        remote: address(&remote.address, remote.port)?,
        remote_kind: kind(remote),
        relay,
    })
}

fn kind(candidate: &RTCIceCandidate) -> CandidateKind {
    match candidate.typ {
        RTCIceCandidateType::Srflx => CandidateKind::Srflx,
        RTCIceCandidateType::Prflx => CandidateKind::Prflx,
        RTCIceCandidateType::Relay => CandidateKind::Relay,
        _ => CandidateKind::Host,
    }
}

fn address(ip: &str, port: u16) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip.parse().ok()?, port))
}
