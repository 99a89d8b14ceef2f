//! What is opened before the loop begins, for `farol run` and for `farol demo`.

use std::net::SocketAddr;
#[cfg(feature = "broker")]
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::config::demo::DemoOptions;
use crate::config::{Audio, Config, Ice, Security, Substream, Tls, When};
use crate::engine::control::MicrophoneState;
use crate::engine::ice::IceServers;
use crate::engine::rights::ViewerKey;
use crate::engine::station::{Command, Input, Settings, Station};
use crate::engine::topic::Topic;
#[cfg(feature = "broker")]
use crate::io::broker;
use crate::io::fanout::Fanout;
use crate::io::keys::State;
use crate::io::mqtt::{Mqtt, Publication, Subscription};
use crate::io::network::Network;
use crate::io::peer::PeerSettings;
use crate::io::port::{Port, Trust};
use crate::io::systemd::ServiceManager;
use crate::io::{audio, capture, http};
use crate::units::{Bitrate, DeviceId};
use crate::version;

use super::board::Pins;
use super::control::Control;
use super::keys::Keys;
use super::peers::Peers;
use super::reload::{Ending, Program, Running};
use super::servers::Servers;
use super::statistics::Statistics;
use super::talk::Talk;
use super::whip::Uplinks;
use super::{Camera, Daemon, story};

/// How often a page's port that another program has is tried.
const PAGE_RETRY: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop. `path` is where the configuration was read, for when it is to be read
/// again.
///
/// # Errors
///
/// What is missing before the loop can begin: the state directory, or the page's address. A broker or a
/// camera that is missing is no error, and neither is a port that another program has: it may come later.
pub fn run(config: Config, path: &Path) -> anyhow::Result<()> {
    let program = Program::of_this_process()?;
    let running = Running::new(&config, path);
    let state = State::open(&config.state_dir)?;
    let device = state.device()?;
    let stamp = state.stamp();
    let viewers: Vec<ViewerKey> = state.viewers()?.into_iter().map(|viewer| viewer.key).collect();
    let (version, commit) = (version::VERSION, version::COMMIT.unwrap_or("unknown"));
    log::info!(version, commit, device:%, viewers = viewers.len(); "farol starts");
    match config.security {
        Security::Sealed if viewers.is_empty() => {
            log::warn!("nobody may watch yet: make a link with `farol pair NAME`");
        }
        Security::Sealed => {}
        Security::Open => {
            log::warn!("signalling is open: whoever reaches the broker can watch, end, and stand between")
        }
    }
    let ending = on_one_thread(async move {
        if let Some(address) = config.http {
            serve_once_free(address, http::Site::of(&config, device)).await?;
        }
        let keys = Some(Keys::new(state, stamp));
        let metrics = config.metrics;
        let state_dir = config.state_dir.clone();
        let mut daemon = daemon(config, device, viewers, keys)?;
        daemon.running = Some(running);
        daemon.statistics.open_doors(&state_dir, metrics).await?;
        daemon.work().await
    })?;
    match ending {
        Ending::Stop => Ok(()),
        Ending::Anew => program.run_anew(),
    }
}

/// Runs the demo until it is told to stop: broker, page and picture in this one process.
///
/// # Errors
///
/// The page's address cannot be listened on, or the broker inside cannot start.
#[cfg(feature = "broker")]
pub fn demo(options: DemoOptions) -> anyhow::Result<()> {
    let mut config = options.config();
    on_one_thread(async move {
        let device = DeviceId(u128::from_be_bytes(random()?));
        let broker = broker::EmbeddedBroker::start(device, broker::Viewers::Open).await?;
        config.broker = broker.for_the_daemon();
        let address = config.http.unwrap_or_else(|| DemoOptions::default().listen);
        let is_local = address.ip().is_loopback();
        if is_local {
            // The page is on this machine, and so is whoever watches; nothing else is offered.
            config.ice.addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        }
        let bridge = (broker.address().ip().to_string(), broker.address().port());
        let site =
            http::Site { device, broker: Some("/mqtt".to_string()), names: Vec::new(), bridge: Some(bridge) };
        let address = serve(address, site).await?;
        welcome(address, is_local);
        daemon(config, device, Vec::new(), None)?.work().await
    })?;
    // Without a configuration file there is none to run anew with.
    Ok(())
}

