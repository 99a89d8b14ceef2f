//! What farol and Janus are measured with: viewers without a browser, Janus's camera, and the floor.
//!
//! ```text
//! rig receive farol PORT ADDRESS COUNT   viewers of the device whose open offers the broker at 127.0.0.1:PORT
//!                                        keeps, each with a socket on ADDRESS
//! rig receive janus PORT ADDRESS COUNT   the same for mountpoint 1 of the Janus with a WebSocket at that port
//! rig feed FILE RTP RTCP                 plays a recording to a mountpoint of Janus, at these ports of 127.0.0.1
//! rig floor FILE COUNT sendto|gso        plays a recording to COUNT sockets: encrypts and sends, nothing else
//! ```
//!
//! Each says `ready` when it is, and ends with its standard input. Viewers are told there: `mark` begins to
//! count anew, `tell` has them say in JSON on one line what each has received since.

#![expect(clippy::disallowed_methods, reason = "it runs in real time")]

#[path = "../../common/observer.rs"]
mod observer;

mod farol_viewers;
mod feed;
mod floor;
mod janus_viewers;
mod recording;
mod tally;
mod tap;
mod viewer;

use std::io::BufRead as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use viewer::Viewer;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["receive", whose, port, address, count] => {
            receive(whose, port.parse()?, address.parse()?, count.parse()?)
        }
        ["feed", file, rtp, rtcp] => feed::feed(file, rtp.parse()?, rtcp.parse()?),
        ["floor", file, count, "sendto"] => floor::send(file, count.parse()?, floor::Way::OneByOne),
        ["floor", file, count, "gso"] => floor::send(file, count.parse()?, floor::Way::Together),
        ["sink", count] => floor::sink(count.parse()?),
        _ => bail!(
            "usage: rig receive farol|janus PORT ADDRESS COUNT | feed FILE RTP RTCP | floor FILE COUNT sendto|gso"
        ),
    }
}

/// Joins the viewers one after the other, and then does as it is told.
fn receive(whose: &str, port: u16, address: IpAddr, count: u16) -> anyhow::Result<()> {
    // One thread for all: they are to take as little as they can from who is measured.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let viewers = match whose {
        "farol" => runtime.block_on(farol_viewers::join(port, address, count)),
        "janus" => runtime.block_on(janus_viewers::join(port, address, count))?,
        _ => bail!("{whose}: use farol or janus"),
    };
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "mark" => viewers.iter().for_each(Viewer::mark),
            "tell" => {
                let all: Vec<_> = viewers.iter().map(Viewer::tell).collect();
                println!("{}", serde_json::Value::from(all));
            }
            other => bail!("{other}: use mark or tell"),
        }
    }
    Ok(())
}

/// The time of day, which the kernel's time stamps of datagrams are of as well.
fn wall_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
