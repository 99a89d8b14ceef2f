//! What of an offer is posted, what of a response is applied, and what goes between in fragments?
//!
//! Every peer connection of farol has the same sections. A server gets those that are to be sent there:
//! the rest are cut out of the offer, and put back into the answer as rejected, so that the two match
//! (RFC 3264 §6). The SDP fragments of trickle ICE and ICE restart are those of RFC 8840 §9.

/// Candidates beyond this are left out.
const MOST_CANDIDATES: usize = 64;
/// Ends a list of candidates (RFC 8838 §8.2).
const END: &str = "a=end-of-candidates";

/// The media type of fragments.
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The offer with these kinds of sections alone.
pub fn narrowed(offer: &str, kinds: &[&str]) -> String {
    let (session, sections) = split(offer);
    let kept: Vec<&Vec<&str>> = sections.iter().filter(|lines| kinds.contains(&kind(lines))).collect();
    let mut out = String::with_capacity(offer.len());
    for line in session {
        match line.strip_prefix("a=group:BUNDLE") {
            Some(_) => {
                let mids = kept.iter().filter_map(|lines| value(lines, "mid"));
                let group = mids.fold("a=group:BUNDLE".to_owned(), |group, mid| group + " " + mid);
                push(&mut out, &group);
            }
            None => push(&mut out, line),
        }
    }
    kept.into_iter().flatten().for_each(|line| push(&mut out, line));
    out
}

/// The answer with a rejected section for each that the offer has and the posted one had not.
pub fn widened(answer: &str, offer: &str, kinds: &[&str]) -> String {
    let (session, sections) = split(answer);
    let mut answered = sections.into_iter();
    let mut out = String::with_capacity(answer.len() + 256);
    session.iter().for_each(|line| push(&mut out, line));
    for lines in split(offer).1 {
        if kinds.contains(&kind(&lines)) {
            answered.next().into_iter().flatten().for_each(|line| push(&mut out, line));
            continue;
        }
        // `m=<kind> <port> <transport> <formats>`: port 0 rejects.
        let mut words: Vec<&str> = lines.first().map_or(Vec::new(), |line| line.split(' ').collect());
        if let Some(port) = words.get_mut(1) {
            *port = "0";
        }
        push(&mut out, &words.join(" "));
        push(&mut out, "c=IN IP4 0.0.0.0");
        // The formats stay described, as browsers leave them: the library looks them up.
        let kept = ["a=mid:", "a=rtpmap:", "a=fmtp:", "a=sctp-port:"];
        let is_kept = |line: &&&str| kept.iter().any(|start| line.starts_with(start));
        lines.iter().filter(is_kept).for_each(|line| push(&mut out, line));
    }
    // One section too many is for the peer connection to refuse.
    answered.flatten().for_each(|line| push(&mut out, line));
    out
}

/// What a fragment says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fragment {
    /// The ICE user name fragment.
    pub ufrag: String,
    /// The ICE password.
    pub password: String,
    /// Candidates, `candidate:` included.
    pub candidates: Vec<String>,
}

/// Writes a fragment for the offer's first section, which carries the transport of all, with some of its
/// candidates (RFC 9725 §4.3.2).
pub fn fragment(offer: &str, candidates: &[String], is_end: bool) -> String {
    let (session, sections) = split(offer);
    let mut out = String::new();
    session.iter().filter(|line| line.starts_with("a=group:BUNDLE")).for_each(|line| push(&mut out, line));
    if let Some(first) = sections.first() {
        first.iter().take(1).for_each(|line| push(&mut out, line));
        let names = ["a=mid:", "a=ice-ufrag:", "a=ice-pwd:"];
        let named = |line: &&&str| names.iter().any(|name| line.starts_with(name));
        first.iter().filter(named).for_each(|line| push(&mut out, line));
    }
    candidates.iter().for_each(|candidate| push(&mut out, &format!("a={candidate}")));
    if is_end {
        push(&mut out, END);
    }
    out
}

/// Reads a fragment. `None`: it has no ICE credentials.
pub fn read_fragment(text: &str) -> Option<Fragment> {
    let find = |name: &str| text.lines().find_map(|line| line.trim_end().strip_prefix(name));
    let fragment = Fragment {
        ufrag: find("a=ice-ufrag:")?.to_owned(),
        password: find("a=ice-pwd:")?.to_owned(),
        candidates: candidates(text),
    };
    Some(fragment)
}

