//! What does this board say of itself, so that `engine::doctor` can tell what is wrong with it?
//!
//! Everything is asked side by side, and each question has its time: what hangs is told as such, and the
//! whole takes about ten seconds at most. Nothing is changed on any device, and a daemon that runs is not
//! disturbed: it is asked how it is, and the broker is tried beside it.
//!
//! | file | question |
//! |---|---|
//! | `board` | model, power, heat, memory, disk, clock |
//! | `devices` | camera, sound, pins, and who may open them |
//! | `files` | whether the service may read what the configuration names |
//! | `holders` | which processes have a device or a port |
//! | `broker` | what the broker takes and gives, and whether browsers reach it |
//! | `ice`, `turn` | STUN, the NAT, TURN |
//! | `ports` | which ports are free |
//! | `service` | the unit, the daemon, the viewers |
//! | `child` | what another program says |

mod board;
mod broker;
mod child;
mod devices;
mod files;
mod holders;
mod ice;
mod ports;
mod service;
mod turn;
mod web;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use url::Url;

use crate::config::{Config, ConfigError, IceUrl};
use crate::engine::doctor::sandbox::Sandbox;
use crate::engine::doctor::{Diagnosis, Finding, access, command, network};
use crate::io::network::Network;

/// For each question; the longest of them, the broker's and the TURN servers', are bounded at 8 s by themselves.
const PATIENCE: Duration = Duration::from_millis(8500);
/// For what the rest waits for: the unit and the daemon.
const FIRST_PATIENCE: Duration = Duration::from_millis(1500);
/// For a name.
const NAME_PATIENCE: Duration = Duration::from_secs(4);

/// Where the configuration is, unless another is named.
const USUAL: &str = "/etc/farol/farol.toml";
/// The copy of it that the package brings (`scripts/deb`).
const SHIPPED: &str = "/usr/share/doc/farol/examples/farol.toml";

/// Looks at everything. With a faulty configuration, at what does not depend on it.
///
/// # Errors
///
/// No runtime can be started.
pub fn examine(path: &Path, loaded: Result<Config, ConfigError>) -> std::io::Result<Diagnosis> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("doctor").build()?;
    let findings = runtime.block_on(all(path, loaded));
    // A device that hangs holds its thread; the process ends all the same.
    runtime.shutdown_background();
    Ok(Diagnosis::of(findings))
}

async fn all(path: &Path, loaded: Result<Config, ConfigError>) -> Vec<Finding> {
    let (first, config) = match loaded {
        Ok(config) => (Finding::ok("configuration", format!("{} is good", path.display())), Some(config)),
        Err(fault) => (unconfigured(path, &fault), None),
    };
    let is_good = config.is_some();
    let config = Arc::new(config.unwrap_or_default());
    let (unit, running) = {
        let config = config.clone();
        let unit = spawn_blocking(service::unit);
        let running = spawn_blocking(move || service::Running::now(&config));
        let (unit, running) = tokio::join!(timeout(FIRST_PATIENCE, unit), timeout(FIRST_PATIENCE, running));
        let unit = unit.ok().and_then(Result::ok).unwrap_or_default();
        let running = running.ok().and_then(Result::ok);
        let hung = || {
            service::Running::Untold(
                "a daemon runs, and does not answer; `journalctl -u farol` may say why".to_owned(),
            )
        };
        (unit, running.unwrap_or_else(hung))
    };
    let people = service::people(&unit);
    let mut asked = vec![given(vec![first])];
    asked.push(on_thread("board", {
        let config = config.clone();
        move || board::findings(is_good.then_some(&config))
    }));
    asked.push(given(access::missing_groups(&people.groups, &unit.groups).into_iter().collect()));
    if is_good {
        asked.push(given(files::findings(path, &config, &people)));
        asked.extend(configured(&config, &people, &running));
    }
    asked.push(given(vec![unit.finding(running.is_so())]));
    if is_good {
        let kept = service::kept(&config);
        asked.push(given(running.findings()));
        asked.push(given(vec![service::viewers(&config, &kept)]));
        asked.push(given(service::writable(&config, people.runner).into_iter().collect()));
    }
    asked.push(given(service::rights().into_iter().collect()));
    let mut findings = Vec::new();
    for task in asked {
        // Each has a limit of its own, and a panic in one is no end of the others.
        findings.extend(task.await.unwrap_or_default());
    }
    findings
}

/// What depends on the configuration.
fn configured(
    config: &Arc<Config>,
    people: &devices::People,
    running: &service::Running,
) -> Vec<JoinHandle<Vec<Finding>>> {
    let (is_running, is_connected) = (running.is_so(), running.is_connected());
    let video = {
        let (config, people) = (config.clone(), people.clone());
        on_thread("camera", move || devices::video(&config, &people))
    };
    let sound = {
        let (config, people) = (config.clone(), people.clone());
        on_thread("sound", move || devices::sound(&config, &people))
    };
    let pins = {
        let (config, people) = (config.clone(), people.clone());
        on_thread("pins", move || devices::pins(&config, &people))
    };
    let names = asking("names", {
        let (config, sandbox) = (config.clone(), people.sandbox.clone());
        async move { names(&config, &sandbox).await }
    });
    let broker = asking("broker", {
        let (config, sandbox) = (config.clone(), people.sandbox.clone());
        async move {
            let kept = service::kept(&config);
            vec![broker::finding(&config, kept.device, is_connected, &sandbox).await]
        }
    });
    let links = asking("links", {
        let config = config.clone();
        async move { broker::links(&config, is_running).await.into_iter().collect() }
    });
    let ice = asking("stun", {
        let (config, sandbox) = (config.clone(), people.sandbox.clone());
        async move { ice::findings(&config, &sandbox).await }
    });
    let uplinks = asking("whip", {
        let (config, sandbox) = (config.clone(), people.sandbox.clone());
        async move { web::uplinks(&config, &sandbox).await }
    });
    let ports = {
        let config = config.clone();
        on_thread("ports", move || ports::findings(&config, is_running))
    };
    vec![video, sound, pins, names, broker, links, ice, uplinks, ports]
}

