//! What must be changed in the library's SDP before a viewer reads it, and in a viewer's before the
//! library does.
//!
//! Pure text work: the library writes offers that browsers take but that say things twice, and it
//! gives up on answers that other libraries consider complete. Nothing here negotiates.

use std::fmt::Write as _;

/// An answer longer than this is refused unread: the signalling protocol carries at most 32 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Beyond this, candidates stand in the first section only. A message of the signalling protocol
/// holds 8,192 bytes of JSON, in which each line end of the SDP takes four bytes and the rest of the
/// payload (ids, ICE servers, rights) up to about 1 KiB.
const MAX_OFFER_BYTES: usize = 6_500;

/// The payload type of retransmissions: feedback about them is meaningless, but the library lists it.
const RTX_FEEDBACK: &str = "a=rtcp-fb:103 ";

/// Why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// More text than any answer needs.
    #[error("it is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// Not SDP at all.
    #[error("it does not begin with v=0")]
    NotSdp,
    /// RFC 3264 §6: an answer has the sections of the offer, in the same order.
    #[error("it has {answered} media sections where the offer has {offered}")]
    SectionCount {
        /// How many it has.
        answered: usize,
        /// How many it should have.
        offered: usize,
    },
    /// A section that is not of the offered kind or has another `a=mid`.
    #[error("media section {index} is not the one that was offered")]
    SectionMismatch {
        /// Counted from 0.
        index: usize,
    },
    /// Every section is rejected: there is nothing to send.
    #[error("it rejects every media section")]
    NothingAccepted,
    /// RFC 8839 §5.4.
    #[error("it lacks a valid {0}")]
    Lacks(&'static str),
}

/// An offer's section, as far as its answer must repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video` or `application`.
    pub kind: String,
    /// The value of `a=mid`.
    pub mid: String,
}

/// An answer that the library can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text without candidates.
    pub sdp: String,
    /// The candidates that stood in it, `candidate:` included, without repetitions.
    pub candidates: Vec<String>,
    /// Which of the offer's sections it takes, in their order.
    pub accepted: Vec<bool>,
}

/// The offer as viewers get it: trickle ICE is declared (RFC 8838 §4.1), each candidate stands once,
/// without those for a separate RTCP port, which rtcp-mux makes useless, and the candidates are
/// repeated in every section, so that an answerer that rejects one still has them.
pub fn mend_offer(sdp: &str) -> String {
    let candidates = unique_candidates(sdp);
    let everywhere = assemble_offer(sdp, &candidates, true);
    if everywhere.len() <= MAX_OFFER_BYTES { everywhere } else { assemble_offer(sdp, &candidates, false) }
}

fn assemble_offer(sdp: &str, candidates: &[String], everywhere: bool) -> String {
    let is_complete = sdp.lines().any(|line| line == "a=end-of-candidates");
    let mut out = String::with_capacity(sdp.len());
    let mut sections = 0;
    let finish_section = |out: &mut String, number: usize| {
        if number == 0 || (number > 1 && !everywhere) {
            return;
        }
        for candidate in candidates {
            push_line(out, &format!("a={candidate}"));
        }
        if is_complete {
            push_line(out, "a=end-of-candidates");
        }
    };
    for line in sdp.lines() {
        if line.starts_with("m=") {
            if sections == 0 {
                push_line(&mut out, "a=ice-options:trickle");
            }
            finish_section(&mut out, sections);
            sections += 1;
        }
        let is_dropped = line.starts_with("a=candidate:")
            || line.starts_with("a=ice-options:")
            || line.starts_with(RTX_FEEDBACK)
            || line == "a=end-of-candidates";
        if !is_dropped {
            push_line(&mut out, line);
        }
    }
    finish_section(&mut out, sections);
    out
}

/// The candidates of an SDP for component 1, in order, each once; `candidate:` included.
pub fn unique_candidates(sdp: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in sdp.lines() {
        let Some(value) = line.strip_prefix("a=").filter(|value| is_rtp_candidate(value)) else { continue };
        if !found.iter().any(|known| known == value) {
            found.push(value.to_owned());
        }
    }
    found
}

/// RFC 8839 §5.1: `candidate:<foundation> <component> ...`, where component 1 is RTP, and with
/// rtcp-mux all there is.
fn is_rtp_candidate(value: &str) -> bool {
    value.strip_prefix("candidate:").and_then(|rest| rest.split(' ').nth(1)) == Some("1")
}

/// Whether a viewer's candidate is one that we can check: RTP over UDP.
pub fn is_usable_candidate(value: &str) -> bool {
    let transport = value.split(' ').nth(2);
    is_rtp_candidate(value) && transport.is_some_and(|transport| transport.eq_ignore_ascii_case("udp"))
}

/// The sections of an offer.
pub fn sections(sdp: &str) -> Vec<Section> {
    let (_, sections) = split(sdp);
    sections
        .iter()
        .map(|lines| Section {
            kind: kind(lines).to_owned(),
            mid: value(lines, "mid").unwrap_or("").to_owned(),
        })
        .collect()
}

