//! Is there a way to viewers: addresses, names, STUN, TURN, what the NAT does, and ports?

use std::net::{IpAddr, SocketAddr};

use super::camera::Holder;
use super::{Finding, command, sandbox};

/// Whether the board is in a network at all.
pub fn addresses(usable: &[IpAddr]) -> Finding {
    if usable.is_empty() {
        return Finding::fault("addresses", "the board has no address that media could use")
            .because("no viewer finds a way to it")
            .mend("ip -brief address")
            .mend("# Wi-Fi: nmcli device wifi connect NAME --ask; and [ice] addresses or interfaces may leave out too much:")
            .mend("[ice]\naddresses = []\ninterfaces = []");
    }
    let list: Vec<String> = usable.iter().map(IpAddr::to_string).collect();
    Finding::ok("addresses", list.join(", "))
}

/// Whether the names in the configuration can be resolved: each with why not.
pub fn names(asked: &[(String, Option<String>)]) -> Option<Finding> {
    let failed: Vec<&(String, Option<String>)> = asked.iter().filter(|(_, fault)| fault.is_some()).collect();
    let hosts = |list: &[&(String, Option<String>)]| {
        list.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (first, _) = asked.first()?;
    Some(match failed.as_slice() {
        [] => Finding::ok("names", format!("{} resolved", hosts(&asked.iter().collect::<Vec<_>>()))),
        all if all.len() == asked.len() => {
            Finding::fault("names", format!("no name can be resolved: {}", hosts(all)))
                .because("neither broker nor STUN and TURN servers are found")
                .mend("# Is there a way out, and does a name server that is known to work answer?")
                .mend("ip route; cat /etc/resolv.conf")
                .mend(command(&["resolvectl", "query", first]))
        }
        some => {
            let (host, cause) = some[0];
            let cause = cause.as_deref().unwrap_or_default();
            Finding::fault("names", format!("{} cannot be resolved: {cause}", hosts(some)))
                .because("other names can: it is misspelt, or gone")
                .mend(command(&["getent", "hosts", host]))
        }
    })
}

/// What a STUN server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Under which address it sees us.
    SeenAs(SocketAddr),
    /// Nothing listens there.
    Refused,
    /// Nothing came.
    Silent,
    /// Its name has no address; why.
    NoAddress(String),
}

/// One server, asked by UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its URL.
    pub url: String,
    /// The address that was asked.
    pub address: Option<SocketAddr>,
    /// What it answered.
    pub answer: Answer,
}

/// Lines for a configuration without any server.
const SERVERS: &str = "[[ice.servers]]\nurls = [\"stun:stun.example.org:3478\"]";

/// Whether STUN works. `asked` are the STUN servers and the TURN servers that are reached by UDP.
pub fn stun(asked: &[Asked]) -> Finding {
    let silent = asked.iter().filter(|asked| asked.answer == Answer::Silent).count();
    let seen = asked.iter().find_map(|asked| match asked.answer {
        Answer::SeenAs(address) => Some((asked, address)),
        _ => None,
    });
    if asked.is_empty() {
        return Finding::note("stun", "no STUN or TURN server is configured")
            .because("viewers in this network find the way by themselves; those outside do not")
            .mend("# docs/network.md says which to take, and how to run one:")
            .mend(SERVERS);
    }
    let failed: Vec<String> = asked.iter().filter_map(failure).collect();
    match seen {
        Some((server, address)) if failed.is_empty() => {
            Finding::ok("stun", format!("{} sees this board as {}", server.url, address.ip()))
        }
        Some(_) => Finding::warning("stun", failed.join("; "))
            .because("others answer, so viewers are found; each dead server makes gathering slower")
            .mend("# take out of [[ice.servers]] what stays dead:")
            .mend("sudoedit /etc/farol/farol.toml"),
        None if silent == asked.len() => {
            Finding::fault("stun", format!("no server answers by UDP: {}", failed.join("; ")))
                .because("a firewall here seems to block UDP, by which media goes: viewers outside see no picture")
                .mend("# let UDP out on this network's router; else TURN over TLS passes for a web page:")
                .mend("[[ice.servers]]\nurls = [\"turns:turn.example.org:443?transport=tcp\"]\nusername = \"farol\"\ncredential_file = \"/etc/farol/turn-password\"")
        }
        None => Finding::fault("stun", failed.join("; "))
            .because("viewers outside this network learn no address of this board")
            .mend("# compare with the server's own settings, or take another:")
            .mend(SERVERS),
    }
}

