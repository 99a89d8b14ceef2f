//! One viewer's negotiation: the states, the legal events, and what each makes the device do.
//!
//! We always offer. A session begins when a viewer's first authentic message names it, and it has one
//! peer connection: either the standing offer's, which it won by answering first, or one of its own.
//!
//! ```text
//!             Hello, AnswerLost, AnswerStale            AnswerOwn
//!      New ─────────────────────────────▶ Offering ─────────────────▶ Connecting ──▶ Streaming
//!       │                                    │    AnswerStanding          ▲ │            │
//!       └────────────────────────────────────┼────────────────────────────┘ │            │
//!             AnswerStanding                 ▼                              ▼            ▼
//!                                          Ended ◀──────────────────────────┴────────────┘
//! ```
//!
//! This file only says what follows from what; `roster` keeps the sessions and `station` acts. A
//! combination that is not in [`step`] is ignored and counted.

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Known by its id, nothing granted.
    New,
    /// It has an offer of its own that it has not answered; that lives 30 s.
    Offering,
    /// Its answer is with the peer connection; it has 30 s to connect.
    Connecting,
    /// Media flows.
    Streaming,
    /// Over. The id and its counters are remembered, so that nothing can be replayed into it.
    Ended,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// `hello`, and there is a place.
    Hello,
    /// A valid `answer` to the standing offer, the first one, and there is a place.
    AnswerStanding,
    /// An `answer` to an offer that another session won, and there is a place.
    AnswerLost,
    /// An `answer` to an offer that is no longer lit, and there is a place.
    AnswerStale,
    /// A valid `answer` to the session's own offer or reoffer.
    AnswerOwn,
    /// An `answer` whose digest or revision is not the offer's.
    AnswerInvalid,
    /// `hello` or `answer`, but no place or no right.
    Refused,
    /// `candidates` for the offer that it answered.
    Candidates,
    /// `restart`.
    Restart,
    /// The path to it is gone: the board's address that it used, or every sign of life.
    PathLost,
    /// `bye`.
    Bye,
    /// The peer connection took the answer.
    Applied,
    /// The peer connection could not take the answer.
    NotApplied,
    /// No peer connection could be opened for it.
    OfferFailed,
    /// DTLS is up.
    Connected,
    /// DTLS closed, or ICE consent was lost (RFC 7675).
    Lost,
    /// Its time in the state is over.
    Expired,
    /// The device ends it: replaced, revoked, full, shutdown.
    Dismissed,
}

/// What a step makes the device do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a peer connection for this session alone and send its offer when there is one.
    OpenOwn,
    /// Send the pending offer again.
    RepeatOwn,
    /// Close the pending offer's peer connection.
    DropOwn,
    /// The standing offer's peer connection is this session's now; light the next offer.
    TakeStanding,
    /// Hand the answer to the peer connection.
    Apply,
    /// `accept`.
    Accept,
    /// `reject` with the code that the caller knows.
    Reject,
    /// Hand candidates to the peer connection.
    AddCandidates,
    /// Let media flow, as far as the rights go.
    StartMedia,
    /// Give up a `reoffer` that is unanswered: it may name addresses that are gone.
    DropReoffer,
    /// Make a `reoffer` with new ICE credentials, or send the unanswered one again.
    RestartIce,
    /// Close the peer connection.
    Close,
    /// `bye` with the reason that the caller knows.
    SayBye,
}

/// The transition table: the next state and what to do, or `None` where the event is out of place.
pub fn step(state: State, event: Event) -> Option<(State, &'static [Action])> {
    use Action::*;
    use Event as E;
    use State::*;
    Some(match (state, event) {
        (New, E::Hello | E::AnswerLost | E::AnswerStale) => (Offering, &[OpenOwn]),
        (New, E::AnswerStanding) => (Connecting, &[TakeStanding, Apply]),
        (New, E::AnswerInvalid) => (New, &[Reject]),
        (New, E::Refused) => (Ended, &[Reject]),
        (New, E::Bye | E::Dismissed) => (Ended, &[]),

        (Offering, E::Hello | E::AnswerLost | E::AnswerStale) => (Offering, &[RepeatOwn]),
        (Offering, E::AnswerOwn) => (Connecting, &[Apply]),
        (Offering, E::AnswerStanding) => (Connecting, &[DropOwn, TakeStanding, Apply]),
        (Offering, E::AnswerInvalid) => (Offering, &[Reject]),
        (Offering, E::Refused) => (Ended, &[DropOwn, Reject]),
        (Offering, E::Bye) => (Ended, &[DropOwn]),
        (Offering, E::OfferFailed | E::Lost | E::Expired | E::Dismissed) => (Ended, &[DropOwn, SayBye]),

        (Connecting, E::Applied) => (Connecting, &[Accept]),
        (Connecting, E::NotApplied) => (Ended, &[Close, Reject]),
        (Connecting, E::Candidates) => (Connecting, &[AddCandidates]),
        (Connecting, E::Connected) => (Streaming, &[StartMedia]),
        (Connecting, E::Bye) => (Ended, &[Close]),
        (Connecting, E::Lost | E::Expired | E::Dismissed) => (Ended, &[Close, SayBye]),

        (Streaming, E::Candidates) => (Streaming, &[AddCandidates]),
        (Streaming, E::Restart) => (Streaming, &[RestartIce]),
        (Streaming, E::PathLost) => (Streaming, &[DropReoffer, RestartIce]),
        (Streaming, E::AnswerOwn) => (Streaming, &[Apply]),
        (Streaming, E::AnswerInvalid) => (Streaming, &[Reject]),
        (Streaming, E::Applied) => (Streaming, &[Accept]),
        (Streaming, E::NotApplied) => (Ended, &[Close, Reject]),
        // ICE found another pair after a restart; the media never stopped.
        (Streaming, E::Connected) => (Streaming, &[]),
        (Streaming, E::Bye) => (Ended, &[Close]),
        (Streaming, E::Lost | E::Dismissed) => (Ended, &[Close, SayBye]),

        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const STATES: [State; 5] =
        [State::New, State::Offering, State::Connecting, State::Streaming, State::Ended];
    const EVENTS: [Event; 18] = [
        Event::Hello,
        Event::AnswerStanding,
        Event::AnswerLost,
        Event::AnswerStale,
        Event::AnswerOwn,
        Event::AnswerInvalid,
        Event::Refused,
        Event::Candidates,
        Event::Restart,
        Event::PathLost,
        Event::Bye,
        Event::Applied,
        Event::NotApplied,
        Event::OfferFailed,
        Event::Connected,
        Event::Lost,
        Event::Expired,
        Event::Dismissed,
    ];

    #[test]
    fn the_whole_transition_table() {
        let mut table = String::new();
        for state in STATES {
            for event in EVENTS {
                let row = match step(state, event) {
                    None => "-".to_string(),
                    Some((next, actions)) => format!("{next:?} {actions:?}"),
                };
                writeln!(table, "{state:?} + {event:?} => {row}").expect("a String takes everything");
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn every_way_into_the_end_lets_go_of_the_peer_connection() {
        for event in EVENTS {
            for (state, closing) in [
                (State::Offering, Action::DropOwn),
                (State::Connecting, Action::Close),
                (State::Streaming, Action::Close),
            ] {
                if let Some((State::Ended, actions)) = step(state, event) {
                    assert!(actions.contains(&closing), "{state:?} + {event:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_wakes_an_ended_session() {
        assert!(EVENTS.iter().all(|event| step(State::Ended, *event).is_none()));
    }
}
