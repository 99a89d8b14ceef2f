//! The shell: everything that touches the world. Each module does one device's or protocol's work
//! and hands over data. None knows `Station`, and of each other they know only this: `peer` stands on `port`,
//! `fanout` on `peer`; `devices` looks with `capture`'s eyes, and `doctor` at all of them; all may use `clock`,
//! `tls`, `fetch` and `web`.

pub mod audio;
#[cfg(feature = "broker")]
pub mod broker;
pub mod capture;
pub mod clock;
pub mod devices;
pub mod doctor;
pub mod fanout;
pub mod fetch;
pub mod gpio;
pub mod http;
pub mod ice_source;
pub mod keys;
pub mod log;
pub mod mqtt;
pub mod network;
pub mod peer;
pub mod port;
pub mod status;
pub mod still;
pub mod systemd;
pub mod tls;
pub mod web;
pub mod whip;
