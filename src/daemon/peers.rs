//! Which peer connections there are, and what is being done with them.
//!
//! Opening one, applying an answer and restarting ICE take milliseconds on a desk and more on a small
//! board. They run as tasks, so that frames go on meanwhile, and come back as [`Done`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::IceServer;
use crate::engine::message::Candidate;
use crate::engine::station::Input;
use crate::io::peer::{Peer, PeerError, PeerEvent, PeerSettings};
use crate::units::PeerId;

/// Room for what peer connections say. When it is full, they wait, except with what repeats itself.
const EVENTS: usize = 256;

/// Work on a peer connection takes milliseconds, on a small board that is busy seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The result of work on a peer connection, or why there is none.
pub(super) enum Done {
    Opened(PeerId, Result<(Arc<Peer>, String), String>),
    Answered(PeerId, Result<(), String>),
    Restarted(PeerId, Result<String, String>),
    /// Nothing more is to be said of it.
    Finished,
}

/// What comes from the peer connections.
pub(super) enum News {
    Done(Done),
    Said(PeerId, PeerEvent),
}

/// The peer connections.
pub(super) struct Peers {
    settings: Arc<PeerSettings>,
    /// `None` while it is being opened.
    open: BTreeMap<PeerId, Option<Arc<Peer>>>,
    /// Those whose answer is being applied, and whether they connected meanwhile.
    answering: BTreeMap<PeerId, bool>,
    work: JoinSet<Done>,
    said: mpsc::Receiver<(PeerId, PeerEvent)>,
    say: mpsc::Sender<(PeerId, PeerEvent)>,
}

impl Peers {
    pub(super) fn new(settings: PeerSettings) -> Self {
        let (say, said) = mpsc::channel(EVENTS);
        Peers {
            settings: Arc::new(settings),
            open: BTreeMap::new(),
            answering: BTreeMap::new(),
            work: JoinSet::new(),
            said,
            say,
        }
    }

