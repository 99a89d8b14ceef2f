//! Why is there no connection to the broker, in words that say what to do?

use std::error::Error;
use std::io::{self, ErrorKind};

use rumqttc::{
    ConnectReturnCode as Code, ConnectionError, DisconnectReasonCode, Error as MqttError, StateError,
    SubscribeReasonCode, TlsError as ClientTlsError,
};
use rustls::CertificateError;

use super::login::{LoginError, Named};
use crate::config::Broker;
use crate::engine::doctor::broker::Trouble;
use crate::io::tls::TlsError;

/// Why an attempt to connect failed, or a connection ended.
#[derive(Debug)]
pub(super) enum Fault {
    /// The password cannot be read.
    Login(LoginError),
    /// Certificates cannot be read or used.
    Tls(TlsError),
    /// The MQTT client gave up.
    Mqtt { phase: Phase, source: ConnectionError },
    /// The broker refused a subscription.
    Subscription { filter: String, code: SubscribeReasonCode },
    /// The broker is silent after SUBSCRIBE.
    NoSubAck,
    /// A filter of ours is not a topic filter.
    BadFilter,
    /// The publications that wait for the broker are too many.
    TooSlow,
    /// The board no longer has the address that the connection went by.
    AddressGone,
    /// The runtime is shutting down.
    Stopping,
}

/// How far the connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Subscribing,
    Up,
}

impl Fault {
    /// Of which kind it is, for who knows what mends each.
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Fault::Login(_) | Fault::Tls(_) => Trouble::OurFiles,
            Fault::Subscription { .. } | Fault::BadFilter => Trouble::Subscription,
            Fault::Mqtt { phase: Phase::Connecting, source } => trouble_of(source),
            Fault::Mqtt { .. } | Fault::NoSubAck | Fault::TooSlow | Fault::AddressGone | Fault::Stopping => {
                Trouble::Other
            }
        }
    }

    /// What happened, to which broker, and what to do about it. Never the password.
    pub(super) fn in_words(&self, broker: &Broker) -> String {
        let at = address(broker);
        let who = Named(broker.login.as_ref());
        match self {
            Fault::Login(error) => error.to_string(),
            Fault::Tls(error) => error.to_string(),
            Fault::Mqtt { phase: Phase::Connecting, source } => connecting(source, broker),
            Fault::Mqtt { source, .. } => ended(source, &at),
            Fault::Subscription { filter, code: SubscribeReasonCode::NotAuthorized } => format!(
                "the broker {at} refuses {who} the subscription to {filter}: not authorized; \
                 allow it in the broker's ACL, in Mosquitto's acl_file: topic read {filter}"
            ),
            Fault::Subscription { filter, code } => {
                format!("the broker {at} refuses the subscription to {filter}: {code:?}")
            }
            Fault::NoSubAck => format!("the broker {at} took the connection but does not answer SUBSCRIBE"),
            Fault::BadFilter => "a subscription of ours is not a topic filter; this is a defect".to_owned(),
            Fault::TooSlow => format!(
                "the broker {at} takes messages too slowly: 256 wait for it; \
                 look at its load and the network between"
            ),
            Fault::AddressGone => format!(
                "the board's address that the connection to the broker {at} went by is gone; it is made anew"
            ),
            Fault::Stopping => "the program is stopping".to_owned(),
        }
    }
}

fn trouble_of(error: &ConnectionError) -> Trouble {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            Code::BadUserNamePassword | Code::NotAuthorized => Trouble::Password,
            Code::RetainNotSupported | Code::QoSNotSupported => Trouble::Unfit,
            _ => Trouble::Other,
        },
        ConnectionError::Timeout(_) => Trouble::Unreachable,
        ConnectionError::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Trouble::NothingListens,
            _ if error.to_string().contains("failed to lookup address") => Trouble::NoSuchName,
            _ => rustls_error(error).map_or(Trouble::Unreachable, trouble_of_tls),
        },
        ConnectionError::Tls(ClientTlsError::Io(error)) => {
            rustls_error(error).map_or(Trouble::TlsMismatch, trouble_of_tls)
        }
        ConnectionError::Tls(ClientTlsError::TLS(error)) => trouble_of_tls(error),
        ConnectionError::MqttState(state) => match io_error(state).and_then(rustls_error) {
            Some(error) => trouble_of_tls(error),
            None => Trouble::TlsMismatch,
        },
        _ => Trouble::Other,
    }
}

