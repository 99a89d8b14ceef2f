//! What the daemon is told: whoever holds a [`Config`] need not check it again.
//!
//! [`mod@file`] is the TOML as people write it and turns it into this, or into the list of all its
//! [`fault`]s; [`demo`] is the configuration that needs no file. Every value has a default, so an
//! empty file is a good one; no default talks to a third party.

pub mod board;
pub mod demo;
pub mod fault;
pub mod file;
pub mod interfaces;
mod media;
#[cfg(test)]
mod reference;
mod secret;
mod sections;
mod turn;
mod url;
mod walk;
pub mod whip;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::units::Bitrate;

pub use file::ConfigError;
pub use url::{IceKind, IceUrl, Transport};

/// Everything that `farol run` is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What viewers see as the camera's name; at most 64 characters.
    pub name: String,
    /// Where the device id and the viewers' keys are kept.
    pub state_dir: PathBuf,
    /// Where the broker is, as this device reaches it.
    pub broker: Broker,
    /// What `farol pair` writes into links.
    pub links: Links,
    /// Whether signalling is sealed with the viewers' keys.
    pub security: Security,
    /// How many viewers may be connected at once, 1 to 64.
    pub max_viewers: usize,
    /// Where the picture comes from.
    pub video: Video,
    /// Where the sound comes from.
    pub audio: Audio,
    /// Where viewers' voices come out; `None`: nowhere, and the offer takes no sound.
    pub talkback: Option<Talkback>,
    /// How a path to a viewer is found.
    pub ice: Ice,
    /// The page and its `/farol.json`, served by the daemon itself when an address is given.
    pub http: Option<SocketAddr>,
    /// Where Prometheus finds what is counted; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether the page's port also carries MQTT between browsers and the broker.
    pub bridge: bool,
    /// What hangs on the board's pins.
    pub board: board::Board,
    /// The media servers that the stream is offered to.
    pub whip: Vec<whip::Whip>,
}

/// The MQTT broker, as the device reaches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port; 1883, or 8883 with TLS, when the URL names none.
    pub port: u16,
    /// TLS when the scheme is `mqtts`.
    pub tls: Option<Tls>,
    /// User name, and where its password is read at each connection, so that it can be changed.
    pub login: Option<Login>,
    /// MQTT keep alive, 5 to 600 s.
    pub keep_alive: Duration,
}

/// How the broker's certificate is checked, and ours shown.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tls {
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our certificate chain and its private key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A user name and where its password is.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// MQTT user name.
    pub username: String,
    /// Where the password is; `None`: the user has none.
    pub password: Option<Secret>,
}

/// Where a secret is read when it is needed. A file that holds only `-` counts as unset
/// (systemd's `SetCredential=` fallback).
#[derive(Clone, Debug, PartialEq)]
pub enum Secret {
    /// A file.
    File(PathBuf),
    /// A systemd credential: a file of that name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Made by this process for its own embedded broker; never written down.
    Made(MadeSecret),
}

/// A secret that this process made for itself, or has read for good. It prints as dots.
#[derive(Clone, PartialEq)]
pub struct MadeSecret(String);

impl MadeSecret {
    /// Keeps the text from being printed.
    pub fn new(text: String) -> Self {
        MadeSecret(text)
    }
    /// The secret itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for MadeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MadeSecret(…)")
    }
}

/// What `farol pair` writes into links. Neither can be guessed from the rest in general, so both may
/// be missing; whoever needs one says so.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Links {
    /// The page's address, `http://` or `https://`, without a fragment.
    pub page: Option<String>,
    /// The broker as a browser reaches it: `ws://` or `wss://`.
    pub broker: Option<String>,
}

impl Links {
    /// The hosts that they name, in lower case.
    pub fn hosts(&self) -> Vec<String> {
        [&self.page, &self.broker].into_iter().flatten().filter_map(|link| url::web_host(link)).collect()
    }
}

/// Whether signalling messages are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Sealed with each viewer's key: the broker can drop messages, and nothing else.
    Sealed,
    /// Readable: whoever reaches the broker can watch, end, and stand between.
    Open,
}

