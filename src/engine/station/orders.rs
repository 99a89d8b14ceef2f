//! What a station is told, and what it orders: the whole traffic between core and shell.

use std::time::Duration;

use bytes::Bytes;

use crate::config::IceServer;
use crate::engine::message::{Candidate, RejectCode};
use crate::engine::rendition::Rendition;
use crate::engine::rights::{Rights, ViewerKey};
use crate::engine::topic::Slot;
use crate::units::{Bitrate, OfferId, PeerId};

/// What happens to a station.
#[derive(Clone, Debug)]
pub enum Input {
    /// The broker is there and subscribed to.
    BrokerConnected,
    /// The broker is gone. Media that flows goes on.
    BrokerLost,
    /// A message came.
    Message {
        /// Its topic's full name.
        topic: String,
        /// Its bytes.
        payload: Bytes,
        /// Whether the broker had it in store, or puts it there.
        retained: bool,
    },
    /// [`Command::OpenPeer`] or [`Command::RestartIce`] made an offer.
    PeerOffered {
        /// Which peer connection.
        peer: PeerId,
        /// Its offer.
        sdp: String,
    },
    /// [`Command::OpenPeer`] or [`Command::RestartIce`] failed.
    PeerOfferFailed {
        /// Which peer connection.
        peer: PeerId,
        /// Why, for people.
        reason: String,
    },
    /// A local candidate was found.
    PeerCandidate {
        /// Which peer connection.
        peer: PeerId,
        /// The candidate.
        candidate: Candidate,
        /// The offer with all candidates so far.
        sdp: String,
    },
    /// All local candidates are known.
    PeerGathered {
        /// Which peer connection.
        peer: PeerId,
        /// The offer with all candidates.
        sdp: String,
    },
    /// [`Command::ApplyAnswer`] worked.
    AnswerApplied(PeerId),
    /// [`Command::ApplyAnswer`] did not.
    AnswerFailed {
        /// Which peer connection.
        peer: PeerId,
        /// Why, for people.
        reason: String,
    },
    /// DTLS is up.
    PeerConnected(PeerId),
    /// The board's address that it used is gone. Told again while that lasts.
    PathLost(PeerId),
    /// Nothing comes from its viewer any more. Told again while that lasts; while the broker is away it changes
    /// nothing.
    PathSilent(PeerId),
    /// It is closed by the viewer, or silent for too long.
    PeerLost {
        /// Which peer connection.
        peer: PeerId,
        /// Why, in one word.
        reason: &'static str,
    },
    /// A viewer, or the fan-out for one, needs a keyframe of this encode.
    KeyframeWanted(Rendition),
    /// A viewer has a path of this round trip, and none of the pictures that it could begin with are kept.
    JoinForeseen {
        /// Of a connectivity check.
        round_trip: Duration,
    },
    /// A keyframe of this encode was handed to everybody's queue.
    KeyframeLeft(Rendition),
    /// What the network to a viewer bears.
    Estimate {
        /// Which peer connection.
        peer: PeerId,
        /// All of its packets together.
        bitrate: Bitrate,
    },
    /// A relayed address of ours is gone, or can be had again.
    RelayLost {
        /// Which peer connection had it.
        peer: PeerId,
        /// Whether media went by it.
        was_used: bool,
    },
    /// An uplink to a media server is about to connect; its id is of [`draw_peer`](super::Station::draw_peer).
    UplinkConnecting(PeerId),
    /// It is sent pictures from now on.
    UplinkStarted(PeerId),
    /// It is gone.
    UplinkGone(PeerId),
    /// The camera is lost (`true`) or back.
    CameraLost(bool),
    /// The camera delivers, and its pictures can be encoded twice, or cannot.
    CameraStarted {
        /// Whether there can be a substream.
        encodes_twice: bool,
    },
    /// The board cannot make the substream that was ordered.
    SubstreamFailed,
    /// The board's switch forbids camera and microphone, or does not any more.
    Privacy(bool),
    /// Something moves, or does not any more, and whoever may read the broker is to know.
    Motion {
        /// Which of the two.
        is_active: bool,
        /// When, on the wall clock, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// The viewers' keys were changed.
    Keys(Vec<ViewerKey>),
    /// The board's addresses changed, or the one under which a NAT shows us.
    NetworkChanged,
    /// What the wall clock shows: at the start, and when it was set.
    WallClock {
        /// In seconds since the Unix epoch.
        unix_s: u64,
    },
    /// A web server has named other STUN and TURN servers, or other passwords.
    IceServers(Vec<IceServer>),
    /// The daemon stops. What it says before that is among the commands.
    Shutdown,
    /// Time has passed.
    Tick,
}

/// What a station wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Send to the broker, with QoS 1. While it is absent this is dropped: everything is rebuilt later.
    Publish {
        /// Full topic name.
        topic: String,
        /// The message; empty and retained clears.
        payload: String,
        /// Whether the broker keeps it.
        retain: bool,
        /// How long it keeps it.
        expiry: Option<Duration>,
    },
    /// The last will from the next connection on: a retained message on this topic.
    SetWill {
        /// Full topic name.
        topic: String,
        /// The message.
        payload: String,
    },
    /// Open a peer connection and make an offer.
    OpenPeer(PeerId),
    /// Set the remote description.
    ApplyAnswer {
        /// Which peer connection.
        peer: PeerId,
        /// The answer.
        sdp: String,
    },
    /// Add a remote candidate.
    AddCandidate {
        /// Which peer connection.
        peer: PeerId,
        /// The candidate.
        candidate: Candidate,
    },
    /// Make a new offer with new ICE credentials on a peer connection that runs.
    RestartIce(PeerId),
    /// Let media flow to it.
    StartMedia {
        /// Which peer connection.
        peer: PeerId,
        /// What of it.
        rights: Rights,
    },
    /// Close it.
    ClosePeer(PeerId),
    /// Whether anybody watches or is about to, and may: the camera runs or rests. Without privacy, a camera
    /// that is always on runs all the same. Ordered anew whenever privacy begins or ends.
    Watch(bool),
    /// Make the next frame of this encode a keyframe.
    ForceKeyframe(Rendition),
    /// Encode at this bitrate.
    SetBitrate(Bitrate),
    /// Encode everything a second time, smaller and at this bitrate, or do not.
    SetSubstream(Option<Bitrate>),
    /// Send this encode to a viewer, from its next keyframe on.
    Serve {
        /// Which peer connection.
        peer: PeerId,
        /// Which encode.
        rendition: Rendition,
    },
    /// Something to tell people.
    Tell(Story),
}

