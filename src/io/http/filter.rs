//! What may a browser say to the broker behind the bridge? What viewers say, and nothing else.
//!
//! The broker may be one without rules of its own, as the package's is. So MQTT is read on its way in, packet by
//! packet, as far as that question needs it (MQTT 3.1.1 and 5):
//!
//! | packet | passes |
//! |---|---|
//! | CONNECT | once and first, without a will, with a clean start and no session that outlives it |
//! | SUBSCRIBE | to `farol/1/+/status`, a device's `status`, one `offer/<slot>`, one `out/<slot>/<session>` |
//! | PUBLISH | to `in/<slot>/<session>`, not retained, QoS 0 or 1, by its whole name |
//! | UNSUBSCRIBE, PUBACK, PINGREQ, DISCONNECT | always |
//!
//! Anything else ends the connection. Whose slot it is the broker alone can check. Pure: bytes in, bytes out.

use std::ops::Range;

use crate::engine::topic::Topic;
use crate::units::DeviceId;

/// A packet longer than this is refused: the device takes messages of 32 KiB.
const MAX_PACKET_BYTES: usize = 64 * 1024;

/// Why a browser is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not MQTT, or not of the versions that we know.
    Malformed,
    /// Longer than any viewer's.
    TooLong,
    /// Of a kind that viewers have no use for, or CONNECT not first, or twice.
    Packet,
    /// A will, a session that stays, a retained message, QoS 2 or a topic alias.
    Feature,
    /// A topic that is not viewers' to write or to read.
    Topic,
}

/// One browser's stream.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// What is not yet a whole packet.
    pending: Vec<u8>,
    /// The protocol's level, once it has connected: 4 or 5.
    level: Option<u8>,
}

impl Filter {
    /// Takes what has come, and returns what of it the broker may have: whole packets.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.pending.extend_from_slice(bytes);
        let mut passed = 0;
        while let Some(packet) = packet(&self.pending[passed..])? {
            let (start, body) = (passed, &self.pending[passed + packet.start..passed + packet.end]);
            let level = look_at(self.level, self.pending[start], body)?;
            self.level = Some(level);
            passed += packet.end;
        }
        Ok(self.pending.drain(..passed).collect())
    }
}

/// Where the first packet's body is; `None` while it is not whole (MQTT 5 §2.1.4).
fn packet(bytes: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
    let Some(rest) = bytes.get(1..) else { return Ok(None) };
    let Some((length, size)) = number(rest)? else { return Ok(None) };
    if length > MAX_PACKET_BYTES {
        return Err(Refusal::TooLong);
    }
    let body = 1 + size..1 + size + length;
    Ok((bytes.len() >= body.end).then_some(body))
}

/// A variable byte integer and how many bytes it takes; `None`: it is cut off (MQTT 5 §1.5.5).
fn number(bytes: &[u8]) -> Result<Option<(usize, usize)>, Refusal> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Refusal::Malformed) }
}

/// Whether a packet may pass; which level the connection has then.
fn look_at(level: Option<u8>, first: u8, body: &[u8]) -> Result<u8, Refusal> {
    let mut rest = Reader(body);
    let Some(level) = level else {
        return if first == 0x10 { connect(&mut rest) } else { Err(Refusal::Packet) };
    };
    match first {
        0x30..=0x3f => publish(level, first & 0x0f, &mut rest)?,
        0x82 => subscribe(level, &mut rest)?,
        // UNSUBSCRIBE, PUBACK, PINGREQ, DISCONNECT.
        0xa2 | 0x40 | 0xc0 | 0xe0 => {}
        _ => return Err(Refusal::Packet),
    }
    Ok(level)
}

/// MQTT 5 §3.1, MQTT 3.1.1 §3.1.
fn connect(rest: &mut Reader<'_>) -> Result<u8, Refusal> {
    if rest.text()? != "MQTT" {
        return Err(Refusal::Malformed);
    }
    let (level, flags) = (rest.byte()?, rest.byte()?);
    if ![4, 5].contains(&level) || flags & 0x01 != 0 {
        return Err(Refusal::Malformed);
    }
    let (has_will, is_clean) = (flags & 0x04 != 0, flags & 0x02 != 0);
    if has_will || !is_clean {
        return Err(Refusal::Feature);
    }
    // How long it may be silent: the broker's business.
    rest.bytes(2)?;
    if level == 5 {
        rest.properties(|id, value| id == SESSION_EXPIRY && value.iter().any(|&byte| byte != 0))?;
    }
    Ok(level)
}

/// MQTT 5 §3.3.
fn publish(level: u8, flags: u8, rest: &mut Reader<'_>) -> Result<(), Refusal> {
    let (qos, is_retained) = (flags >> 1 & 3, flags & 1 != 0);
    if qos > 1 || is_retained {
        return Err(Refusal::Feature);
    }
    let topic = rest.text()?;
    if !matches!(of_a_device(topic), Some(Topic::In(..))) {
        return Err(if topic.is_empty() { Refusal::Feature } else { Refusal::Topic });
    }
    if qos > 0 {
        rest.bytes(2)?;
    }
    if level == 5 {
        rest.properties(|id, _| id == TOPIC_ALIAS)?;
    }
    Ok(())
}