/// There is no demo without a broker inside.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "broker"))]
pub fn demo(_: DemoOptions) -> anyhow::Result<()> {
    anyhow::bail!(
        "this farol was built without the broker of the demo; use `farol run`, or build it with `--features broker`"
    )
}

/// Serves the page beside the loop as soon as the port is nobody else's: whoever has the page from elsewhere
/// watches meanwhile.
async fn serve_once_free(address: SocketAddr, site: http::Site) -> anyhow::Result<()> {
    let taken = match http::bind(address).await {
        Err(taken @ http::HttpError::Taken { .. }) => taken,
        bound => {
            let address = serve_at(bound?, site)?;
            log::info!(address:%; "page served");
            return Ok(());
        }
    };
    log::error!("the page is not served, but will be as soon as it can: {taken} (http.listen)");
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(PAGE_RETRY).await;
            let Ok(listener) = http::bind(address).await else { continue };
            match serve_at(listener, site) {
                Ok(address) => log::info!(address:%; "page served"),
                Err(cause) => log::error!(cause:%; "the page is not served"),
            }
            return;
        }
    });
    Ok(())
}

/// Serves the page beside the loop, until the process ends; returns where.
async fn serve(address: SocketAddr, site: http::Site) -> anyhow::Result<SocketAddr> {
    serve_at(http::bind(address).await?, site)
}

fn serve_at(listener: TcpListener, site: http::Site) -> anyhow::Result<SocketAddr> {
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(cause) = http::serve(listener, site, std::future::pending()).await {
            log::error!(cause:%; "the page is not served any more; viewers that are in stay");
        }
    });
    Ok(address)
}

/// Tells the person at the terminal where to look, and who else can.
#[cfg(feature = "broker")]
fn welcome(address: SocketAddr, is_local: bool) {
    let port = address.port();
    if is_local {
        println!("\n  The lamp is lit: open http://localhost:{port} in a browser on this machine.");
        println!("  Only this machine can watch. End it with Ctrl-C.\n");
    } else {
        println!("\n  The lamp is lit: open http://<this machine's address>:{port} in a browser.");
        println!(
            "  Everybody who reaches {address} can watch and listen, without a password. End it with Ctrl-C.\n"
        );
    }
}

