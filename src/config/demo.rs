//! What `farol demo` runs with: no camera, no broker, no file.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{Audio, CameraInput, Config, EncoderChoice, Security, Video, VideoSource};
use crate::units::Bitrate;

/// What a person can ask of `farol demo`.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoOptions {
    /// A V4L2 camera instead of the moving test picture.
    pub camera: Option<PathBuf>,
    /// Where the page and the broker's WebSocket listen. Another address than loopback lets everybody
    /// who reaches it watch, since a demo's signalling is open.
    pub listen: SocketAddr,
    /// What is heard.
    pub sound: DemoSound,
}

/// What a demo sounds like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoSound {
    /// The tone that beeps in step with the picture's clock.
    Tone,
    /// Nothing: no audio section.
    None,
}

/// Where a demo's page is when nobody says otherwise.
pub const DEMO_PORT: u16 = 8080;

impl Default for DemoOptions {
    fn default() -> Self {
        DemoOptions {
            camera: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEMO_PORT)),
            sound: DemoSound::Tone,
        }
    }
}

impl DemoOptions {
    /// The configuration that these options mean. Its broker is a placeholder: the demo starts one of
    /// its own, on a port that is known only then.
    pub fn config(&self) -> Config {
        let source = match &self.camera {
            Some(device) => VideoSource::V4l2 {
                device: device.clone(),
                input: CameraInput::Auto,
                encoder: EncoderChoice::Auto,
            },
            None => VideoSource::Pattern,
        };
        let audio = match self.sound {
            DemoSound::Tone => Audio::Tone { bitrate: Bitrate::from_kbps(super::file::AUDIO_KBPS) },
            DemoSound::None => Audio::None,
        };
        Config {
            name: "farol demo".to_string(),
            security: Security::Open,
            video: Video { source, ..Video::default() },
            audio,
            http: Some(self.listen),
            ..Config::default()
        }
    }
}

impl Config {
    /// The demo as it is without any option.
    pub fn demo() -> Config {
        DemoOptions::default().config()
    }
}
