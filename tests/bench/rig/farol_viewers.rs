//! How do viewers join farol? Each answers the offer that waits at the broker, as a page does.

use std::net::IpAddr;

use farol::engine::message::{Answer, Body, Offer, Wire, json, write_open};
use farol::engine::rights::{Right, Rights};
use farol::engine::seal::sdp_digest;
use farol::units::{DeviceId, SessionId};

use crate::observer::Observer;
use crate::viewer::Viewer;

/// Joins them one after the other.
pub async fn join(port: u16, address: IpAddr, count: u16) -> Vec<Viewer> {
    let mut offers = Observer::subscribed(port, "farol/1/+/offer/open").await;
    let mut viewers = Vec::new();
    for n in 0..count {
        let (device, offer) = next_offer(&mut offers).await;
        let (viewer, sdp) = Viewer::answer(&offer.sdp, address).await.expect("an answer");
        let digest = sdp_digest(&offer.sdp);
        let wants = Rights::NONE.with(Right::View);
        let Offer { boot, offer, rev, .. } = offer;
        let answer = json(&Answer { boot, offer, rev, digest, wants, sdp });
        let session = SessionId(u128::from(std::process::id()) << 64 | u128::from(n));
        let topic = format!("farol/1/{device}/in/open/{session}");
        offers.publish(&topic, write_open("answer", 1, &answer), false).await;
        viewer.watches().await.expect("a picture");
        viewers.push(viewer);
    }
    viewers
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