fn failure(asked: &Asked) -> Option<String> {
    let Asked { url, answer, .. } = asked;
    Some(match answer {
        Answer::SeenAs(_) => return None,
        Answer::Refused => format!("nothing listens at {url}"),
        Answer::Silent => format!("{url} does not answer"),
        Answer::NoAddress(cause) => format!("{url} has no address ({cause})"),
    })
}

/// Servers, each with its address, from which the unit keeps the service; `None`: there are none.
pub fn barred(check: &'static str, servers: Vec<(String, IpAddr)>) -> Option<Finding> {
    let (urls, mut addresses): (Vec<String>, Vec<IpAddr>) = servers.into_iter().unzip();
    addresses.sort();
    addresses.dedup();
    (!urls.is_empty()).then(|| {
        let what = format!("the service may not reach {} ({})", urls.join(", "), sandbox::listed(&addresses));
        let why =
            "viewers outside find no way to this board, and those in the local network need no such server";
        sandbox::barred(Finding::warning(check, what), why, &addresses)
            .mend("# or, if nobody outside is to watch, take them out of [[ice.servers]]:")
            .mend("sudoedit /etc/farol/farol.toml")
    })
}

/// What stands between this board and the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Nothing: servers see the board's own address.
    None,
    /// One that shows one socket under one address, whomever it speaks to (RFC 4787 REQ-1).
    EndpointIndependent(SocketAddr),
    /// One that shows it under another address to everybody (RFC 5780 §4.3): "symmetric".
    AddressDependent,
    /// Only one server could be asked.
    Unknown(SocketAddr),
}

/// What several servers' answers to one socket say of the NAT; `None`: nothing was answered.
pub fn nat(locals: &[IpAddr], asked: &[Asked]) -> Option<Nat> {
    let mut seen: Vec<(SocketAddr, SocketAddr)> = Vec::new();
    for one in asked {
        if let (Some(server), Answer::SeenAs(address)) = (one.address, &one.answer)
            && !seen.iter().any(|(other, _)| *other == server)
        {
            seen.push((server, *address));
        }
    }
    // The two families go by different ways.
    let family = seen.first()?.1.is_ipv4();
    seen.retain(|(_, address)| address.is_ipv4() == family);
    let first = seen[0].1;
    Some(if locals.contains(&first.ip()) {
        Nat::None
    } else if seen.iter().any(|(_, address)| *address != first) {
        Nat::AddressDependent
    } else if seen.len() > 1 {
        Nat::EndpointIndependent(first)
    } else {
        Nat::Unknown(first)
    })
}

impl Nat {
    /// What it means; `has_turn`: a TURN server is configured and works.
    pub fn finding(self, locals: &[IpAddr], has_turn: bool) -> Finding {
        // RFC 6598: between a provider's NAT and its customers.
        let is_shared = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64);
        let carrier = if locals.iter().any(is_shared) { " (and the provider has another NAT)" } else { "" };
        match self {
            Nat::None => Finding::ok("nat", "none: the board's own address is seen outside"),
            Nat::EndpointIndependent(address) => {
                Finding::ok("nat", format!("one that viewers' paths lead through, as {}{carrier}", address.ip()))
            }
            Nat::AddressDependent if has_turn => {
                Finding::note("nat", format!("a strict one, which shows another port to everybody{carrier}"))
                    .because("many viewers outside come by the TURN server, which carries their media")
            }
            Nat::AddressDependent => {
                Finding::warning("nat", format!("a strict one, which shows another port to everybody{carrier}"))
                    .because("STUN is not enough behind it: viewers outside need a TURN server, and none works")
                    .mend("# docs/network.md shows how to run coturn; then:")
                    .mend("[[ice.servers]]\nurls = [\"turn:turn.example.org:3478\"]\nusername = \"farol\"\ncredential_file = \"/etc/farol/turn-password\"")
                    .mend("# or a VPN between board and viewers, such as WireGuard or Tailscale")
            }
            Nat::Unknown(address) => {
                Finding::note("nat", format!("one that shows this board as {}{carrier}; its kind is not known", address.ip()))
                    .because("it takes two servers at different addresses to tell whether paths lead through it")
                    .mend("# a second STUN server:")
                    .mend(SERVERS)
            }
        }
    }
}