/// MQTT 5 §3.8.
fn subscribe(level: u8, rest: &mut Reader<'_>) -> Result<(), Refusal> {
    rest.bytes(2)?;
    if level == 5 {
        rest.properties(|_, _| false)?;
    }
    while !rest.0.is_empty() {
        let filter = rest.text()?;
        let is_viewers =
            matches!(of_a_device(filter), Some(Topic::Status | Topic::Offer(_) | Topic::Out(..)));
        if filter != "farol/1/+/status" && !is_viewers {
            return Err(Refusal::Topic);
        }
        rest.byte()?;
    }
    Ok(())
}

/// A topic of whichever device: several may share the broker.
fn of_a_device(topic: &str) -> Option<Topic> {
    let device: DeviceId = topic.split('/').nth(2)?.parse().ok()?;
    Topic::parse(device, topic)
}

/// Properties by their identifiers (MQTT 5 §2.2.2.2).
const SESSION_EXPIRY: u8 = 0x11;
const TOPIC_ALIAS: u8 = 0x23;

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn bytes(&mut self, count: usize) -> Result<&'b [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Refusal> {
        Ok(self.bytes(1)?[0])
    }

    /// Two bytes of length, then so many.
    fn sized(&mut self) -> Result<&'b [u8], Refusal> {
        let length = self.bytes(2)?;
        self.bytes(usize::from(u16::from_be_bytes([length[0], length[1]])))
    }

    fn text(&mut self) -> Result<&'b str, Refusal> {
        str::from_utf8(self.sized()?).map_err(|_| Refusal::Malformed)
    }

    fn number(&mut self) -> Result<usize, Refusal> {
        let (value, size) = number(self.0)?.ok_or(Refusal::Malformed)?;
        self.bytes(size)?;
        Ok(value)
    }

    /// Reads the properties, of which none may be refused.
    fn properties(&mut self, is_refused: impl Fn(u8, &[u8]) -> bool) -> Result<(), Refusal> {
        let length = self.number()?;
        let mut properties = Reader(self.bytes(length)?);
        while !properties.0.is_empty() {
            let id = properties.byte()?;
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => properties.bytes(1)?,
                0x13 | 0x21..=0x23 => properties.bytes(2)?,
                0x02 | 0x11 | 0x18 | 0x27 => properties.bytes(4)?,
                0x0b => {
                    properties.number()?;
                    &[]
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => properties.sized()?,
                0x26 => {
                    properties.sized()?;
                    properties.sized()?
                }
                _ => return Err(Refusal::Malformed),
            };
            if is_refused(id, value) {
                return Err(Refusal::Feature);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVICE: &str = "0000000000000000000000000000000d";
    const SESSION: &str = "00000000000000000000000000000005";
    const SLOT: &str = "00000000000000aa";
    const PING: [u8; 2] = [0xc0, 0];

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let byte = (length & 0x7f) as u8;
            length >>= 7;
            packet.push(if length > 0 { byte | 0x80 } else { byte });
            if length == 0 {
                return [packet, body.to_vec()].concat();
            }
        }
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn connect(level: u8, flags: u8, properties: &[u8]) -> Vec<u8> {
        let mut body = [text("MQTT"), vec![level, flags, 0, 60]].concat();
        if level == 5 {
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(text("v"));
        packet(0x10, &body)
    }

    fn publish(first: u8, topic: &str, properties: &[u8]) -> Vec<u8> {
        let number: &[u8] = if first & 6 == 0 { &[] } else { &[0, 1] };
        let body = [&text(topic)[..], number, &[properties.len() as u8], properties, b"{}"].concat();
        packet(first, &body)
    }

    fn subscribe(filters: &[&str]) -> Vec<u8> {
        let filters = filters.iter().flat_map(|filter| [text(filter), vec![1]].concat());
        packet(0x82, &[0, 1, 0].into_iter().chain(filters).collect::<Vec<u8>>())
    }

    fn topic(rest: &str) -> String {
        format!("farol/1/{DEVICE}/{rest}")
    }

    /// What becomes of a packet behind a good CONNECT of MQTT 5.
    fn then(packet: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut filter = Filter::default();
        filter.take(&connect(5, 2, &[])).expect("a good one");
        filter.take(packet)
    }

    #[test]
    fn viewer_s_packets_pass_as_they_are_in_whatever_pieces_they_come() {
        let session = topic(&format!("out/{SLOT}/{SESSION}"));
        let stream = [
            connect(5, 0xc2, &[0x11, 0, 0, 0, 0, 0x21, 0, 9]),
            subscribe(&["farol/1/+/status", &topic("status"), &topic(&format!("offer/{SLOT}")), &session]),
            publish(0x32, &topic(&format!("in/{SLOT}/{SESSION}")), &[2, 0, 0, 0, 30]),
            publish(0x30, &topic(&format!("in/open/{SESSION}")), &[]),
            packet(0xa2, &[&[0, 2, 0][..], &text(&session)].concat()),
            packet(0x40, &[0, 1]),
            PING.to_vec(),
            packet(0xe0, &[]),
        ]
        .concat();
        for size in [1, 7, 100, stream.len()] {
            let mut filter = Filter::default();
            let passed = stream.chunks(size).map(|piece| filter.take(piece).expect("a viewer's"));
            assert_eq!(passed.collect::<Vec<_>>().concat(), stream, "in pieces of {size}");
        }
        let mut older = Filter::default();
        let body = [text(&topic(&format!("in/{SLOT}/{SESSION}"))), vec![0, 1], b"{}".to_vec()].concat();
        let stream = [connect(4, 2, &[]), packet(0x32, &body)].concat();
        assert_eq!(older.take(&stream), Ok(stream));
    }

    #[test]
    fn connect_comes_first_and_once_and_leaves_nothing_behind() {
        assert_eq!(Filter::default().take(&PING), Err(Refusal::Packet));
        assert_eq!(then(&connect(5, 2, &[])), Err(Refusal::Packet));
        for (level, flags, properties) in
            [(5, 6, &[][..]), (5, 0, &[]), (4, 0, &[]), (5, 2, &[0x11, 0, 0, 0, 1])]
        {
            assert_eq!(Filter::default().take(&connect(level, flags, properties)), Err(Refusal::Feature));
        }
        for (level, flags) in [(3, 2), (6, 2), (5, 3)] {
            assert_eq!(Filter::default().take(&connect(level, flags, &[])), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn viewers_write_only_into_sessions_and_leave_nothing_there() {
        let own = topic(&format!("in/{SLOT}/{SESSION}"));
        for other in [
            topic("status"),
            topic(&format!("offer/{SLOT}")),
            topic(&format!("out/{SLOT}/{SESSION}")),
            topic(&format!("{}/more", "in/open/5")),
            format!("{own}/more"),
            "home/door".to_owned(),
            "$SYS/x".to_owned(),
        ] {
            assert_eq!(then(&publish(0x32, &other, &[])), Err(Refusal::Topic), "{other}");
        }
        assert_eq!(then(&publish(0x33, &own, &[])), Err(Refusal::Feature), "retained");
        assert_eq!(then(&publish(0x34, &own, &[])), Err(Refusal::Feature), "QoS 2");
        assert_eq!(then(&publish(0x32, &own, &[TOPIC_ALIAS, 0, 1])), Err(Refusal::Feature));
        assert_eq!(then(&publish(0x32, "", &[TOPIC_ALIAS, 0, 1])), Err(Refusal::Feature));
    }

    #[test]
    fn viewers_read_nothing_that_they_cannot_name() {
        for other in [
            "#".to_owned(),
            "+/+/+/status".to_owned(),
            "farol/1/+/offer/+".to_owned(),
            topic("#"),
            topic("offer/+"),
            topic(&format!("out/{SLOT}/+")),
            topic(&format!("in/{SLOT}/{SESSION}")),
            topic("event/motion"),
            format!("$share/group/{}", topic("status")),
            "$SYS/#".to_owned(),
        ] {
            assert_eq!(then(&subscribe(&["farol/1/+/status", &other])), Err(Refusal::Topic), "{other}");
        }
    }

    #[test]
    fn other_packets_and_long_ones_end_it() {
        for first in [0x00, 0x20, 0x50, 0x62, 0x70, 0x80, 0x90, 0xa0, 0xb0, 0xd0, 0xf0] {
            assert_eq!(then(&packet(first, &[0, 1])), Err(Refusal::Packet), "{first:#x}");
        }
        assert_eq!(then(&[0x30, 0x81, 0x80, 0x04]), Err(Refusal::TooLong));
        assert_eq!(then(&[0x30, 0xff, 0xff, 0xff, 0xff]), Err(Refusal::Malformed));
        assert_eq!(then(&packet(0x82, &[0, 1, 5])), Err(Refusal::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut filter = Filter::default();
            let _ = filter.take(&connect(5, 2, &[]));
            for piece in pieces {
                let _ = filter.take(&piece);
            }
        }

        #[test]
        fn nothing_is_read_by_another_name_than_passes(rest in "[a-z0-9/+#]{0,60}") {
            // Whatever has passed holds no wildcard but the one.
            if then(&subscribe(&[&rest])).is_ok() {
                prop_assert!(!rest.contains(['+', '#']) || rest == "farol/1/+/status");
            }
        }
    }
}