    /// What comes next; what is done on a peer connection is heard before what it says.
    pub(super) async fn next(&mut self) -> News {
        loop {
            tokio::select! {
                biased;
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => return News::Done(done),
                    Err(cause) => log::error!(cause:%; "work on a peer connection was cut short"),
                },
                Some((peer, event)) = self.said.recv() => return News::Said(peer, event),
            }
        }
    }

    /// What a result means to the station.
    pub(super) fn take_done(&mut self, done: Done) -> Vec<Input> {
        match done {
            Done::Answered(peer, Ok(())) => {
                let connected = self.answering.remove(&peer) == Some(true);
                let mut inputs = vec![Input::AnswerApplied(peer)];
                inputs.extend(connected.then_some(Input::PeerConnected(peer)));
                inputs
            }
            Done::Answered(peer, Err(reason)) => {
                self.answering.remove(&peer);
                vec![Input::AnswerFailed { peer, reason }]
            }
            done => self.take_other(done).into_iter().collect(),
        }
    }

    /// Whether it may be told that a peer connection is connected. On a fast network that happens before
    /// the answer is wholly applied, and media cannot start before that: then it is told afterwards.
    pub(super) fn may_tell_connected(&mut self, peer: PeerId) -> bool {
        match self.answering.get_mut(&peer) {
            Some(connected) => {
                *connected = true;
                false
            }
            None => true,
        }
    }

    fn take_other(&mut self, done: Done) -> Option<Input> {
        match done {
            Done::Opened(peer, Ok((connection, sdp))) => match self.open.get_mut(&peer) {
                Some(place) => {
                    *place = Some(connection);
                    Some(Input::PeerOffered { peer, sdp })
                }
                // It was given up while it was being opened.
                None => {
                    self.end(connection);
                    None
                }
            },
            Done::Opened(peer, Err(reason)) => {
                let known = self.open.contains_key(&peer);
                known.then_some(Input::PeerOfferFailed { peer, reason })
            }
            Done::Restarted(peer, Ok(sdp)) => Some(Input::PeerOffered { peer, sdp }),
            Done::Restarted(peer, Err(reason)) => Some(Input::PeerOfferFailed { peer, reason }),
            Done::Answered(..) | Done::Finished => None,
        }
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Arc<Peer>> {
        self.open.get(&peer).and_then(Option::as_ref)
    }

    /// With these servers, whatever the settings say.
    pub(super) fn open(&mut self, peer: PeerId, ice_servers: Vec<IceServer>) {
        let settings = PeerSettings { ice_servers, ..(*self.settings).clone() };
        self.open_with(peer, Arc::new(settings));
    }

    /// Opens one that is not a viewer's.
    pub(super) fn open_with(&mut self, peer: PeerId, settings: Arc<PeerSettings>) {
        self.open.insert(peer, None);
        let say = self.say.clone();
        self.work.spawn(async move {
            let opened = in_time(PATIENCE, async move { Peer::offer(peer, &settings, say).await }).await;
            Done::Opened(peer, opened.map(|(connection, sdp)| (Arc::new(connection), sdp)))
        });
    }

    pub(super) fn answer(&mut self, peer: PeerId, sdp: String) {
        if let Some(connection) = self.get(peer).cloned() {
            self.answering.insert(peer, false);
            let answer = in_time(PATIENCE, async move { connection.answer(&sdp).await });
            self.work.spawn(async move { Done::Answered(peer, answer.await) });
        }
    }

    pub(super) fn add_candidate(&mut self, peer: PeerId, candidate: Candidate) {
        if let Some(connection) = self.get(peer).cloned() {
            self.work.spawn(async move {
                if let Err(cause) = connection.add_candidate(&candidate).await {
                    log::debug!(peer:%, cause:%; "left a viewer's candidate out");
                }
                Done::Finished
            });
        }
    }

    pub(super) fn restart(&mut self, peer: PeerId, servers: Vec<IceServer>) {
        if let Some(connection) = self.get(peer).cloned() {
            let restart = in_time(PATIENCE, async move {
                if let Err(cause) = connection.use_servers(&servers).await {
                    log::debug!(peer:%, cause:%; "ICE restarts with the servers that it had");
                }
                connection.restart().await
            });
            self.work.spawn(async move { Done::Restarted(peer, restart.await) });
        }
    }

    pub(super) fn close(&mut self, peer: PeerId) {
        self.answering.remove(&peer);
        if let Some(connection) = self.open.remove(&peer).flatten() {
            self.end(connection);
        }
    }

    /// Waits until what is closing is closed.
    pub(super) async fn close_all(mut self) {
        let open: Vec<PeerId> = self.open.keys().copied().collect();
        for peer in open {
            self.close(peer);
        }
        while self.work.join_next().await.is_some() {}
    }

    fn end(&mut self, connection: Arc<Peer>) {
        // Work that is under way holds it too; then it closes by itself when that is done.
        if let Some(connection) = Arc::into_inner(connection) {
            self.work.spawn(async move {
                connection.close().await;
                Done::Finished
            });
        }
    }
}

/// Does work in a task of its own, so that a panic in it, and an end that never comes, are failures like any other:
/// nobody waits for what is never told.
async fn in_time<T: Send + 'static>(
    patience: Duration,
    work: impl Future<Output = Result<T, PeerError>> + Send + 'static,
) -> Result<T, String> {
    let mut task = JoinSet::new();
    task.spawn(work);
    match timeout(patience, task.join_next()).await {
        Ok(Some(Ok(result))) => result.map_err(|cause| cause.to_string()),
        Ok(Some(Err(_)) | None) => Err("it was cut short, which is a bug in farol".to_string()),
        Err(_) => Err(format!("it did not end in {} s", patience.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_is_cut_short_or_never_ends_has_failed() {
        let long = Duration::from_secs(60);
        let panics = in_time(long, async { panic!("as the library may") });
        let cut_short: Result<(), String> = panics.await;
        assert!(cut_short.is_err_and(|reason| reason.contains("cut short")));
        let never = in_time(Duration::from_millis(20), std::future::pending()).await;
        let never: Result<(), String> = never;
        assert!(never.is_err_and(|reason| reason.contains("did not end")));
        assert_eq!(in_time(long, async { Ok(7) }).await, Ok(7));
    }
}
