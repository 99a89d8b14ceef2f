//! `farol check`: what a good configuration amounts to. A bad one never comes this far.

use std::path::Path;

use farol::config::board::Board;
use farol::config::whip::Whip;
use farol::config::{Audio, Config, Security, Talkback, Talkers, When};

/// Says that the configuration is good, and what it means.
pub fn report(path: &Path, config: &Config) {
    println!("{} is good:\n", path.display());
    for (what, value) in summary(config) {
        println!("  {what:<11} {value}");
    }
    if config.security == Security::Open {
        println!("\nSignalling is open: whoever reaches the broker can watch.");
    }
}

fn summary(config: &Config) -> [(&'static str, String); 12] {
    let unset = |text: &Option<String>| text.clone().unwrap_or_else(|| "not set".to_string());
    let user = config.broker.login.as_ref().map_or(String::new(), |login| format!(" as {}", login.username));
    let security = match config.security {
        Security::Sealed => "sealed",
        Security::Open => "open",
    };
    [
        ("device", format!("{}, state in {}", config.name, config.state_dir.display())),
        ("broker", format!("{}{user}", config.broker)),
        ("links", format!("page {}, broker {}", unset(&config.links.page), unset(&config.links.broker))),
        ("signalling", format!("{security}, up to {} viewers at once", config.max_viewers)),
        ("video", video(config)),
        ("audio", audio(&config.audio)),
        ("talkback", config.talkback.as_ref().map_or("none".to_string(), talkback)),
        ("pins", pins(&config.board)),
        ("ice", format!("{} STUN or TURN servers", config.ice.servers.len())),
        ("metrics", config.metrics.map_or("off".to_string(), |address| format!("http://{address}/metrics"))),
        ("whip", whip(&config.whip)),
        ("http", config.http.map_or("off".to_string(), |address| format!("http://{address}"))),
    ]
}

fn whip(servers: &[Whip]) -> String {
    match servers {
        [] => "no media server".to_string(),
        servers => servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn video(config: &Config) -> String {
    let video = &config.video;
    let source = &video.source;
    let when = match video.when {
        When::Watched => "while somebody watches",
        When::Always => "always on",
    };
    let ((width, height), fps, kbps) = (video.size, video.fps, video.bitrate.kbps());
    format!("{source}, {width}x{height}, {fps} frames per second, {kbps} kbit/s, {when}")
}

fn pins(board: &Board) -> String {
    let parts = [
        (board.led.is_some(), "LED"),
        (board.privacy.is_some(), "privacy"),
        (board.motion.is_some(), "motion"),
        (board.night.is_some(), "night"),
        (board.pan.is_some(), "pan"),
        (board.tilt.is_some(), "tilt"),
        (board.lamp.is_some(), "dimmed lamp"),
    ];
    let used: Vec<&str> = parts.into_iter().filter_map(|(is_used, part)| is_used.then_some(part)).collect();
    if used.is_empty() {
        "unused".to_string()
    } else {
        format!("{} on {}", used.join(", "), board.chip.display())
    }
}

fn audio(audio: &Audio) -> String {
    match audio {
        Audio::None => "none".to_string(),
        Audio::Tone { bitrate } => format!("test tone, {} kbit/s", bitrate.kbps()),
        Audio::Alsa { device, rate_hz, channels, bitrate } => {
            format!("{device}, {rate_hz} Hz, {channels} channels, {} kbit/s", bitrate.kbps())
        }
    }
}

fn talkback(talkback: &Talkback) -> String {
    let Talkback { device, rate_hz, channels, talkers, duck_db } = talkback;
    let talkers = match talkers {
        Talkers::One => "one at a time",
        Talkers::Mixed => "mixed",
    };
    format!(
        "{device}, {rate_hz} Hz, {channels} channels, {talkers}, the microphone {duck_db} dB softer meanwhile"
    )
}