fn trouble_of_tls(error: &rustls::Error) -> Trouble {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Trouble::UnknownAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Trouble::WrongName
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Trouble::CertificateTime,
            _ => Trouble::UnknownAuthority,
        },
        _ => Trouble::TlsMismatch,
    }
}

/// `host:port`, with brackets around an IPv6 address (RFC 3986 §3.2.2).
fn address(broker: &Broker) -> String {
    match broker.host.contains(':') {
        true => format!("[{}]:{}", broker.host, broker.port),
        false => format!("{}:{}", broker.host, broker.port),
    }
}

fn connecting(error: &ConnectionError, broker: &Broker) -> String {
    let at = address(broker);
    match error {
        ConnectionError::ConnectionRefused(code) => refused(*code, broker),
        ConnectionError::Timeout(_) => {
            format!("the broker {at} does not answer; is the address right, does a firewall drop packets?")
        }
        ConnectionError::Io(error) => unreachable(error, broker),
        ConnectionError::Tls(ClientTlsError::Io(error)) => match rustls_error(error) {
            Some(error) => untrusted(error, broker),
            None => format!("the TLS handshake with {at} broke off ({error}); is it a TLS port?"),
        },
        ConnectionError::Tls(ClientTlsError::TLS(error)) => untrusted(error, broker),
        ConnectionError::Tls(ClientTlsError::DNSName(_)) => {
            format!("{} is not a host name that a certificate can be for", broker.host)
        }
        ConnectionError::MqttState(state) => no_connack(state, broker),
        other => format!("cannot connect to the broker {at}: {other}"),
    }
}

/// The broker said no (MQTT 5 §3.2.2.2).
fn refused(code: Code, broker: &Broker) -> String {
    let (at, who) = (address(broker), Named(broker.login.as_ref()));
    match code {
        Code::BadUserNamePassword => format!(
            "the broker {at} does not know {who}, or the password is wrong; \
             compare with the broker's password file"
        ),
        Code::NotAuthorized => format!(
            "the broker {at} refuses {who}: not authorized; \
             check user name and password, and who may connect"
        ),
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => {
            format!("the broker {at} does not speak MQTT 5; Mosquitto does since 1.6")
        }
        Code::Banned => format!("the broker {at} has banned this device"),
        Code::ServerBusy | Code::ServerUnavailable | Code::ServiceUnavailable => {
            format!("the broker {at} is busy or shutting down")
        }
        Code::QuotaExceeded | Code::ConnectionRateExceeded => {
            format!("the broker {at} says that a limit is exceeded: {code:?}; look at its connection limits")
        }
        Code::PacketTooLarge => {
            format!("the broker {at} finds the CONNECT too large; raise its packet limit")
        }
        Code::RetainNotSupported => {
            format!("the broker {at} keeps no retained messages, which the standing offer needs; allow them")
        }
        Code::QoSNotSupported => format!("the broker {at} does not take QoS 1; allow it"),
        code => format!("the broker {at} refuses the connection: {code:?}"),
    }
}

fn unreachable(error: &io::Error, broker: &Broker) -> String {
    let at = address(broker);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens at {at}; is the broker running, and is the port right?")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("the broker {at} cannot be reached ({error}); check the network and the address")
        }
        // The standard library gives look-up failures no kind of their own.
        _ if error.to_string().contains("failed to lookup address") => {
            format!("the broker's name {} cannot be resolved ({error}); check it and the DNS", broker.host)
        }
        _ => format!("cannot connect to the broker {at}: {error}"),
    }
}

