//! What waits until the broker takes it?
//!
//! Messages to viewers wait in order, up to a number; more means that the broker is too slow. What is to be kept on
//! a topic waits once for each topic, in the place of what it replaces: a device with many viewers lights as many
//! offers in one go, and over a slow uplink only the newest of each is of use.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Order, Publication};

/// Room for messages that nobody keeps.
const MESSAGES: usize = 256;
/// Room for topics: twice as many as `farol pair` makes viewers, and each costs some kilobytes at most.
const TOPICS: usize = 2048;

/// The queue between the daemon and the connection's task. Its lock is held for moments, and by nobody else.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<Queue>,
    stirred: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    places: VecDeque<Place>,
    /// What is to be kept, by its topic.
    retained: HashMap<String, Publication>,
    messages: usize,
    is_closing: bool,
}

#[derive(Debug)]
enum Place {
    Message(Publication),
    Retained(String),
}

/// There is no room for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Waiting {
    /// Takes a publication.
    pub(super) fn push(&self, publication: Publication) -> Result<(), Full> {
        self.queue().push(publication)?;
        self.stirred.notify_one();
        Ok(())
    }

    /// When everything that waits is taken, [`Order::Close`] follows.
    pub(super) fn close(&self) {
        self.queue().is_closing = true;
        self.stirred.notify_one();
    }

    /// Drops what waits.
    pub(super) fn clear(&self) {
        let mut queue = self.queue();
        *queue = Queue { is_closing: queue.is_closing, ..Queue::default() };
    }

    /// The next order, once there is one. Nothing is lost when the waiting is given up.
    pub(super) async fn next(&self) -> Order {
        loop {
            let next = self.queue().pop();
            match next {
                Some(order) => return order,
                None => self.stirred.notified().await,
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, publication: Publication) -> Result<(), Full> {
        if !publication.retain {
            if self.messages == MESSAGES {
                return Err(Full);
            }
            self.messages += 1;
            self.places.push_back(Place::Message(publication));
            return Ok(());
        }
        let is_full = self.retained.len() == TOPICS;
        match self.retained.entry(publication.topic.clone()) {
            Entry::Occupied(mut older) => {
                older.insert(publication);
            }
            Entry::Vacant(_) if is_full => return Err(Full),
            Entry::Vacant(place) => {
                self.places.push_back(Place::Retained(place.key().clone()));
                place.insert(publication);
            }
        }
        Ok(())
    }

    fn pop(&mut self) -> Option<Order> {
        while let Some(place) = self.places.pop_front() {
            let publication = match place {
                Place::Message(publication) => {
                    self.messages -= 1;
                    Some(publication)
                }
                Place::Retained(topic) => self.retained.remove(&topic),
            };
            if let Some(publication) = publication {
                return Some(Order::Publish(publication));
            }
        }
        self.is_closing.then_some(Order::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(topic: &str, payload: String, retain: bool) -> Publication {
        Publication { topic: topic.into(), payload: payload.into(), retain, expiry: None }
    }

    fn taken(queue: &mut Queue) -> Vec<String> {
        let text = |order| match order {
            Order::Publish(Publication { topic, payload, .. }) => {
                format!("{topic} {}", String::from_utf8_lossy(&payload))
            }
            Order::Close => "close".to_string(),
        };
        let next = || queue.pop().filter(|order| !matches!(order, Order::Close)).map(text);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_kept_waits_once_for_each_topic_and_in_its_first_place() {
        let mut queue = Queue::default();
        for (topic, payload, retain) in
            [("status", "old", true), ("out", "1", false), ("offer", "1", true), ("out", "2", false)]
        {
            assert_eq!(queue.push(publication(topic, payload.into(), retain)), Ok(()));
        }
        for newer in 0..10_000 {
            assert_eq!(queue.push(publication("status", format!("new {newer}"), true)), Ok(()));
        }
        assert_eq!(taken(&mut queue), ["status new 9999", "out 1", "offer 1", "out 2"]);
        assert_eq!(queue.push(publication("status", "later".into(), true)), Ok(()));
        assert_eq!(taken(&mut queue), ["status later"]);
    }

    #[test]
    fn messages_and_topics_have_room_of_their_own_and_no_more() {
        let mut queue = Queue::default();
        for number in 0..TOPICS {
            assert_eq!(queue.push(publication(&format!("offer/{number}"), "x".into(), true)), Ok(()));
        }
        assert_eq!(queue.push(publication("offer/more", "x".into(), true)), Err(Full));
        assert_eq!(queue.push(publication("offer/7", "newer".into(), true)), Ok(()));
        for number in 0..MESSAGES {
            assert_eq!(queue.push(publication("out", number.to_string(), false)), Ok(()));
        }
        assert_eq!(queue.push(publication("out", "more".into(), false)), Err(Full));
        assert_eq!(taken(&mut queue).len(), TOPICS + MESSAGES);
        assert_eq!(queue.push(publication("out", "more".into(), false)), Ok(()));
    }

    #[test]
    fn closing_comes_behind_everything_that_waits() {
        let waiting = Waiting::default();
        waiting.close();
        waiting.push(publication("out", "bye".into(), false)).expect("there is room");
        let mut queue = waiting.queue();
        assert!(matches!(queue.pop(), Some(Order::Publish(_))));
        assert!(matches!(queue.pop(), Some(Order::Close)));
    }
}