/// The ICE user name fragment (RFC 8839 §5.4) of a description whose sections are bundled: there is one.
pub fn ufrag(sdp: &str) -> Option<&str> {
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:"))
}

/// Checks an answer to an offer with these sections and makes of it what the library can apply.
pub fn read_answer(offered: &[Section], sdp: &str) -> Result<Answer, AnswerFault> {
    if sdp.len() > MAX_ANSWER_BYTES {
        return Err(AnswerFault::TooLong);
    }
    if sdp.lines().next() != Some("v=0") {
        return Err(AnswerFault::NotSdp);
    }
    let (session, answered) = split(sdp);
    if answered.len() != offered.len() {
        return Err(AnswerFault::SectionCount { answered: answered.len(), offered: offered.len() });
    }
    for (index, (lines, offer)) in answered.iter().zip(offered).enumerate() {
        let same_mid = value(lines, "mid").is_none_or(|mid| mid == offer.mid);
        if kind(lines) != offer.kind || !same_mid {
            return Err(AnswerFault::SectionMismatch { index });
        }
    }
    let accepted: Vec<bool> = answered.iter().map(|lines| is_accepted(lines)).collect();
    check_transport(&session, &answered, &accepted)?;
    let mut out = String::with_capacity(sdp.len() + 64);
    for line in &session {
        push_line(&mut out, line);
    }
    for (index, lines) in answered.iter().enumerate() {
        write_section(&mut out, lines, &offered[index].mid, accepted[index], index);
    }
    let mut candidates = unique_candidates(sdp);
    candidates.retain(|candidate| is_usable_candidate(candidate));
    Ok(Answer { sdp: out, candidates, accepted })
}

/// What the connection needs, from the session or the first accepted section: ICE credentials
/// (RFC 8839 §5.4), a fingerprint (RFC 8122 §5) and a DTLS role (RFC 8842 §5.3).
fn check_transport(session: &[&str], answered: &[Vec<&str>], accepted: &[bool]) -> Result<(), AnswerFault> {
    let first = accepted.iter().position(|&taken| taken).ok_or(AnswerFault::NothingAccepted)?;
    let find = |name| value(&answered[first], name).or_else(|| value(session, name));
    let is_ice = |text: &&str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/' || b == b'-' || b == b'_')
    };
    find("ice-ufrag")
        .filter(|text| (4..=256).contains(&text.len()))
        .filter(is_ice)
        .ok_or(AnswerFault::Lacks("a=ice-ufrag"))?;
    find("ice-pwd")
        .filter(|text| (22..=256).contains(&text.len()))
        .filter(is_ice)
        .ok_or(AnswerFault::Lacks("a=ice-pwd"))?;
    find("fingerprint").filter(|text| is_fingerprint(text)).ok_or(AnswerFault::Lacks("a=fingerprint"))?;
    find("setup")
        .filter(|role| ["active", "passive"].contains(role))
        .ok_or(AnswerFault::Lacks("a=setup (active or passive)"))?;
    Ok(())
}

/// `sha-256` and 32 bytes in hexadecimal, which is what every answerer in use sends, or a longer hash
/// of the same family.
fn is_fingerprint(text: &str) -> bool {
    let Some((hash, digits)) = text.split_once(' ') else { return false };
    let bytes = match hash.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return false,
    };
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    digits.split(':').count() == bytes && digits.split(':').all(is_byte)
}

fn write_section(out: &mut String, lines: &[&str], mid: &str, is_accepted: bool, index: usize) {
    let transport_lines = ["a=ice-", "a=fingerprint:", "a=setup:", "a=ssrc"];
    let directions = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
    for line in lines {
        let is_candidate = line.starts_with("a=candidate:") || *line == "a=end-of-candidates";
        let is_moot = !is_accepted
            && (directions.contains(line) || transport_lines.iter().any(|start| line.starts_with(start)));
        if !is_candidate && !is_moot {
            push_line(out, line);
        }
    }
    if value(lines, "mid").is_none() {
        push_line(out, &format!("a=mid:{mid}"));
    }
    if !is_accepted {
        push_line(out, "a=inactive");
        return;
    }
    // libdatachannel describes what it sends without `a=ssrc`; with several sections the library then
    // refuses the whole answer. The number is never on the wire: it only stands for "unknown".
    let sends = lines.contains(&"a=sendrecv") || lines.contains(&"a=sendonly") || !has_direction(lines);
    let is_media = kind(lines) != "application";
    if is_media && sends && value(lines, "ssrc").is_none() && value(lines, "rid").is_none() {
        let _ = write!(out, "a=ssrc:{} cname:unknown\r\n", 1 + index);
    }
}

/// Port 0 rejects a section (RFC 3264 §6), unless it is bundle-only (RFC 8843 §6); `inactive` takes
/// it and then wants nothing of it, which for us is the same.
fn is_accepted(lines: &[&str]) -> bool {
    let port = lines.first().and_then(|line| line.split(' ').nth(1));
    (port != Some("0") || lines.contains(&"a=bundle-only")) && !lines.contains(&"a=inactive")
}