/// What came of asking a TURN server for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// It has lent one; whether datagrams pass through it.
    Lent(SocketAddr, Passage),
    /// It refuses: the code and its words (RFC 8656 §19).
    Refused(u16, String),
    /// Nothing listens there.
    NothingListens,
    /// Nothing came.
    Silent,
    /// Its name has no address; why.
    NoAddress(String),
    /// Its certificate is not trusted, or TLS fails otherwise; why.
    Tls(String),
    /// It is reached in a way that farol does not know: DTLS.
    Unsupported,
}

/// Whether a stranger's datagrams pass through an address that a TURN server has lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// To us, and back.
    BothWays,
    /// None came within the time.
    Lost,
    /// The server forbids it: our address is in a network that it keeps its clients from.
    Forbidden,
    /// It could not be tried.
    Untried,
}

/// One URL of a TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The URL.
    pub url: String,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The user that was shown.
    pub user: String,
    /// Whether the password is made from a secret that the server shares.
    pub is_shared: bool,
    /// What came of it.
    pub outcome: Allocation,
}

impl Turn {
    /// Whether media can go by it.
    pub fn works(&self) -> bool {
        matches!(self.outcome, Allocation::Lent(..))
    }

    /// Whether it lends addresses with these credentials.
    /// `is_udp_open`: UDP leaves this board's network, so that what does not arrive is lost on the server's side.
    pub fn finding(&self, is_udp_open: bool) -> Finding {
        let Turn { url, user, .. } = self;
        let why = "viewers whose networks let no direct path through see no picture";
        let fault = |what: String| Finding::fault("turn", what).because(why);
        match &self.outcome {
            Allocation::Lent(relayed, passage) => self.lent(*relayed, *passage, is_udp_open),
            Allocation::Refused(401 | 441, _) if self.is_shared => {
                fault(format!("{url} does not take the password made from the shared secret"))
                    .mend("# /etc/turnserver.conf on the server, with what secret_file holds:")
                    .mend("use-auth-secret\nstatic-auth-secret=THE-SECRET")
                    .mend("sudo systemctl restart coturn")
                    .mend("# Both clocks must be right, too:")
                    .mend("timedatectl")
            }
            Allocation::Refused(401 | 441, _) => {
                let user_line =
                    command(&["sudo", "turnadmin", "-a", "-u", user, "-r", "REALM", "-p", "PASSWORD"]);
                fault(format!("{url} does not know user {user}, or the password is wrong"))
                    .mend("# on the server, with its realm:")
                    .mend(user_line)
                    .mend("# or in its /etc/turnserver.conf:")
                    .mend(format!("lt-cred-mech\nuser={user}:PASSWORD"))
            }
            Allocation::Refused(486, _) => fault(format!("{url} lends no more addresses to user {user}"))
                .mend("# /etc/turnserver.conf on the server:")
                .mend("user-quota=0\ntotal-quota=0"),
            Allocation::Refused(code, words) => {
                fault(format!("{url} refuses: {code} {words}")).mend("sudo journalctl -u coturn -n 20")
            }
            Allocation::NothingListens => fault(format!("nothing listens at {url}"))
                .mend("# on the server:")
                .mend("sudo systemctl enable --now coturn; sudo ss -lntup | grep turnserver"),
            Allocation::Silent => fault(format!("{url} does not answer"))
                .mend("# a firewall before the server, or before this board; on the server:")
                .mend("sudo ufw allow 3478; sudo ufw allow 5349; sudo ufw allow 49152:65535/udp"),
            Allocation::NoAddress(cause) => fault(format!("{url} has no address ({cause})"))
                .mend("# it is misspelt in [[ice.servers]], or gone:")
                .mend("sudoedit /etc/farol/farol.toml"),
            Allocation::Tls(cause) => fault(format!("no TLS with {url}: {cause}"))
                .mend("# an authority of your own?")
                .mend("[ice]\nca_file = \"/etc/farol/ca.pem\""),
            Allocation::Unsupported => {
                Finding::note("turn", format!("{url} is TURN over DTLS, which farol does not use"))
                    .because("browsers do not either; it costs nothing but the line")
            }
        }
    }