/// Opens what the loop works with.
fn daemon(
    config: Config,
    device: DeviceId,
    viewers: Vec<ViewerKey>,
    keys: Option<Keys>,
) -> anyhow::Result<Daemon> {
    let board = Statistics::of_config(&config, device);
    let settings = Settings {
        device,
        name: config.name.clone(),
        security: config.security,
        max_viewers: config.max_viewers,
        ice: IceServers::new(&config.ice),
        rate_policy: config.video.rate_policy,
        bitrates: config.video.min_bitrate..=config.video.bitrate,
        substream: (config.video.substream == Substream::Auto).then_some(config.video.substream_bitrate),
    };
    let mut station = Station::new(settings, viewers, random()?);
    let will = first_will(&mut station).context("the station orders a will before anything else")?;
    let port = open_port(&config.ice)?;
    let network = Network::now(&config.ice);
    port.offer(network.addresses());
    let servers = Servers::new(&config.ice, &port);
    let pins = Pins::spawn(&config.board);
    let mut video = config.video;
    let when = video.when;
    if pins.has().privacy {
        // Nothing is captured before the switch was read.
        video.when = When::Watched;
        station.handle(Instant::now(), Input::Privacy(true));
    }
    // A picture takes more than its average at times, and sound and repeated packets come on top.
    let of_bitrate = |share: f64| Bitrate::from_bps((f64::from(video.bitrate.bps()) * share) as u32);
    let settings = PeerSettings {
        // Those of the moment when one is opened.
        ice_servers: Vec::new(),
        turn_trust: Arc::new(Trust::new(Tls { ca_file: config.ice.ca_file, client: None })),
        ice_policy: config.ice.policy,
        addresses: config.ice.addresses,
        port: port.clone(),
        audio: config.audio != Audio::None,
        talkback: config.talkback.is_some(),
        playout_delay: video.playout_delay,
        // A good network gets the whole picture from the first frame on, a bad one lowers it within a second.
        start_bitrate: of_bitrate(1.5),
        max_bitrate: of_bitrate(3.0),
    };
    let uplinks = Uplinks::new(config.whip, settings.clone(), random()?);
    let peers = Peers::new(settings);
    let [from_viewers, status, offers] = Topic::filters(device);
    let own = [status, offers].map(|filter| Subscription { filter, skip_retained: false });
    let mut subscriptions = vec![Subscription { filter: from_viewers, skip_retained: true }];
    subscriptions.extend(own);
    let microphone = match config.audio {
        Audio::None => MicrophoneState::None,
        _ => MicrophoneState::Ready,
    };
    let duck = audio::DuckGain::default();
    let client_id = format!("farol-{:032x}", u128::from_be_bytes(random()?));
    let control = Control::new(microphone, pins.has());
    let statistics = Statistics::new(Instant::now(), board);
    Ok(Daemon {
        station,
        mqtt: Mqtt::spawn(config.broker, client_id, subscriptions, will),
        peers,
        uplinks,
        fanout: Fanout::new(),
        capture: capture::spawn(&video),
        microphone: audio::spawn(&config.audio, video.when, duck.clone()),
        talk: Talk::spawn(config.talkback.as_ref(), duck),
        is_heard: false,
        pins,
        when,
        keys,
        running: None,
        manager: ServiceManager::of_this_process(),
        control,
        refusals: story::Refusals::default(),
        statistics,
        camera: Camera::Resting,
        network,
        port,
        servers,
        is_online: false,
    })
}

/// The one UDP port of all viewers.
fn open_port(ice: &Ice) -> anyhow::Result<Arc<Port>> {
    let port = Port::open(&ice.addresses, ice.udp_ports.clone()).with_context(|| {
        let (first, last) = (ice.udp_ports.start(), ice.udp_ports.end());
        match (first, last) {
            (0, _) => "no UDP port could be opened on ice.addresses".to_string(),
            _ => format!("no UDP port from {first} to {last} is free: change ice.udp_port, or stop who has it (`ss -lunp`)"),
        }
    })?;
    log::info!(port = port.number(); "viewers' media goes by this UDP port");
    Ok(port)
}

fn first_will(station: &mut Station) -> Option<Publication> {
    match station.next_command()? {
        Command::SetWill { topic, payload } => {
            Some(Publication { topic, payload: payload.into(), retain: true, expiry: None })
        }
        _ => None,
    }
}

/// One thread costs less than two at one viewer and the same at sixteen; capture and sound have
/// threads of their own.
fn on_one_thread(work: impl Future<Output = anyhow::Result<Ending>>) -> anyhow::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("farol-io")
        .build()
        .context("the runtime could not be started: raise LimitNOFILE=")?;
    let ending = runtime.block_on(work);
    // Dropped, it would wait for threads that look up names: without a network that is many seconds, and what they
    // find is of no use any more.
    runtime.shutdown_background();
    ending
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|cause| anyhow::anyhow!("the system has no random bytes: {cause}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_being_looked_up_holds_up_no_ending() {
        let start = Instant::now();
        let ending = on_one_thread(async {
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(20)));
            Ok(Ending::Stop)
        });
        assert!(matches!(ending, Ok(Ending::Stop)));
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
