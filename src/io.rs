//! The shell: everything that touches the world. Each module does one device's or protocol's work
//! and hands over data; none knows `Station`, and none knows another, except that `fanout` knows `peer` and `devices` knows
//! `capture`, that `doctor` looks at all of them, and that all may use `clock`, `tls`, `fetch` and `web`.

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
