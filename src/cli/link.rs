//! The link that a viewer opens: page, device, key and broker in one text.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farol::config::Config;
use farol::engine::rights::ViewerKey;
use farol::units::DeviceId;

use super::Lacking;

/// What all links of a device have in common.
pub struct Ends {
    /// The page's address.
    pub page: String,
    /// The broker as a browser reaches it.
    pub broker: String,
    /// What the person who pairs should know about the page that was chosen for want of another.
    pub remark: Option<String>,
}

impl Ends {
    /// The ends that a configuration names. For want of a page it is the one that the device serves, and for want
    /// of a broker what this page's port bridges to.
    ///
    /// # Errors
    ///
    /// A browser could not find the page or the broker: the text says what to add.
    pub fn of(path: &Path, config: &Config) -> Result<Ends, Lacking> {
        let own = if config.links.page.is_none() { OwnPage::of(config) } else { None };
        let page = config.links.page.clone().or_else(|| own.as_ref().map(OwnPage::address));
        // A page from elsewhere may be on https://, from where a browser opens no ws://.
        let bridge = own.as_ref().filter(|_| config.bridge).map(OwnPage::bridge);
        match (page, config.links.broker.clone().or(bridge)) {
            (Some(page), Some(broker)) => {
                Ok(Ends { page, broker, remark: own.map(|own| own.remark().to_owned()) })
            }
            (page, broker) => Err(Lacking::new(path, &advice(page.is_none(), broker.is_none()))),
        }
    }

    /// A viewer's link. Its fragment never leaves the browser: no server sees the key.
    pub fn link(&self, device: DeviceId, viewer: &ViewerKey) -> String {
        let key = URL_SAFE_NO_PAD.encode(viewer.key());
        format!("{}#1.{device}.{}.{key}.{}", self.page, viewer.kid, self.broker)
    }

    /// The link of a device whose signalling is open.
    pub fn open_link(&self, device: DeviceId) -> String {
        format!("{}#1.{device}.open..{}", self.page, self.broker)
    }
}

/// The page that the daemon serves itself, as another machine in its network finds it.
struct OwnPage {
    /// Host and port.
    authority: String,
    is_loopback: bool,
}

impl OwnPage {
    fn of(config: &Config) -> Option<OwnPage> {
        let address = config.http?;
        let authority = if address.ip().is_unspecified() {
            // Boards of this kind answer to their name in the local network (mDNS).
            format!("{}.local:{}", host_name()?, address.port())
        } else {
            address.to_string()
        };
        Some(OwnPage { authority, is_loopback: address.ip().is_loopback() })
    }

    fn address(&self) -> String {
        format!("http://{}/", self.authority)
    }

    fn bridge(&self) -> String {
        format!("ws://{}/mqtt", self.authority)
    }

    fn remark(&self) -> &'static str {
        if self.is_loopback {
            "links.page is not set, so the link leads to this device's own page. It opens on this machine only, \
             since http.listen is a loopback address."
        } else {
            "links.page is not set, so the link leads to this device's own page. It opens where this device is in \
             reach."
        }
    }
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim().split('.').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_string())
}

fn advice(lacks_page: bool, lacks_broker: bool) -> String {
    let mut advice = "  [links]\n".to_string();
    if lacks_page {
        advice +=
            "  page = \"https://...\"      # the viewer page; or set http.listen, and the device serves it\n";
    }
    if lacks_broker {
        advice += "  broker = \"wss://...\"      # your MQTT broker as a browser reaches it; or set http.bridge beside http.listen\n";
    }
    advice.trim_end().to_string()
}
