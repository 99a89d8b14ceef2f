//! The pure core. Its contract: it is told the time and handed randomness, it reads no clock, opens
//! no socket, spawns nothing. What comes from outside is data; bad data is an outcome, not an error
//! that could stop the loop.

pub mod h264;
pub mod message;
pub mod pcm;
pub mod rights;
