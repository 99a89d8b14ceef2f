//! The pure core. Its contract: it is told the time and handed randomness, it reads no clock, opens
//! no socket, spawns nothing. What comes from outside is data; bad data is an outcome, not an error
//! that could stop the loop.
//!
//! | file | question |
//! |---|---|
//! | [`h264`], [`pcm`] | what one picture and one stretch of sound are |
//! | [`picture`], [`jpeg`] | how a picture lies in memory |
//! | [`choice`] | what is taken from a camera, and what encodes it |
//! | [`shed`] | what is given up when the board cannot keep up |
//! | [`drift`], [`resample`] | how sound follows a device's clock |
//! | [`topic`], [`message`], [`seal`] | what stands on the wire |
//! | [`ice`] | which STUN and TURN servers somebody is told of |
//! | [`rights`] | what a viewer may do |
//! | [`sdp`] | how an offer is kept small enough |
//! | [`night`], [`motion`], [`servo`] | when it is dark, when something moves, how a camera is turned |
//! | [`bucket`] | how a flood is kept cheap |
//! | [`jitter`] | when each packet of a viewer's voice is played |
//! | [`talk`] | who is heard at the speaker |
//! | [`session`] | one viewer's negotiation |
//! | [`roster`] | all sessions: who is let in, who has to go |
//! | [`thinning`], [`rendition`] | how much of a stream fits a slow network, and who gets the second encode |
//! | [`keyframe`], [`rate`] | when the encoder is asked for a keyframe, and how much it may spend |
//! | [`control`] | what viewers may ask on the control channel, and what they are answered |
//! | [`tally`] | what is counted of each viewer, and how it is told |
//! | [`doctor`] | what a reading of the board means, and what mends it |
//! | [`whip`] | how a media server is offered to |
//! | [`bandwidth`] | what the network to one viewer carries |
//! | [`queue`] | which pictures a viewer gets whose network is too slow |
//! | [`station`] | all of it together: an input and the time in, commands out |

pub mod bandwidth;
pub mod bucket;
pub mod choice;
pub mod control;
pub mod doctor;
pub mod drift;
pub mod h264;
pub mod ice;
pub mod jitter;
pub mod jpeg;
pub mod keyframe;
pub mod message;
pub mod motion;
pub mod night;
pub mod pcm;
pub mod picture;
pub mod queue;
pub mod rate;
pub mod rendition;
pub mod resample;
pub mod rights;
pub mod roster;
pub mod sdp;
pub mod seal;
pub mod servo;
pub mod session;
pub mod shed;
pub mod station;
pub mod talk;
pub mod tally;
pub mod thinning;
pub mod topic;
pub mod whip;
