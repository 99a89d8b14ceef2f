//! How an offer is kept small enough for the broker: where its candidates stand.
//!
//! Every bundled section may repeat the same candidates (RFC 9143 §7.1: only the tagged section's
//! count). With many addresses that is what makes an SDP too long, so they are kept in the first
//! section only when it must be, and what still does not fit follows as `candidates`.

use crate::engine::message::Candidate;

/// Makes `sdp` at most `limit_bytes` long by moving candidates out, last ones first. What moved out
/// of the first section comes back as candidates to be sent on their own.
pub fn fit(sdp: &str, limit_bytes: usize) -> (String, Vec<Candidate>) {
    if sdp.len() <= limit_bytes {
        return (sdp.to_string(), Vec::new());
    }
    let mut lines = without_repeated_candidates(sdp);
    let mid = first_mid(sdp);
    let mut moved = Vec::new();
    let length = |lines: &[&str]| lines.iter().map(|line| line.len() + 2).sum::<usize>();
    while length(&lines) > limit_bytes {
        let Some(last) = lines.iter().rposition(|line| line.starts_with("a=candidate:")) else { break };
        let line = lines.remove(last);
        moved.push(Candidate {
            candidate: line["a=".len()..].to_string(),
            sdp_mid: mid.clone(),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        });
    }
    if !moved.is_empty() {
        lines.retain(|line| *line != "a=end-of-candidates");
    }
    moved.reverse();
    (lines.iter().flat_map(|line| [line, "\r\n"]).collect(), moved)
}

/// The lines of `sdp`, candidates standing in the first media section only.
fn without_repeated_candidates(sdp: &str) -> Vec<&str> {
    let mut section = 0;
    sdp.lines()
        .filter(|line| {
            section += usize::from(line.starts_with("m="));
            section <= 1 || !(line.starts_with("a=candidate:") || *line == "a=end-of-candidates")
        })
        .collect()
}

fn first_mid(sdp: &str) -> Option<String> {
    sdp.lines().find_map(|line| line.strip_prefix("a=mid:")).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer(candidates: usize) -> String {
        let section = |kind: &str, mid: usize| {
            let mut text = format!("m={kind} 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:{mid}\r\n");
            for port in 0..candidates {
                text += &format!("a=candidate:1 1 udp 2130706431 192.0.2.1 {} typ host\r\n", 40_000 + port);
            }
            text + "a=end-of-candidates\r\n"
        };
        format!("v=0\r\na=group:BUNDLE 0 1\r\n{}{}", section("audio", 0), section("video", 1))
    }

    #[test]
    fn a_short_offer_is_left_as_it_is() {
        let sdp = offer(3);
        assert_eq!(fit(&sdp, 4096), (sdp.clone(), vec![]));
    }

    #[test]
    fn candidates_leave_the_later_sections_first() {
        let sdp = offer(20);
        let (fitted, moved) = fit(&sdp, sdp.len() - 100);
        assert_eq!(moved, vec![]);
        let second = fitted.find("m=video").expect("the section stays");
        assert_eq!(fitted[..second].matches("a=candidate:").count(), 20);
        assert_eq!(fitted[second..].matches("a=candidate:").count(), 0);
    }

    proptest! {
        #[test]
        fn no_candidate_is_lost(candidates in 0usize..60, limit in 600usize..4000) {
            let (fitted, moved) = fit(&offer(candidates), limit);
            prop_assert!(fitted.len() <= limit);
            let kept: std::collections::BTreeSet<_> = fitted
                .lines()
                .filter_map(|line| line.strip_prefix("a="))
                .filter(|line| line.starts_with("candidate:"))
                .map(str::to_string)
                .chain(moved.iter().map(|candidate| candidate.candidate.clone()))
                .collect();
            prop_assert_eq!(kept.len(), candidates);
        }
    }
}