/// Where the picture comes from, and what is asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// Which source is started.
    pub source: VideoSource,
    /// Width and height in pixels, both even (4:2:0 halves them); a driver may give the nearest that it has.
    pub size: (u32, u32),
    /// Frames per second, 1 to 120.
    pub fps: u32,
    /// What the encoder is set to where it can be set: what viewers get whose networks carry it.
    pub bitrate: Bitrate,
    /// Who lowers it.
    pub rate_policy: RatePolicy,
    /// How far; a viewer whose network carries less loses pictures, alone.
    pub min_bitrate: Bitrate,
    /// Whether slow viewers get an encode of their own where that is possible.
    pub substream: Substream,
    /// What it is set to at most.
    pub substream_bitrate: Bitrate,
    /// Frames between two keyframes that nobody asked for, where it can be set.
    pub keyframe_interval: u32,
    /// The H.264 profile that an encoder of ours is set to.
    pub profile: Profile,
    /// A camera that gives nothing for so long is taken for lost, and opened again; 500 ms to 60 s.
    pub stalled_after: Duration,
    /// How long viewers hold pictures back at least, in steps of 10 ms, up to 1 s; zero: they show each at once.
    pub playout_delay: Duration,
    /// Camera controls to set at each opening, by the driver's name for them, in the file's order.
    pub controls: Vec<(String, ControlValue)>,
    /// Whether the camera runs while nobody watches.
    pub when: When,
}

/// What a camera control is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlValue {
    /// A number, or the number of a menu's entry.
    Integer(i64),
    /// On or off.
    Boolean(bool),
    /// A menu's entry by its name.
    Entry(String),
}

/// A profile of H.264 (ITU-T H.264 annex A.2). None of them is used with B-frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Constrained baseline: what every browser decodes.
    ConstrainedBaseline,
    /// Main: CABAC saves some 10% of the bits.
    Main,
    /// High: a little more; browsers decode it under an offer of constrained baseline.
    High,
}

/// The devices, as data: `io::capture::spawn` starts what this names.
#[derive(Clone, Debug, PartialEq)]
pub enum VideoSource {
    /// A V4L2 camera: one that delivers H.264, or one whose pictures are encoded here.
    V4l2 {
        /// The node, such as `/dev/video0`; better a name under `/dev/v4l/by-id`, which stays.
        device: PathBuf,
        /// What is taken from it.
        input: CameraInput,
        /// What encodes its pictures when it delivers no H.264.
        encoder: EncoderChoice,
    },
    /// A program that writes Annex B H.264 to its standard output.
    Command {
        /// The program and its arguments; at least the program. No shell is involved.
        argv: Vec<String>,
    },
    /// An Annex B file, looped, paced by its frame rate.
    Replay {
        /// The file.
        file: PathBuf,
    },
    /// A moving picture with a clock and a frame counter, encoded live.
    Pattern,
}

/// What is taken from a V4L2 camera that offers several formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraInput {
    /// H.264 if it has it, else what costs least to encode.
    Auto,
    /// H.264 or nothing.
    H264,
    /// Motion JPEG, decoded here.
    Mjpeg,
    /// Uncompressed pictures.
    Raw,
}

/// What encodes pictures that are not H.264 yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderChoice {
    /// A V4L2 memory-to-memory encoder if there is one, else software.
    Auto,
    /// This V4L2 memory-to-memory encoder, such as `/dev/video11`.
    Device(PathBuf),
    /// OpenH264.
    Software,
}

/// Which viewer's network decides at which bitrate the one encoder works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatePolicy {
    /// The narrowest, down to the floor.
    Slowest,
    /// The narrowest of the wider half: up to half of the viewers may be slower, and lose pictures alone.
    /// Of two viewers it is the faster one.
    Majority,
    /// None: the configured bitrate, always.
    Fixed,
}

/// Whether pictures are encoded a second time, in half the size, while a viewer's network carries less than the
/// first encode gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substream {
    /// Where there are raw pictures and a second encoder for them; else slow viewers get fewer pictures.
    Auto,
    /// Never.
    Off,
}

/// Whether a source runs while nobody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only while a viewer is connected.
    Watched,
    /// From start to stop: the first picture is there a little sooner.
    Always,
}

/// Where the sound comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Audio {
    /// No audio section in the offer.
    None,
    /// A 440 Hz tone that beeps once a second, in step with `pattern`'s clock.
    Tone {
        /// Opus bitrate.
        bitrate: Bitrate,
    },
    /// An ALSA capture device.
    Alsa {
        /// The PCM's name, such as `hw:Loopback,1` or `default`.
        device: String,
        /// Sample rate asked of the device, 8 000 to 192 000 Hz.
        rate_hz: u32,
        /// Channels asked of the device, 1 to 8; what is sent is mono or stereo.
        channels: u16,
        /// Opus bitrate.
        bitrate: Bitrate,
    },
}

/// Where viewers' voices come out.
#[derive(Clone, Debug, PartialEq)]
pub struct Talkback {
    /// The ALSA PCM's name, such as `hw:0` or `default`.
    pub device: String,
    /// Sample rate asked of the device, 8 000 to 192 000 Hz.
    pub rate_hz: u32,
    /// Channels asked of the device, 1 to 8; every one of them says the same.
    pub channels: u16,
    /// Who is heard when several speak.
    pub talkers: Talkers,
    /// By how many decibels the microphone is turned down while somebody speaks, 0 to 60: the board's
    /// own speaker is not to be heard as an echo.
    pub duck_db: u32,
}

