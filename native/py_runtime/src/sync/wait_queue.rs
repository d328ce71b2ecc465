//! Callers that wait for room in a full queue, in order.
//!
//! They wait with their arguments in their own heaps: what is here is a number and a way to tell
//! each that its turn has come. It then submits its job like anybody, past those who wait here. If it
//! finds the queue full all the same, it keeps its number, and with it its place.
//!
//! Nothing is reserved for whoever was told, because it may be gone. What that could cost is made up
//! for when the context has nothing to do: then as many are told as there is room.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

use crate::sync::{AtomicUsize, Mutex, Ordering};

/// A place in the order. No two are alike, of whatever contexts: one context may have taken another's
/// place while a caller waited.
pub type WaiterId = u64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The waiting callers of one context. `W` tells one that there is room.
#[derive(Debug)]
pub struct WaitQueue<W> {
    /// In the order of their ids.
    waiting: Mutex<VecDeque<(WaiterId, W)>>,
    /// How many wait, readable without the lock.
    count: AtomicUsize,
}

impl<W> Default for WaitQueue<W> {
    fn default() -> Self {
        WaitQueue { waiting: Mutex::new(VecDeque::new()), count: AtomicUsize::new(0) }
    }
}

impl<W> WaitQueue<W> {
    /// Whether anybody waits.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Takes a caller in, in the place that `id` gives it, or last. Whoever makes room *after*
    /// this will see it: the caller has to look once more whether there is room already.
    pub fn push(&self, id: Option<WaiterId>, waiter: W) -> WaiterId {
        let mut waiting = self.waiting.lock();
        let id = id.unwrap_or_else(|| NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let place = waiting.partition_point(|(other, _)| *other < id);
        waiting.insert(place, (id, waiter));
        self.count.store(waiting.len(), Ordering::Relaxed);
        id
    }

    /// Takes a caller out. `false`: it has been taken out already, to be told.
    pub fn remove(&self, id: WaiterId) -> bool {
        let mut waiting = self.waiting.lock();
        let place = waiting.binary_search_by_key(&id, |(other, _)| *other);
        let is_in = place.ok().and_then(|place| waiting.remove(place)).is_some();
        self.count.store(waiting.len(), Ordering::Relaxed);
        is_in
    }

    /// Takes out the first so many, to be told.
    pub fn pop_many(&self, max: usize) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        let max = max.min(waiting.len());
        let popped = waiting.drain(..max).map(|(_, waiter)| waiter).collect();
        self.count.store(waiting.len(), Ordering::Relaxed);
        popped
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn callers_are_admitted_in_the_order_of_their_tickets() {
        let queue = WaitQueue::default();
        let first = queue.push(None, 'a');
        queue.push(None, 'b');
        queue.push(None, 'c');
        assert_eq!(queue.pop_many(1), ['a']);
        // It came too late after all, and waits again before the others.
        assert_eq!(queue.push(Some(first), 'a'), first);
        assert_eq!(queue.pop_many(2), ['a', 'b']);
        assert_eq!(queue.pop_many(9), ['c']);
        assert!(queue.is_empty());
    }

    #[test]
    fn whoever_leaves_is_not_told() {
        let queue = WaitQueue::default();
        let ids = ['a', 'b'].map(|waiter| queue.push(None, waiter));
        assert!(queue.remove(ids[0]));
        assert!(!queue.remove(ids[0]));
        assert_eq!(queue.pop_many(9), ['b']);
        assert!(!queue.remove(ids[1]), "it has been told");
    }
}
