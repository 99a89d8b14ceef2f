use super::super::Level;
use super::*;

fn asked(server: &str, answer: Answer) -> Asked {
    Asked { url: format!("stun:{server}"), address: server.parse().ok(), answer }
}

fn seen(server: &str, address: &str) -> Asked {
    asked(server, Answer::SeenAs(address.parse().expect("an address")))
}

fn local() -> [IpAddr; 1] {
    ["192.168.1.20".parse().expect("an address")]
}

#[test]
fn the_nat_is_known_by_what_two_servers_see() {
    let (one, other) = ("192.0.2.1:3478", "198.51.100.1:3478");
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    for (answers, expected) in [
        (vec![], None),
        (vec![asked(one, Answer::Silent)], None),
        (vec![seen(one, "192.168.1.20:5000")], Some(Nat::None)),
        (vec![seen(one, "203.0.113.5:5000")], Some(Nat::Unknown(at("203.0.113.5:5000")))),
        // The same server by two names is one witness.
        (
            vec![seen(one, "203.0.113.5:5000"), seen(one, "203.0.113.5:5000")],
            Some(Nat::Unknown(at("203.0.113.5:5000"))),
        ),
        (
            vec![seen(one, "203.0.113.5:5000"), seen(other, "203.0.113.5:5000")],
            Some(Nat::EndpointIndependent(at("203.0.113.5:5000"))),
        ),
        (vec![seen(one, "203.0.113.5:5000"), seen(other, "203.0.113.5:5001")], Some(Nat::AddressDependent)),
        // What is seen by IPv6 says nothing of IPv4.
        (
            vec![seen(one, "203.0.113.5:5000"), seen("[2001:db8::1]:3478", "[2001:db8::9]:7")],
            Some(Nat::Unknown(at("203.0.113.5:5000"))),
        ),
    ] {
        assert_eq!(nat(&local(), &answers), expected, "{answers:?}");
    }
    assert_eq!(Nat::AddressDependent.finding(&local(), false).level, Level::Warning);
    assert_eq!(Nat::AddressDependent.finding(&local(), true).level, Level::Note);
    let shared = ["100.72.3.4".parse().expect("an address")];
    assert!(Nat::AddressDependent.finding(&shared, true).what.contains("provider"));
}

#[test]
fn silence_of_all_is_blocked_udp_and_of_one_a_dead_server() {
    let (one, other) = ("192.0.2.1:3478", "198.51.100.1:3478");
    let silent = |server| asked(server, Answer::Silent);
    for (answers, level, said) in [
        (vec![], Level::Note, "no STUN or TURN server"),
        (vec![seen(one, "203.0.113.5:5000")], Level::Ok, "as 203.0.113.5"),
        (vec![silent(one), silent(other)], Level::Fault, "no server answers by UDP"),
        (vec![silent(one), seen(other, "203.0.113.5:5000")], Level::Warning, "does not answer"),
        (vec![asked(one, Answer::Refused)], Level::Fault, "nothing listens at stun:192.0.2.1:3478"),
        (vec![asked(one, Answer::NoAddress("unknown".into()))], Level::Fault, "has no address (unknown)"),
    ] {
        let found = stun(&answers);
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.what.contains(said), "{found:?}");
    }
}

#[test]
fn a_turn_server_s_refusal_is_told_with_what_to_set_on_it() {
    let turn = |outcome, is_shared| Turn {
        url: "turn:turn.example.org".into(),
        address: "198.51.100.1:3478".parse().ok(),
        user: "ana".into(),
        is_shared,
        outcome,
    };
    let through = |address: &str, passage| Allocation::Lent(address.parse().expect("an address"), passage);
    let lent = |address: &str| through(address, Passage::BothWays);
    let refused = |code| Allocation::Refused(code, "Some words".into());
    for (outcome, is_shared, level, mend) in [
        (lent("198.51.100.1:50000"), false, Level::Ok, ""),
        (lent("10.0.0.4:50000"), false, Level::Fault, "external-ip=198.51.100.1/10.0.0.4"),
        (through("198.51.100.1:50000", Passage::Lost), false, Level::Warning, "ufw allow 49152:65535/udp"),
        (through("198.51.100.1:50000", Passage::Forbidden), false, Level::Ok, ""),
        (refused(401), false, Level::Fault, "turnadmin -a -u ana"),
        (refused(401), true, Level::Fault, "static-auth-secret"),
        (refused(486), false, Level::Fault, "user-quota"),
        (refused(508), false, Level::Fault, "journalctl -u coturn"),
        (Allocation::Silent, false, Level::Fault, "ufw allow 3478"),
        (Allocation::Tls("the authority is unknown".into()), false, Level::Fault, "ca_file"),
        (Allocation::Unsupported, false, Level::Note, ""),
    ] {
        let found = turn(outcome, is_shared).finding(true);
        assert_eq!(found.level, level, "{found:?}");
        assert!(found.mend.join("\n").contains(mend), "{found:?}");
    }
    let lost = turn(through("198.51.100.1:50000", Passage::Lost), false).finding(false);
    assert_eq!(lost.level, Level::Ok, "UDP is blocked here, so that it says nothing of the server");
    assert!(lost.what.contains("was not to be seen from here"), "{lost:?}");
}

#[test]
fn names_that_fail_alone_are_misspelt_and_all_together_are_a_missing_name_server() {
    let name = |host: &str, fault: Option<&str>| (host.to_owned(), fault.map(str::to_owned));
    assert_eq!(names(&[]), None);
    assert_eq!(names(&[name("a", None)]).map(|found| found.level), Some(Level::Ok));
    let one = names(&[name("a", None), name("b", Some("no such host"))]).expect("it is told");
    assert!(one.what.starts_with("b cannot be resolved"), "{one:?}");
    let all = names(&[name("a", Some("x")), name("b", Some("x"))]).expect("it is told");
    assert!(all.what.starts_with("no name"), "{all:?}");
}

#[test]
fn a_taken_port_is_told_with_who_has_it_unless_it_is_us() {
    let port = |taken: Option<&str>, holders: &[(u32, &str)]| Port {
        key: "http.listen",
        at: "0.0.0.0:8080".into(),
        taken: taken.map(str::to_owned),
        holders: holders.iter().map(|(pid, name)| Holder { pid: *pid, name: (*name).into() }).collect(),
    };
    assert_eq!(port(None, &[]).finding().level, Level::Ok);
    assert_eq!(port(Some("in use"), &[(4, "farol")]).finding().level, Level::Ok);
    let taken = port(Some("in use"), &[(812, "lighttpd")]).finding();
    assert_eq!(taken.level, Level::Fault);
    assert!(taken.what.contains("lighttpd (process 812)"), "{taken:?}");
    assert_eq!(taken.mend[0], "sudo ss -lntup 'sport = :8080'");
}
