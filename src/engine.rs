//! The pure core. Its contract: it is told the time and handed randomness, it reads no clock, opens
//! no socket, spawns nothing. What comes from outside is data; bad data is an outcome, not an error
//! that could stop the loop.
//!
//! | file | question |
//! |---|---|
//! | [`h264`], [`pcm`] | what one picture and one stretch of sound are |
//! | [`topic`], [`message`], [`seal`] | what stands on the wire |
//! | [`rights`] | what a viewer may do |
//! | [`sdp`] | how an offer is kept small enough |
//! | [`bucket`] | how a flood is kept cheap |
//! | [`session`] | one viewer's negotiation |
//! | [`roster`] | all sessions: who is let in, who has to go |
//! | [`keyframe`], [`rate`] | when the encoder is asked for a keyframe, and how much it may spend |
//! | [`station`] | all of it together: an input and the time in, commands out |

pub mod bandwidth;
pub mod bucket;
pub mod control;
pub mod h264;
pub mod keyframe;
pub mod message;
pub mod pcm;
pub mod rate;
pub mod rights;
pub mod roster;
pub mod sdp;
pub mod seal;
pub mod session;
pub mod station;
pub mod topic;
