//! What follows from what in an uplink's life: the states, the legal events, what each makes the device do.
//!
//! ```text
//!            Wanted            Offered             Gathered, Due          Created              Connected
//!  Resting ─────────▶ Opening ─────────▶ Gathering ─────────────▶ Posting ─────────▶ Connecting ─────────▶ Live
//!     ▲                  ▲                                          │                                      │ ▲
//!     │ Unwanted         │ Due                             Unwanted │                         Silent, Moved │ │ Connected
//!     └──── any      Waiting ◀──── whatever fails                   ▼                                      ▼ │
//!                        ▲───────────────────────────────────── Leaving                             Restarting
//! ```
//!
//! `Leaving` waits for the response to an offer that was already posted: what the server made of it must be
//! deleted. A combination that is not in [`step`] changes nothing.

/// Where an uplink stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing is to be sent there.
    Resting,
    /// After a fault, until the next attempt.
    Waiting,
    /// A peer connection is being opened.
    Opening,
    /// It has an offer, and looks for candidates for a moment.
    Gathering,
    /// The offer is with the server.
    Posting,
    /// The offer is with the server, and nobody wants what it makes of it any more.
    Leaving,
    /// The answer has come; ICE and DTLS are under way.
    Connecting,
    /// Media flows.
    Live,
    /// The path is lost, and another is sought for the same session.
    Restarting,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// It is to be connected.
    Wanted,
    /// It is not, any more.
    Unwanted,
    /// The time in this state is over.
    Due,
    /// The peer connection has made an offer.
    Offered,
    /// It could not.
    OpenFailed,
    /// All local candidates are known.
    Gathered,
    /// The server has made a session and answered.
    Created,
    /// The server has not.
    Refused,
    /// The peer connection took the answer.
    Applied,
    /// It could not.
    NotApplied,
    /// DTLS is up, or ICE has a pair again.
    Connected,
    /// The server has not been heard for a while.
    Silent,
    /// The board's addresses have changed.
    Moved,
    /// The peer connection is closed or broken.
    Lost,
    /// The server took the ICE restart.
    Restarted,
    /// It did not, and the session may be there still.
    NotRestarted,
    /// The server does not know the session any more.
    Gone,
}

/// What a step makes the device do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a peer connection.
    Open,
    /// Wait a moment for candidates.
    Gather,
    /// Post the offer.
    Post,
    /// Hand the answer to the peer connection.
    Apply,
    /// Send the candidates that the server does not have.
    Trickle,
    /// Let media flow.
    Start,
    /// The path is good again.
    Resume,
    /// Make an offer with new ICE credentials.
    Restart,
    /// Send those credentials.
    Patch,
    /// Delete the session at the server.
    Delete,
    /// Close the peer connection.
    Close,
    /// Say what failed, and when it is tried again.
    Retry,
    /// Forget what failed.
    Rest,
}

/// The transition table: the next state and what to do, or `None` where the event is out of place.
pub fn step(state: State, event: Event) -> Option<(State, &'static [Action])> {
    use Action::*;
    use Event as E;
    use State::*;
    Some(match (state, event) {
        (Resting, E::Wanted) => (Opening, &[Open]),

        (Waiting, E::Due) => (Opening, &[Open]),
        (Waiting, E::Unwanted) => (Resting, &[Rest]),

        (Opening, E::Offered) => (Gathering, &[Gather]),
        (Opening, E::OpenFailed | E::Lost | E::Due) => (Waiting, &[Close, Retry]),
        (Opening, E::Unwanted) => (Resting, &[Close, Rest]),

        (Gathering, E::Gathered | E::Due) => (Posting, &[Post]),
        (Gathering, E::Lost) => (Waiting, &[Close, Retry]),
        (Gathering, E::Unwanted) => (Resting, &[Close, Rest]),

        (Posting, E::Created) => (Connecting, &[Apply]),
        (Posting, E::Refused) => (Waiting, &[Delete, Close, Retry]),
        (Posting, E::Unwanted | E::Lost) => (Leaving, &[Close]),

        (Leaving, E::Created | E::Refused) => (Waiting, &[Delete, Retry]),

        (Connecting, E::Applied) => (Connecting, &[Trickle]),
        (Connecting, E::Connected) => (Live, &[Start]),
        (Connecting, E::NotApplied | E::Lost | E::Due) => (Waiting, &[Delete, Close, Retry]),
        (Connecting, E::Gone) => (Waiting, &[Close, Retry]),
        (Connecting, E::Unwanted) => (Resting, &[Delete, Close, Rest]),

        (Live, E::Silent | E::Moved) => (Restarting, &[Restart]),
        (Live, E::Lost) => (Waiting, &[Delete, Close, Retry]),
        (Live, E::Gone) => (Waiting, &[Close, Retry]),
        (Live, E::Unwanted) => (Resting, &[Delete, Close, Rest]),

        (Restarting, E::Offered) => (Restarting, &[Patch]),
        (Restarting, E::Restarted) => (Restarting, &[Apply]),
        (Restarting, E::Applied) => (Restarting, &[Trickle]),
        (Restarting, E::Connected) => (Live, &[Resume]),
        (Restarting, E::NotRestarted | E::OpenFailed | E::NotApplied | E::Lost | E::Due) => {
            (Waiting, &[Delete, Close, Retry])
        }
        (Restarting, E::Gone) => (Waiting, &[Close, Retry]),
        (Restarting, E::Unwanted) => (Resting, &[Delete, Close, Rest]),

        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    const STATES: [State; 9] = [
        State::Resting,
        State::Waiting,
        State::Opening,
        State::Gathering,
        State::Posting,
        State::Leaving,
        State::Connecting,
        State::Live,
        State::Restarting,
    ];
    const EVENTS: [Event; 17] = [
        Event::Wanted,
        Event::Unwanted,
        Event::Due,
        Event::Offered,
        Event::OpenFailed,
        Event::Gathered,
        Event::Created,
        Event::Refused,
        Event::Applied,
        Event::NotApplied,
        Event::Connected,
        Event::Silent,
        Event::Moved,
        Event::Lost,
        Event::Restarted,
        Event::NotRestarted,
        Event::Gone,
    ];

    #[test]
    fn the_whole_transition_table() {
        let mut table = String::new();
        for state in STATES {
            for event in EVENTS {
                if let Some((next, actions)) = step(state, event) {
                    writeln!(table, "{state:?} + {event:?} => {next:?} {actions:?}").expect("a String");
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn whoever_rests_or_waits_has_let_go_of_the_peer_connection() {
        let holding = [
            State::Opening,
            State::Gathering,
            State::Posting,
            State::Connecting,
            State::Live,
            State::Restarting,
        ];
        for (state, event) in holding.into_iter().flat_map(|state| EVENTS.map(|event| (state, event))) {
            if let Some((State::Resting | State::Waiting | State::Leaving, actions)) = step(state, event) {
                assert!(actions.contains(&Action::Close), "{state:?} + {event:?}");
            }
        }
    }

    #[test]
    fn session_at_the_server_is_deleted_unless_it_is_gone() {
        for (state, event) in [State::Connecting, State::Live, State::Restarting]
            .into_iter()
            .flat_map(|state| EVENTS.map(|event| (state, event)))
        {
            if let Some((State::Resting | State::Waiting, actions)) = step(state, event) {
                assert_eq!(actions.contains(&Action::Delete), event != Event::Gone, "{state:?} + {event:?}");
            }
        }
    }
}
