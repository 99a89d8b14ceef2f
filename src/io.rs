//! The shell: everything that touches the world. Each module does one device's or protocol's work
//! and hands over data; none knows `Station`, and none knows another, except that `fanout` knows `peer`.

pub mod audio;
pub mod capture;
pub mod clock;
pub mod devices;
pub mod mqtt;
pub mod peer;