/// The answer anew, with the credentials and candidates that an ICE restart brought.
pub fn restarted(answer: &str, fragment: &Fragment) -> String {
    let mut out = String::with_capacity(answer.len() + 256);
    let mut is_told = false;
    for line in answer.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.starts_with("a=ice-ufrag:") {
            push(&mut out, &format!("a=ice-ufrag:{}", fragment.ufrag));
        } else if line.starts_with("a=ice-pwd:") {
            push(&mut out, &format!("a=ice-pwd:{}", fragment.password));
            if !is_told {
                fragment.candidates.iter().for_each(|candidate| push(&mut out, &format!("a={candidate}")));
                is_told = true;
            }
        } else if !line.starts_with("a=candidate:") && line != END {
            push(&mut out, line);
        }
    }
    out
}

/// The candidates of a description or a fragment, each once, `candidate:` included.
pub fn candidates(sdp: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in sdp.lines() {
        let value = line.trim_end().strip_prefix("a=").filter(|value| value.starts_with("candidate:"));
        let Some(value) = value else { continue };
        if found.len() < MOST_CANDIDATES && !found.iter().any(|known| known == value) {
            found.push(value.to_owned());
        }
    }
    found
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
    let first = lines.first().and_then(|line| line.strip_prefix("m="));
    first.and_then(|rest| rest.split(' ').next()).unwrap_or("")
}

/// The value of the first `a=<name>:` line.
fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0 1 2\r\na=ice-options:trickle\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:ours\r\na=ice-pwd:secret\r\n\
        a=candidate:1 1 udp 1 10.0.0.2 5000 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\na=rtpmap:102 H264/90000\r\na=sendonly\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
    const ANSWER: &str = "v=0\r\ns=-\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:older\r\n\
        a=candidate:9 1 udp 1 10.0.0.9 9 typ host\r\na=end-of-candidates\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\na=ice-ufrag:old\r\na=ice-pwd:older\r\n";
    const MEDIA: [&str; 2] = ["audio", "video"];

    #[test]
    fn posted_offer_has_only_what_is_sent() {
        let posted = narrowed(OFFER, &MEDIA);
        assert!(posted.contains("a=group:BUNDLE 0 1\r\n"), "{posted}");
        assert!(
            posted.contains("m=audio") && posted.contains("m=video") && !posted.contains("m=application")
        );
        let posted = narrowed(OFFER, &["audio"]);
        assert!(posted.contains("a=group:BUNDLE 0\r\n") && !posted.contains("m=video"), "{posted}");
    }

    #[test]
    fn answer_gets_back_what_was_cut_as_rejected() {
        let answer = widened(ANSWER, OFFER, &MEDIA);
        let (before, after) = answer.split_once("m=application").expect("the third section");
        assert_eq!(before, ANSWER);
        assert_eq!(after, " 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n");
        let audio_only = ANSWER.split_once("m=video").expect("a second section").0;
        let kinds: Vec<String> = split(&widened(audio_only, OFFER, &["audio"]))
            .1
            .iter()
            .map(|lines| lines[0].to_owned())
            .collect();
        assert_eq!(
            kinds[1..],
            ["m=video 0 UDP/TLS/RTP/SAVPF 102", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]
        );
    }

    #[test]
    fn fragment_is_of_the_first_section() {
        let late = ["candidate:2 1 udp 1 192.0.2.1 6000 typ srflx".to_owned()];
        assert_eq!(
            fragment(OFFER, &late, true),
            "a=group:BUNDLE 0 1 2\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:ours\r\n\
             a=ice-pwd:secret\r\na=candidate:2 1 udp 1 192.0.2.1 6000 typ srflx\r\na=end-of-candidates\r\n"
        );
    }

    #[test]
    fn restart_changes_credentials_and_candidates_and_nothing_else() {
        let text =
            "a=ice-lite\na=ice-ufrag:new\na=ice-pwd:newer\na=candidate:3 1 udp 1 10.0.0.3 7 typ host\n";
        let fragment = read_fragment(text).expect("credentials");
        let answer = restarted(ANSWER, &fragment);
        assert_eq!(answer.matches("a=ice-ufrag:new\r\na=ice-pwd:newer\r\n").count(), 2, "{answer}");
        assert_eq!(candidates(&answer), ["candidate:3 1 udp 1 10.0.0.3 7 typ host"]);
        assert!(!answer.contains("old") && answer.contains("m=video"), "{answer}");
        assert_eq!(read_fragment("a=ice-ufrag:new\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reading(text in "[am=:0-9 \\r\\n\\PC]{0,300}") {
            let _ = widened(&text, OFFER, &MEDIA);
            let _ = narrowed(&text, &MEDIA);
            prop_assert!(candidates(&text).len() <= MOST_CANDIDATES);
            if let Some(fragment) = read_fragment(&text) {
                let _ = restarted(&text, &fragment);
            }
        }
    }
}
