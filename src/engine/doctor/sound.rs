//! Are microphone and speaker there, and free?

use super::Finding;
use super::access::Runner;
use super::camera::Holder;

/// A device of ALSA's, and what came of looking at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The check: `microphone` or `speaker`.
    pub check: &'static str,
    /// As it is configured.
    pub device: String,
    /// What it can do, for people; else why it cannot be opened.
    pub ability: Result<String, Obstacle>,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// Names of devices that are there, this way.
    pub others: Vec<String>,
    /// Who runs farol here.
    pub runner: Runner,
}

/// Why a sound device cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Another program has it.
    Busy,
    /// We may not.
    Forbidden,
    /// There is none, or something else; in ALSA's words.
    Other(String),
}

impl Reading {
    /// Whether sound comes from it, or out of it.
    pub fn finding(&self) -> Finding {
        let Reading { check, device, ability, holders, others, runner } = self;
        let (section, why) = match *check {
            "speaker" => ("talkback", "viewers' voices come out of it; the picture does not need it"),
            _ => ("audio", "viewers hear nothing; the picture does not need it"),
        };
        let strangers: Vec<String> = holders
            .iter()
            .filter(|holder| !holder.is_farol())
            .map(|holder| format!("{} (process {})", holder.name, holder.pid))
            .collect();
        match ability {
            Ok(ability) => Finding::ok(check, format!("{device}: {ability}")),
            // The daemon that runs here has it, and that is as it should be.
            Err(Obstacle::Busy) if !holders.is_empty() && strangers.is_empty() => {
                Finding::ok(check, format!("{device} is in use by farol"))
            }
            Err(Obstacle::Busy) => {
                let who =
                    if strangers.is_empty() { "another program".to_owned() } else { strangers.join(" and ") };
                Finding::fault(check, format!("{device} is in use by {who}"))
                    .because(why)
                    .mend("# a sound server that shares it? Stop that for the board's own devices:")
                    .mend(
                        "systemctl --user mask --now pipewire.socket pipewire-pulse.socket pulseaudio.socket",
                    )
                    .mend("# or share it with ALSA's own means:")
                    .mend(format!("[{section}]\ndevice = \"default\""))
            }
            Err(Obstacle::Forbidden) if *runner == Runner::Unit => {
                Finding::note(check, format!("{device} may not be opened by you"))
                    .because("the service may, by the group `audio`, which its unit gives it")
                    .mend("sudo farol doctor")
            }
            Err(Obstacle::Forbidden) => Finding::fault(check, format!("{device} may not be opened by you"))
                .because(why)
                .mend("sudo usermod -aG audio \"$(id -un)\"")
                .mend("# then log out and in again"),
            Err(Obstacle::Other(cause)) => {
                let fault = Finding::fault(check, format!("{device} cannot be opened: {cause}")).because(why);
                match others.first() {
                    Some(other) => fault.mend(format!("[{section}]\ndevice = {other:?}")),
                    None if *check == "speaker" => fault.mend("aplay -l").mend("[talkback]\ndevice = \"\""),
                    None => fault.mend("arecord -l").mend("[audio]\nsource = \"none\""),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_sound_device_that_cannot_be_had_is_told_with_its_holder_or_its_neighbour() {
        let reading = |ability, holders: &[(u32, &str)], others: &[&str]| Reading {
            check: "microphone",
            device: "hw:Device,0".into(),
            ability,
            holders: holders.iter().map(|(pid, name)| Holder { pid: *pid, name: (*name).into() }).collect(),
            others: others.iter().map(|name| (*name).to_owned()).collect(),
            runner: Runner::Hand,
        };
        assert_eq!(reading(Ok("48000 Hz".into()), &[], &[]).finding().level, Level::Ok);
        assert_eq!(reading(Err(Obstacle::Busy), &[(5, "farol")], &[]).finding().level, Level::Ok);
        let held = reading(Err(Obstacle::Busy), &[(712, "pulseaudio")], &[]).finding();
        assert_eq!(held.level, Level::Fault);
        assert!(held.what.contains("pulseaudio (process 712)"), "{}", held.what);
        let gone = reading(Err(Obstacle::Other("No such device".into())), &[], &["hw:C270,0"]).finding();
        assert_eq!(gone.mend, ["[audio]\ndevice = \"hw:C270,0\""]);
        let forbidden = reading(Err(Obstacle::Forbidden), &[], &[]);
        assert_eq!(forbidden.finding().level, Level::Fault);
        assert_eq!(Reading { runner: Runner::Unit, ..forbidden }.finding().level, Level::Note);
    }
}