/// The story that a person would tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Story {
    /// A standing offer is on the broker.
    OfferLit {
        /// Its id.
        offer: OfferId,
        /// Its revision.
        rev: u64,
    },
    /// No offer could be made; it is tried again.
    OfferFailed {
        /// Why.
        reason: String,
    },
    /// A viewer watches.
    ViewerJoined {
        /// Its peer connection.
        peer: PeerId,
        /// Its name, or `somebody` in open mode.
        viewer: String,
        /// Its slot.
        slot: Slot,
        /// What it may do.
        rights: Rights,
        /// How many watch now.
        watching: usize,
    },
    /// A viewer went.
    ViewerLeft {
        /// Its peer connection, which is closed.
        peer: Option<PeerId>,
        /// Its name.
        viewer: String,
        /// Its slot.
        slot: Slot,
        /// Why, in one word.
        reason: String,
        /// How long it watched.
        watched: Duration,
        /// How many watch now.
        watching: usize,
    },
    /// A viewer was refused.
    ViewerRefused {
        /// Its name.
        viewer: String,
        /// Its slot.
        slot: Slot,
        /// Why.
        code: RejectCode,
    },
    /// An answer could not be used.
    AnswerFailed {
        /// The viewer's name.
        viewer: String,
        /// Why.
        reason: String,
    },
    /// Somebody changed or cleared what is ours on the broker; it is put back.
    PutBack {
        /// Which topic.
        topic: String,
    },
    /// Somebody's litter was cleared.
    Cleared {
        /// Which topic.
        topic: String,
    },
    /// So many sessions were seen that a new boot began.
    NewBoot,
}