fn has_direction(lines: &[&str]) -> bool {
    ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"].iter().any(|line| lines.contains(line))
}

/// The session's lines and those of each media section, the `m=` line first.
fn split(sdp: &str) -> (Vec<&str>, Vec<Vec<&str>>) {
    let mut session = Vec::new();
    let mut sections: Vec<Vec<&str>> = Vec::new();
    for line in sdp.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap_or(&mut session).push(line);
    }
    (session, sections)
}

fn kind<'a>(lines: &[&'a str]) -> &'a str {
    let first = lines.first().copied().unwrap_or("");
    first.strip_prefix("m=").and_then(|rest| rest.split(' ').next()).unwrap_or("")
}

/// The value of the first `a=<name>:` line.
fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host\r\n\
        a=candidate:1 2 udp 2130706431 10.0.0.2 5000 typ host\r\n\
        a=candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host\r\na=end-of-candidates\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=mid:1\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:103 nack\r\n";

    fn answer(audio_port: u16, video_port: u16) -> String {
        let transport = format!(
            "a=ice-ufrag:abcd\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:active\r\n",
            "p".repeat(22),
            vec!["AB"; 32].join(":")
        );
        format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
             m=audio {audio_port} UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{transport}a=sendrecv\r\n\
             a=candidate:1 1 udp 1 10.0.0.3 6000 typ host\r\n\
             m=video {video_port} UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\n{transport}a=recvonly\r\n"
        )
    }

    #[test]
    fn offer_repeats_each_candidate_once_in_every_section() {
        let mended = mend_offer(OFFER);
        assert_eq!(mended.matches("a=candidate:1 1 ").count(), 2, "{mended}");
        assert_eq!(mended.matches("a=end-of-candidates").count(), 2);
        assert!(!mended.contains("a=candidate:1 2 "));
        assert!(!mended.contains("a=rtcp-fb:103"));
        assert_eq!(mended.matches("a=ice-options:trickle").count(), 1);
        assert_eq!(mend_offer(&mended), mended, "mending twice changes nothing");
    }

    #[test]
    fn long_offer_has_candidates_in_the_first_section_only() {
        let many: String = (0..60)
            .map(|n| format!("a=candidate:{n} 1 udp 2130706431 10.0.0.2 {} typ host\r\n", 5000 + n))
            .collect();
        let mended = mend_offer(&OFFER.replace("m=video", &format!("{many}m=video")));
        let video = mended.find("m=video").unwrap();
        assert!(mended[..video].contains("a=candidate:59 1 "));
        assert!(!mended[video..].contains("a=candidate:"));
    }

    #[test]
    fn good_answer_is_read() {
        let read = read_answer(&sections(OFFER), &answer(9, 9)).unwrap();
        assert_eq!(read.accepted, [true, true]);
        assert_eq!(read.candidates, ["candidate:1 1 udp 1 10.0.0.3 6000 typ host"]);
        assert!(!read.sdp.contains("a=candidate"));
    }

    #[test]
    fn sending_section_without_ssrc_gets_one() {
        let read = read_answer(&sections(OFFER), &answer(9, 9)).unwrap();
        assert_eq!(read.sdp.matches("a=ssrc:").count(), 1, "only the section that sends: {}", read.sdp);
    }

    #[test]
    fn rejected_section_is_inactive_and_says_nothing_of_the_transport() {
        let read = read_answer(&sections(OFFER), &answer(9, 0)).unwrap();
        assert_eq!(read.accepted, [true, false]);
        let video = &read.sdp[read.sdp.find("m=video").unwrap()..];
        assert!(video.contains("a=inactive") && !video.contains("a=ice-") && !video.contains("a=recvonly"));
    }

    #[test]
    fn faults_are_named() {
        let offered = sections(OFFER);
        let good = answer(9, 9);
        let read = |text: &str| read_answer(&offered, text).unwrap_err();
        assert_eq!(read("hello"), AnswerFault::NotSdp);
        assert_eq!(read(&"v".repeat(70_000)), AnswerFault::TooLong);
        assert_eq!(read("v=0\r\ns=-\r\n"), AnswerFault::SectionCount { answered: 0, offered: 2 });
        assert_eq!(read(&answer(0, 0)), AnswerFault::NothingAccepted);
        assert_eq!(read(&good.replace("mid:1", "mid:7")), AnswerFault::SectionMismatch { index: 1 });
        assert_eq!(read(&good.replace("m=video", "m=audio")), AnswerFault::SectionMismatch { index: 1 });
        assert_eq!(read(&good.replace("ice-ufrag:abcd", "ice-ufrag:a")), AnswerFault::Lacks("a=ice-ufrag"));
        assert_eq!(read(&good.replace("a=ice-pwd:", "a=x:")), AnswerFault::Lacks("a=ice-pwd"));
        assert_eq!(read(&good.replace("AB:AB", "AB:XY")), AnswerFault::Lacks("a=fingerprint"));
        let role = AnswerFault::Lacks("a=setup (active or passive)");
        assert_eq!(read(&good.replace("setup:active", "setup:actpass")), role);
    }
}
