//! One WebRTC peer connection: we offer, a viewer answers. The only module that names the `webrtc` crate,
//! except `fanout`, which writes packets into what this one opened.