fn unconfigured(path: &Path, fault: &ConfigError) -> Finding {
    let text = fault.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim_end_matches(':').to_owned();
    let finding = Finding::fault("configuration", first)
        .because("the daemon does not start; what depends on the configuration was not looked at");
    match fault {
        ConfigError::Unreadable { .. } if !path.exists() => finding
            .mend("# a new one, as the package brings it:")
            .mend(command(&["sudo", "install", "-D", "-m", "0644", SHIPPED, &path.to_string_lossy()]))
            .mend("# or name another:")
            .mend("farol doctor --config FILE"),
        ConfigError::Unreadable { .. } => finding.mend(command_for("sudo farol doctor", path)),
        ConfigError::Faulty { .. } => {
            let edit = command(&["sudoedit", &path.to_string_lossy()]);
            let told: String = lines.map(|line| format!("# {}\n", line.trim())).collect();
            finding.mend(told + &edit).mend(command_for("farol check", path))
        }
    }
}

/// A command of ours for this configuration, which need not be the usual one.
fn command_for(begin: &str, path: &Path) -> String {
    match path == Path::new(USUAL) {
        true => begin.to_owned(),
        false => format!("{begin} {}", command(&["--config", &path.to_string_lossy()])),
    }
}

/// The addresses of the board, and the names in the configuration.
async fn names(config: &Config, sandbox: &Sandbox) -> Vec<Finding> {
    let usable: Vec<_> = Network::now(&config.ice).addresses().iter().copied().collect();
    let mut findings = vec![network::addresses(&usable)];
    let mut asked = Vec::new();
    for host in hosts(config) {
        asked.push(tokio::spawn(async move {
            let found = timeout(NAME_PATIENCE, lookup_host((host.clone(), 0))).await;
            let fault = match found {
                Ok(Ok(mut addresses)) => addresses.next().is_none().then(|| "it has no address".to_owned()),
                Ok(Err(cause)) => Some(cause.to_string()),
                Err(_) => Some("the name server does not answer".to_owned()),
            };
            (host, fault)
        }));
    }
    let mut named = Vec::new();
    for task in asked {
        named.extend(task.await.ok());
    }
    findings.extend(network::names(&named));
    if !named.is_empty() {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        findings.extend(sandbox.bars_names(&text));
    }
    findings
}

/// Every host of the configuration that is a name.
fn hosts(config: &Config) -> BTreeSet<String> {
    let ice = config.ice.servers.iter().flat_map(|server| &server.urls);
    let ice = ice.chain(config.ice.shared.iter().flat_map(|shared| &shared.urls));
    let source = config.ice.source.iter().filter_map(|source| Url::parse(&source.url).ok());
    let web = source.chain(config.whip.iter().map(|whip| whip.url.clone()));
    let mut hosts: BTreeSet<String> = ice.filter_map(|url| IceUrl::parse(url)).map(|url| url.host).collect();
    hosts.extend(web.filter_map(|url| url.host_str().map(str::to_owned)));
    hosts.insert(config.broker.host.clone());
    hosts.retain(|host| {
        let is_address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
        !is_address && host != "localhost"
    });
    hosts
}

/// What is known already.
fn given(findings: Vec<Finding>) -> JoinHandle<Vec<Finding>> {
    tokio::spawn(async move { findings })
}

/// A question that waits for the network.
fn asking(
    check: &'static str,
    question: impl Future<Output = Vec<Finding>> + Send + 'static,
) -> JoinHandle<Vec<Finding>> {
    tokio::spawn(async move { timeout(PATIENCE, question).await.unwrap_or_else(|_| given_up(check)) })
}

/// A question that waits for a device.
fn on_thread(
    check: &'static str,
    question: impl FnOnce() -> Vec<Finding> + Send + 'static,
) -> JoinHandle<Vec<Finding>> {
    let thread = spawn_blocking(question);
    tokio::spawn(async move {
        match timeout(PATIENCE, thread).await {
            Ok(answer) => answer.unwrap_or_default(),
            Err(_) => given_up(check),
        }
    })
}

fn given_up(check: &'static str) -> Vec<Finding> {
    let what = format!("it took longer than {} s, and was given up", PATIENCE.as_secs_f32());
    let check = if check == "board" {
        "model"
    } else if check == "sound" {
        "microphone"
    } else {
        check
    };
    vec![
        Finding::warning(check, what)
            .because("a device or a network that hangs keeps the daemon waiting as well")
            .mend("sudo dmesg | tail -n 30"),
    ]
}
