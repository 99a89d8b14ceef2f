//! Until when may media leave that was handed over?
//!
//! Until it is withheld, as for privacy, or whoever sends it has ended, as with a viewer's right. What waits somewhere
//! by then is thrown away where it waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Whose permits are given: all end with it, or when media is withheld.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Counts how often media was withheld.
    pub withheld: Arc<AtomicU64>,
    /// Gone when the sender is.
    pub is_there: Weak<()>,
}

impl Source {
    /// From now on.
    pub fn permit(&self) -> Permit {
        Permit { source: self.clone(), times: self.withheld.load(Ordering::Relaxed) }
    }
}

/// Holds until media is withheld once more, or the sender is gone.
#[derive(Clone, Debug)]
pub struct Permit {
    source: Source,
    times: u64,
}

impl Permit {
    /// Whether it still may.
    pub fn holds(&self) -> bool {
        let Source { withheld, is_there } = &self.source;
        withheld.load(Ordering::Relaxed) == self.times && is_there.strong_count() > 0
    }
}
