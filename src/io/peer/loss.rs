//! Is the path to a viewer still there?
//!
//! It is gone when the board's address that it used is gone, or when nothing has come by it for a while: while
//! media is sent there is feedback several times a second, and consent checks have answers otherwise. The library's
//! own judgement comes after five seconds, and knows nothing of addresses. Pure: it is told the time.
//!
//! A loss is told at once, again when the board gets other addresses, and again after 5, 10, 20 ... s while it lasts: whoever
//! heard of it has had that long for a restart. When no restart has followed, which is of no use without a broker, it
//! is told every 5 s, so that one follows soon after it is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Silence after which a path is taken for gone.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// What a restart may take, over a slow broker too, before another is of use; doubled each time.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// In half a minute the library gives the path up for good.
const MAX_AGAIN: Duration = Duration::from_secs(20);

/// Why a path is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The board no longer has the address, or media may not use it any more.
    AddressGone,
    /// Nothing comes.
    Silent,
}

/// When a viewer was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// By which of the board's addresses.
    pub local: IpAddr,
    /// When.
    pub at: Instant,
}

/// What was judged so far.
#[derive(Debug, Default)]
pub struct Path {
    told: Option<Told>,
    /// When the board last had no address at all, so that nothing could be heard.
    deaf_at: Option<Instant>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    offered: Option<BTreeSet<IpAddr>>,
    again_after: Duration,
}

impl Path {
    /// Looks at a connection that was up at least once. `offered` is what media may use now, `None`: everything;
    /// `restarted_at` when ICE was last restarted, by whomever. A loss is returned when it is to be told.
    pub fn look(
        &mut self,
        now: Instant,
        heard: Heard,
        offered: Option<BTreeSet<IpAddr>>,
        restarted_at: Option<Instant>,
    ) -> Option<Loss> {
        let is_gone = offered.as_ref().is_some_and(|offered| !offered.contains(&heard.local));
        let is_deaf = offered.as_ref().is_some_and(BTreeSet::is_empty);
        if is_deaf {
            // There is nothing to restart on; and when the network is back, the path may be as well.
            self.deaf_at = Some(now);
            return None;
        }
        let heard_at = self.deaf_at.map_or(heard.at, |deaf_at| deaf_at.max(heard.at));
        let is_silent = now.saturating_duration_since(heard_at) >= SILENT_AFTER;
        let loss = match (is_gone, is_silent) {
            (true, _) => Loss::AddressGone,
            (false, true) => Loss::Silent,
            (false, false) => {
                self.told = None;
                return None;
            }
        };
        let again_after = match &self.told {
            Some(told) if told.offered != offered => AGAIN_AFTER,
            Some(told)
                if now.saturating_duration_since(told.at.max(restarted_at.unwrap_or(told.at)))
                    < told.again_after =>
            {
                return None;
            }
            Some(told) if restarted_at.is_none_or(|at| at < told.at) => AGAIN_AFTER,
            Some(told) => (told.again_after * 2).min(MAX_AGAIN),
            // Somebody else has asked for one already.
            None if !is_gone
                && restarted_at.is_some_and(|at| now.saturating_duration_since(at) < AGAIN_AFTER) =>
            {
                return None;
            }
            None => AGAIN_AFTER,
        };
        self.told = Some(Told { at: now, offered, again_after });
        Some(loss)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "virtual time needs a moment to count from")]

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What is told when one path is looked at every 200 ms and ICE restarted whenever it is, as (ms, loss).
    fn told(
        until: u64,
        heard: impl Fn(u64) -> (IpAddr, u64),
        offered: impl Fn(u64) -> Vec<IpAddr>,
    ) -> Vec<(u64, Loss)> {
        told_when(|_| true, until, heard, offered)
    }

    /// The same, with a restart only while there is a broker for it.
    fn told_when(
        restarts: impl Fn(u64) -> bool,
        until: u64,
        heard: impl Fn(u64) -> (IpAddr, u64),
        offered: impl Fn(u64) -> Vec<IpAddr>,
    ) -> Vec<(u64, Loss)> {
        let (start, mut path, mut restarted_at) = (Instant::now(), Path::default(), None);
        (0..=until)
            .step_by(200)
            .filter_map(|now| {
                let (local, at) = heard(now);
                let offered = Some(offered(now).into_iter().collect());
                let heard = Heard { local, at: start + ms(at) };
                let loss = path.look(start + ms(now), heard, offered, restarted_at)?;
                restarted_at = restarts(now).then_some(start + ms(now)).or(restarted_at);
                Some((now, loss))
            })
            .collect()
    }

    #[test]
    fn a_path_that_is_heard_of_stays() {
        assert!(told(60_000, |now| (HERE, now.saturating_sub(1_500)), |_| vec![HERE]).is_empty());
    }

    #[test]
    fn silence_is_told_after_two_seconds_and_more_and_more_seldom() {
        let silent = told(45_000, |_| (HERE, 0), |_| vec![HERE]);
        let expected = [2_000, 7_000, 17_000, 37_000].map(|at| (at, Loss::Silent));
        assert_eq!(silent, expected);
    }

    #[test]
    fn silence_that_nobody_acts_on_is_told_every_five_seconds() {
        let silent = told_when(|now| now >= 16_000, 40_000, |_| (HERE, 0), |_| vec![HERE]);
        let expected = [2_000, 7_000, 12_000, 17_000, 22_000, 32_000].map(|at| (at, Loss::Silent));
        assert_eq!(silent, expected);
    }

    #[test]
    fn an_address_that_goes_is_told_at_once_when_there_is_another() {
        let gone = told(4_000, |now| (HERE, now), |now| if now < 1_000 { vec![HERE] } else { vec![THERE] });
        assert_eq!(gone, [(1_000, Loss::AddressGone)]);
    }

    #[test]
    fn without_any_address_nothing_is_told_until_one_comes() {
        let offered = |now| if now < 3_000 { vec![] } else { vec![THERE] };
        assert_eq!(told(4_000, |_| (HERE, 0), offered), [(3_000, Loss::AddressGone)]);
    }

    #[test]
    fn a_cable_that_was_out_for_a_second_is_no_loss() {
        let offered = |now| if (1_000..2_000).contains(&now) { vec![] } else { vec![HERE] };
        let heard = |now| (HERE, if (1_000..2_100).contains(&now) { 1_000 } else { now });
        assert!(told(10_000, heard, offered).is_empty());
    }

    #[test]
    fn a_network_that_comes_back_has_time_to_be_heard() {
        let offered = |now| if now < 6_000 { vec![] } else { vec![HERE] };
        assert_eq!(told(9_000, |_| (HERE, 0), offered), [(7_800, Loss::Silent)]);
        let heard = |now| (HERE, if now < 7_000 { 0 } else { now });
        assert_eq!(told(20_000, heard, offered), []);
    }

    #[test]
    fn other_addresses_meanwhile_are_told_at_once() {
        let third = IpAddr::from([192, 0, 2, 3]);
        let offered = |now| if now < 1_000 { vec![THERE] } else { vec![third] };
        let losses = told(2_000, |_| (HERE, 0), offered);
        assert_eq!(losses, [(0, Loss::AddressGone), (1_000, Loss::AddressGone)]);
    }

    #[test]
    fn a_restart_under_way_is_given_its_time() {
        let (start, mut path) = (Instant::now(), Path::default());
        let heard = Heard { local: HERE, at: start };
        let asked = Some(start + ms(1_500));
        assert_eq!(path.look(start + ms(2_000), heard, None, asked), None);
        assert_eq!(path.look(start + ms(6_600), heard, None, asked), Some(Loss::Silent));
    }
}