/// Who is heard when several viewers speak at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talkers {
    /// Whoever began; the others when that one has been silent for a moment.
    One,
    /// All of them, added up.
    Mixed,
}

/// How a path to a viewer is found.
#[derive(Clone, Debug, PartialEq)]
pub struct Ice {
    /// STUN and TURN servers, used by us and handed to viewers inside the offer.
    pub servers: Vec<IceServer>,
    /// TURN servers with passwords that are made for each viewer.
    pub shared: Vec<SharedTurn>,
    /// Where further ones are asked for.
    pub source: Option<TurnSource>,
    /// Which paths count, for us and for viewers.
    pub policy: IcePolicy,
    /// PEM file of the authorities to trust instead of the system's, for TURN over TLS and for `source`.
    pub ca_file: Option<PathBuf>,
    /// Local addresses to use; empty: all but loopback.
    pub addresses: Vec<IpAddr>,
    /// Whose addresses are used when none are named; empty: every interface's.
    pub interfaces: Vec<interfaces::InterfacePattern>,
    /// UDP ports, of which the first that is free carries everybody's media; `0..=0`: any.
    pub udp_ports: RangeInclusive<u16>,
}

/// Which paths to a viewer count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IcePolicy {
    /// All of them.
    #[default]
    All,
    /// Those through a TURN server alone: neither side learns where the other is.
    Relay,
}

impl IcePolicy {
    /// Whether every path counts.
    pub fn is_all(&self) -> bool {
        *self == IcePolicy::All
    }
}

/// TURN servers that share a secret with us, from which passwords for a time are made: the scheme that
/// coturn calls `use-auth-secret`.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedTurn {
    /// Their URLs.
    pub urls: Vec<String>,
    /// The secret.
    pub secret: MadeSecret,
    /// How long a password is good for.
    pub lifetime: Duration,
}

/// Where STUN and TURN servers are asked for, with passwords for a time.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnSource {
    /// An `https` URL, or `http` on this machine.
    pub url: String,
    /// A bearer token.
    pub token: Option<Secret>,
    /// How often it is asked, unless it says how long its answer is good for.
    pub refresh: Duration,
}

/// One entry of RTCConfiguration's `iceServers`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl Default for Config {
    /// What an empty file means.
    fn default() -> Self {
        Config {
            name: "farol".to_string(),
            state_dir: PathBuf::from("/var/lib/farol"),
            broker: Broker::default(),
            links: Links::default(),
            security: Security::Sealed,
            max_viewers: 8,
            video: Video::default(),
            audio: Audio::None,
            talkback: None,
            ice: Ice::default(),
            http: None,
            metrics: None,
            bridge: false,
            board: board::Board::default(),
            whip: Vec::new(),
        }
    }
}

impl Default for Ice {
    /// Without servers, on every address and whatever port is free.
    fn default() -> Self {
        Ice {
            servers: Vec::new(),
            shared: Vec::new(),
            source: None,
            policy: IcePolicy::All,
            ca_file: None,
            addresses: Vec::new(),
            interfaces: Vec::new(),
            udp_ports: 0..=0,
        }
    }
}

impl Default for Broker {
    /// A broker on this machine, on MQTT's own port, without TLS.
    fn default() -> Self {
        Broker {
            host: "localhost".to_string(),
            port: 1883,
            tls: None,
            login: None,
            keep_alive: Duration::from_secs(30),
        }
    }
}

impl Default for Video {
    /// The first camera, at what a Pi's encoder does with ease and an uplink carries.
    fn default() -> Self {
        Video {
            source: VideoSource::V4l2 {
                device: PathBuf::from("/dev/video0"),
                input: CameraInput::Auto,
                encoder: EncoderChoice::Auto,
            },
            size: (1280, 720),
            fps: 30,
            bitrate: Bitrate::from_kbps(2500),
            rate_policy: RatePolicy::Majority,
            min_bitrate: Bitrate::from_kbps(300),
            substream: Substream::Auto,
            substream_bitrate: Bitrate::from_kbps(800),
            keyframe_interval: 60,
            profile: Profile::ConstrainedBaseline,
            stalled_after: Duration::from_secs(2),
            playout_delay: Duration::ZERO,
            controls: Vec::new(),
            when: When::Watched,
        }
    }
}

impl std::fmt::Display for Broker {
    /// The broker as a URL, without the user.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}
