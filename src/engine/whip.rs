//! How farol offers to a media server by WHIP (RFC 9725): one uplink's life, without its IO.
//!
//! farol is the offerer here as everywhere: it posts its offer, the server's answer is the response. One
//! encode and one upload then serve as many viewers as the server has.
//!
//! | file | question |
//! |---|---|
//! | `step` | what follows from what: the states, the events, what each makes the device do |
//! | `uplink` | where one uplink stands, and what is to be done for it next |
//! | `orders` | what an uplink is told, and what it orders |
//! | `wait` | how long is waited before the next attempt |
//! | `reply` | what a server's response means, and what to do about it |
//! | `headers` | what `Link`, `Retry-After` and `Content-Type` say |
//! | `sdp` | the offer as it is posted, the answer as it is applied, the fragments between |

pub mod headers;
mod orders;
pub mod reply;
pub mod sdp;
pub mod step;
mod uplink;
mod wait;

pub use orders::{Command, Input, Method, Request, Story};
pub use uplink::Uplink;
