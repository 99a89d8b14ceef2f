//! What may a viewer do on the embedded broker?
//!
//! | topic | right |
//! |---|---|
//! | `farol/1/+/status`, `farol/1/<device>/status` | subscribe |
//! | `farol/1/<device>/offer/<slot>` | subscribe |
//! | `farol/1/<device>/out/<slot>/<session>` | subscribe, to one whole session: no wildcard |
//! | `farol/1/<device>/in/<slot>/<session>` | publish |
//!
//! The slot is the viewer's own. Everything else is refused.

use std::fmt;
use std::sync::Arc;

use crate::units::{DeviceId, Kid, SessionId};

/// The slot of everybody in open mode.
const OPEN: &str = "open";

/// Looks the MQTT password of a key id up, at each connection; `None`: there is no such key.
pub type PasswordOf = dyn Fn(Kid) -> Option<String> + Send + Sync;

/// Who may watch.
#[derive(Clone)]
pub enum Viewers {
    /// Anybody, without a user name.
    Open,
    /// Who has a key: its id is the user name.
    Sealed(Arc<PasswordOf>),
}

impl fmt::Debug for Viewers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Viewers::Open => "Open",
            Viewers::Sealed(_) => "Sealed",
        })
    }
}

impl Viewers {
    /// The slot of whoever shows these, or `None` when they may not connect.
    pub(super) fn slot(&self, user: Option<&str>, password: Option<&[u8]>) -> Option<String> {
        match (self, user) {
            (Viewers::Open, None) => Some(OPEN.to_owned()),
            (Viewers::Open, Some(_)) | (Viewers::Sealed(_), None) => None,
            (Viewers::Sealed(password_of), Some(user)) => {
                let kid: Kid = user.parse().ok()?;
                let right = password_of(kid)?;
                same(password?, right.as_bytes()).then(|| kid.to_string())
            }
        }
    }
}

/// Whether two secrets are equal, in a time that tells nothing but their lengths.
pub(super) fn same(shown: &[u8], right: &[u8]) -> bool {
    let differing = shown.iter().zip(right).fold(0, |differing, (a, b)| differing | (a ^ b));
    shown.len() == right.len() && differing == 0
}

pub(super) fn may_publish(device: DeviceId, slot: &str, topic: &str) -> bool {
    let own = topic.strip_prefix(&format!("farol/1/{device}/in/{slot}/"));
    own.is_some_and(|session| session.parse::<SessionId>().is_ok())
}

pub(super) fn may_subscribe(device: DeviceId, slot: &str, filter: &str) -> bool {
    let Some(of_device) = filter.strip_prefix(&format!("farol/1/{device}/")) else {
        return filter == "farol/1/+/status";
    };
    let out = of_device.strip_prefix(&format!("out/{slot}/"));
    of_device == "status"
        || of_device == format!("offer/{slot}")
        || out.is_some_and(|session| session.parse::<SessionId>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId(0xd);
    const SLOT: &str = "00000000000000aa";

    fn topic(rest: &str) -> String {
        format!("farol/1/{DEVICE}/{rest}")
    }

    fn session() -> String {
        SessionId(5).to_string()
    }

    #[test]
    fn a_viewer_publishes_only_into_its_own_sessions() {
        assert!(may_publish(DEVICE, SLOT, &topic(&format!("in/{SLOT}/{}", session()))));
        let other_device = DeviceId(0xe);
        for refused in [
            format!("farol/1/{other_device}/in/{SLOT}/{}", session()),
            topic("status"),
            topic(&format!("offer/{SLOT}")),
            topic(&format!("out/{SLOT}/{}", session())),
            topic(&format!("in/00000000000000bb/{}", session())),
            topic(&format!("in/{SLOT}/{}/more", session())),
            topic(&format!("in/{SLOT}/")),
            topic("event/motion"),
            topic(&format!("in/{SLOT}/5")),
            "$SYS/x".to_owned(),
        ] {
            assert!(!may_publish(DEVICE, SLOT, &refused), "{refused}");
        }
    }

    #[test]
    fn a_viewer_reads_status_its_offer_and_one_whole_session() {
        for granted in [
            "farol/1/+/status".to_owned(),
            topic("status"),
            topic(&format!("offer/{SLOT}")),
            topic(&format!("out/{SLOT}/{}", session())),
        ] {
            assert!(may_subscribe(DEVICE, SLOT, &granted), "{granted}");
        }
        for refused in [
            "#".to_owned(),
            "farol/1/+/offer/+".to_owned(),
            topic("#"),
            topic("offer/+"),
            topic("offer/00000000000000bb"),
            topic(&format!("out/{SLOT}/+")),
            topic(&format!("out/{SLOT}/#")),
            topic(&format!("out/+/{}", session())),
            topic(&format!("in/{SLOT}/{}", session())),
            topic("event/motion"),
            topic("event/#"),
            "farol/1/+/event/motion".to_owned(),
            format!("$share/group/{}", topic("status")),
            "$SYS/#".to_owned(),
        ] {
            assert!(!may_subscribe(DEVICE, SLOT, &refused), "{refused}");
        }
    }

    #[test]
    fn open_viewers_have_no_name_and_sealed_ones_show_their_password() {
        assert_eq!(Viewers::Open.slot(None, None).as_deref(), Some("open"));
        assert_eq!(Viewers::Open.slot(Some("open"), None), None);
        let sealed = Viewers::Sealed(Arc::new(|kid| (kid == Kid(0xaa)).then(|| "right".to_owned())));
        assert_eq!(sealed.slot(Some(SLOT), Some(b"right")).as_deref(), Some(SLOT));
        for (user, password) in [
            (None, None),
            (Some(SLOT), None),
            (Some(SLOT), Some("wrong")),
            (Some(SLOT), Some("righ")),
            (Some("00000000000000bb"), Some("right")),
            (Some("open"), Some("right")),
            (Some("+"), Some("right")),
        ] {
            assert_eq!(sealed.slot(user, password.map(str::as_bytes)), None, "{user:?} {password:?}");
        }
    }
}