    /// An address that nobody outside can reach is no help: a server behind a NAT that does not know it.
    fn lent(&self, relayed: SocketAddr, passage: Passage, is_udp_open: bool) -> Finding {
        let is_private = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
        };
        let Turn { url, user, .. } = self;
        let lends = format!("{url} lends addresses to user {user}");
        match self.address {
            Some(server) if is_private(relayed.ip()) && !is_private(server.ip()) => Finding::fault(
                "turn",
                format!("{url} lends {relayed}, which is an address of its own network"),
            )
            .because("the server stands behind a NAT and does not know it: nobody reaches that address")
            .mend("# /etc/turnserver.conf on the server:")
            .mend(format!("external-ip={}/{}", server.ip(), relayed.ip()))
            .mend("sudo systemctl restart coturn"),
            // A router does not always lead a board back into its own network.
            Some(server) if passage == Passage::Lost && is_udp_open && !is_private(server.ip()) => {
                Finding::warning(
                    "turn",
                    format!(
                        "{url} lends {relayed}, but a datagram that this board sends there does not arrive"
                    ),
                )
                .because(
                    "media takes that way: viewers who need the server connect to it, and see no picture",
                )
                .mend(
                    "# on the server, and in the firewall of its provider; these are coturn's ports for it:",
                )
                .mend("sudo ufw allow 49152:65535/udp")
                .mend("# and with another range in /etc/turnserver.conf, that one:")
                .mend("grep -E 'min-port|max-port|external-ip|relay-ip' /etc/turnserver.conf")
            }
            _ => Finding::ok(
                "turn",
                match passage {
                    Passage::BothWays => format!("{lends}, and datagrams pass through them both ways"),
                    Passage::Forbidden => {
                        format!("{lends}; it lets none through from this board's own network")
                    }
                    Passage::Lost | Passage::Untried => {
                        format!("{lends}; whether datagrams pass was not to be seen from here")
                    }
                },
            ),
        }
    }
}

/// With `ice.policy = "relay"` there must be a relay.
pub fn no_relay() -> Finding {
    Finding::fault("turn", "ice.policy is \"relay\", and there is no TURN server that works")
        .because("no other path counts: nobody can watch")
        .mend("[ice]\npolicy = \"all\"")
}

/// A port that the configuration wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The key that names it.
    pub key: &'static str,
    /// As it is configured.
    pub at: String,
    /// `None`: it is free; else why it cannot be had.
    pub taken: Option<String>,
    /// Who has it.
    pub holders: Vec<Holder>,
}

impl Port {
    /// Whether it can be had.
    pub fn finding(&self) -> Finding {
        let Port { key, at, taken, holders } = self;
        let Some(cause) = taken else { return Finding::ok("ports", format!("{key} {at} is free")) };
        if !holders.is_empty() && holders.iter().all(Holder::is_farol) {
            return Finding::ok("ports", format!("{key} {at} is farol's"));
        }
        let by: Vec<String> =
            holders.iter().map(|holder| format!("{} (process {})", holder.name, holder.pid)).collect();
        let by = if by.is_empty() { cause.clone() } else { format!("taken by {}", by.join(" and ")) };
        let port = at.rsplit([':', '-']).next().unwrap_or(at);
        Finding::fault("ports", format!("{key} {at} cannot be had: {by}"))
            .because("the daemon does not start without it")
            .mend(format!("sudo ss -lntup 'sport = :{port}'"))
            .mend(format!("# stop what has it, or name another in {key}"))
    }
}

#[cfg(test)]
mod tests;