/// TCP, and TLS if configured, are there, but the broker did not answer CONNECT.
fn no_connack(error: &StateError, broker: &Broker) -> String {
    let at = address(broker);
    if let Some(tls) = io_error(error).and_then(rustls_error) {
        return untrusted(tls, broker);
    }
    let advice = match broker.tls {
        Some(_) => "does the broker want a client certificate?",
        None => "is it a TLS port (then mqtts://), or not MQTT 5?",
    };
    match error {
        StateError::Deserialization(MqttError::Io(error)) => {
            format!("the broker {at} broke off before it answered ({error}); {advice}")
        }
        StateError::ConnectionAborted => format!("the broker {at} closed before it answered; {advice}"),
        error => format!("what answers at {at} is not an MQTT 5 broker ({error}); {advice}"),
    }
}

fn untrusted(error: &rustls::Error, broker: &Broker) -> String {
    let at = address(broker);
    let authorities = match broker.tls.as_ref().and_then(|tls| tls.ca_file.as_ref()) {
        Some(file) => format!("the authorities in {}", file.display()),
        None => "the system's authorities".to_owned(),
    };
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            // A bad signature: an authority that was made anew under its old name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the certificate of {at} was not issued by {authorities}; \
                 set ca_file to the certificate of the authority that issued it"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                "the certificate of {at} is not for {}; use a name that is in it ({certificate})",
                broker.host
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate of {at} has expired; renew it, and check this board's clock")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                format!("the certificate of {at} is not valid yet; check this board's clock")
            }
            other => format!("the certificate of {at} cannot be trusted: {other}"),
        },
        rustls::Error::InvalidMessage(_) => format!("{at} does not speak TLS; use the broker's TLS port"),
        rustls::Error::AlertReceived(alert) => {
            format!("the broker {at} refuses our side of TLS ({alert:?}); does it want a client certificate?")
        }
        other => format!("no TLS with the broker {at}: {other}"),
    }
}

/// The connection was there and ended.
fn ended(error: &ConnectionError, at: &str) -> String {
    let ConnectionError::MqttState(state) = error else {
        return format!("lost the broker {at}: {error}");
    };
    match state {
        StateError::ServerDisconnect { reason_code, reason_string } => {
            let said = reason_string.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
            match reason_code {
                DisconnectReasonCode::SessionTakenOver => format!(
                    "another connection with our client id took over at the broker {at}{said}; \
                     is the device id in use twice?"
                ),
                DisconnectReasonCode::ServerShuttingDown => format!("the broker {at} is shutting down{said}"),
                code => format!("the broker {at} ended the connection: {code:?}{said}"),
            }
        }
        StateError::AwaitPingResp => format!("the broker {at} stopped answering"),
        StateError::ConnectionAborted => closed(at),
        StateError::OutgoingPacketTooLarge { pkt_size, max } => format!(
            "the broker {at} takes packets of at most {max} bytes and a message of ours has {pkt_size}; \
             raise its limit (Mosquitto: max_packet_size)"
        ),
        StateError::RetainNotSupported => {
            format!("the broker {at} keeps no retained messages, which the standing offer needs; allow them")
        }
        state => match io_error(state) {
            // The same, found out while something was written.
            Some(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                closed(at)
            }
            Some(error) => format!("lost the broker {at}: {error}"),
            None => format!("lost the broker {at}: {state}"),
        },
    }
}

fn closed(at: &str) -> String {
    format!(
        "the broker {at} closed the connection without a reason; its log has it \
         (it stopped, or a second client has our client id)"
    )
}

fn io_error(error: &StateError) -> Option<&io::Error> {
    match error {
        StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)) => Some(error),
        _ => None,
    }
}

/// What rustls said, from within the IO error that carries it.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
