//! The wire messages of `farol/1`, what may be in them, and how they are read without trusting them.

use serde::{Deserialize, Serialize};

/// An ICE candidate as browsers write it (RTCIceCandidateInit).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The `candidate:` attribute's value (RFC 8839 §5.1); empty at the end of candidates.
    pub candidate: String,
    /// Which media section, by `a=mid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// Which media section, by its index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_m_line_index: Option<u16>,
    /// Which ICE generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}
