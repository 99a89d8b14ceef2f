//! What does Janus get for a camera? A recording as plain RTP, and keyframes when it asks for them.
//!
//! Pictures are due at whole thirtieths of a second since 1970, so that a viewer can tell without a word from
//! here when one was due: Janus passes no header extension on that would say it.

use std::net::UdpSocket;

use crate::recording::{PICTURES_PER_S, Recording, next_due};

const VIDEO_HZ: u32 = 90_000;
const PAYLOAD_TYPE: u8 = 96;
const SSRC: u32 = 0x000f_eed0;
/// An empty receiver report (RFC 3550 §6.4.2): from it Janus learns whom to ask for keyframes.
const HELLO: [u8; 8] = [0x80, 201, 0, 1, 0, 0x0f, 0xee, 0xd0];

/// Plays until standard input ends.
pub fn feed(file: &str, rtp: u16, rtcp: u16) -> anyhow::Result<()> {
    let recording = Recording::open(file)?;
    let media = UdpSocket::bind("127.0.0.1:0")?;
    media.connect(("127.0.0.1", rtp))?;
    let control = UdpSocket::bind("127.0.0.1:0")?;
    control.connect(("127.0.0.1", rtcp))?;
    control.set_nonblocking(true)?;
    std::thread::Builder::new().name("feed".into()).spawn(move || play(recording, &media, &control))?;
    println!("ready");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn play(mut recording: Recording, media: &UdpSocket, control: &UdpSocket) {
    let mut sequence = 0u16;
    loop {
        let number = next_due();
        if number.is_multiple_of(u64::from(PICTURES_PER_S)) {
            // Janus may not be there yet.
            let _ = control.send(&HELLO);
        }
        let mut asked = [0; 1500];
        while let Ok(length) = control.recv(&mut asked) {
            if asks_for_keyframe(&asked[..length]) {
                recording.skip_to_keyframe();
            }
        }
        let timestamp = (number as u32).wrapping_mul(VIDEO_HZ / PICTURES_PER_S);
        let payloads = &recording.next().payloads;
        for (n, payload) in payloads.iter().enumerate() {
            let marker = if n + 1 == payloads.len() { 0x80 } else { 0 };
            let mut packet = vec![0x80, PAYLOAD_TYPE | marker];
            packet.extend_from_slice(&sequence.to_be_bytes());
            packet.extend_from_slice(&timestamp.to_be_bytes());
            packet.extend_from_slice(&SSRC.to_be_bytes());
            packet.extend_from_slice(payload);
            sequence = sequence.wrapping_add(1);
            let _ = media.send(&packet);
        }
    }
}

/// Whether a compound packet has a PLI or an FIR (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
fn asks_for_keyframe(mut packets: &[u8]) -> bool {
    while let [first, kind, high, low, ..] = *packets {
        if kind == 206 && matches!(first & 0x1f, 1 | 4) {
            return true;
        }
        let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
        packets = packets.get(length..).unwrap_or_default();
    }
    false
}
