//! Many viewers in one process, for `make bench`: they answer standing offers as browsers do, and take
//! the media without decoding it.
//!
//! `receivers PORT COUNT`: joins COUNT viewers, one after the other, to the device whose open offers the
//! broker at 127.0.0.1:PORT keeps; says `ready` when each has a picture. When its standard input ends it says
//! how old the pictures were when their last packet came, in ms: `age P50 P99 COUNT`.

#![expect(clippy::disallowed_methods, reason = "it runs in real time")]

#[path = "../common/answerer.rs"]
mod answerer;
#[path = "../common/observer.rs"]
mod observer;

use std::io::Read as _;

use answerer::Answerer;
use farol::engine::message::{Answer, Body, Offer, Wire, json, write_open};
use farol::engine::rights::{Right, Rights};
use farol::engine::seal::sdp_digest;
use farol::units::{DeviceId, SessionId};
use observer::Observer;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u16>().ok());
    let (Some(Some(port)), Some(Some(count))) = (arguments.next(), arguments.next()) else {
        panic!("usage: receivers PORT COUNT");
    };
    let mut offers = Observer::subscribed(port, "farol/1/+/offer/open").await;
    let mut viewers = Vec::new();
    for n in 0..count {
        let (device, offer) = next_offer(&mut offers).await;
        let (viewer, sdp) = Answerer::answer(&offer.sdp).await;
        let digest = sdp_digest(&offer.sdp);
        let wants = Rights::NONE.with(Right::View).with(Right::Listen);
        let Offer { boot, offer, rev, .. } = offer;
        let answer = json(&Answer { boot, offer, rev, digest, wants, sdp });
        let session = SessionId(u128::from(std::process::id()) << 64 | u128::from(n));
        let topic = format!("farol/1/{device}/in/open/{session}");
        offers.publish(&topic, write_open("answer", 1, &answer), false).await;
        viewer.until("a picture", |received| !received.pictures.is_empty()).await;
        viewers.push(viewer);
    }
    println!("ready");
    // Whoever started us closes it, or ends.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let mut ages: Vec<f64> = Vec::new();
    for viewer in &viewers {
        // The first second has the keyframe for the newcomer, paced.
        let pictures = viewer.received().pictures.into_iter().skip(30);
        ages.extend(pictures.filter_map(|picture| Some(picture.age?.as_secs_f64() * 1000.0)));
    }
    ages.sort_by(f64::total_cmp);
    let at =
        |share: f64| ages.get(((ages.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    println!("age {:.2} {:.2} {}", at(0.5), at(0.99), ages.len());
}

/// The next offer that somebody can still answer; an empty message says that there is none for now.
async fn next_offer(offers: &mut Observer) -> (DeviceId, Offer) {
    loop {
        let (topic, payload) = offers.next_text().await;
        let Ok(Wire { body: Body::Open(payload), n: 1, .. }) = Wire::read(payload.as_bytes()) else {
            continue;
        };
        let device = topic.split('/').nth(2).and_then(|device| device.parse().ok());
        return (device.expect("a topic of ours"), serde_json::from_str(&payload).expect("an offer"));
    }
}
