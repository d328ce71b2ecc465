//! Callers that wait for capacity in a full queue, first in, first out.
//!
//! They wait with their arguments in their own heaps: an entry here is a number and a function that
//! wakes the caller. A caller that is woken submits its job before those that still wait here. If
//! it finds the queue full all the same, it keeps its number, and with it its place.
//!
//! Nothing is reserved for a caller that was woken, because it may be gone. When the context has
//! nothing to do, as many callers are woken as there is capacity, so that none waits for one that
//! is gone.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

use crate::sync::{AtomicUsize, Mutex, Ordering};

/// A waiting caller's number, which is its place in the order. Unique among all contexts: one
/// context may take another's place while a caller waits.
pub type WaiterId = u64;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The waiting callers of one context. `W` wakes one.
#[derive(Debug)]
pub struct WaitQueue<W> {
    /// In the order of their numbers.
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
    /// Whether no caller waits.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Adds a caller, in the place that `id` gives it, or last. A thread that frees capacity
    /// *after* this finds the caller: so the caller has to check once more whether there is
    /// capacity already.
    pub fn push(&self, id: Option<WaiterId>, waiter: W) -> WaiterId {
        let mut waiting = self.waiting.lock();
        let id = id.unwrap_or_else(|| NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let place = waiting.partition_point(|(other, _)| *other < id);
        waiting.insert(place, (id, waiter));
        self.count.store(waiting.len(), Ordering::Relaxed);
        id
    }

    /// Removes a caller. `false`: it has been removed already, to be woken.
    pub fn remove(&self, id: WaiterId) -> bool {
        let mut waiting = self.waiting.lock();
        let place = waiting.binary_search_by_key(&id, |(other, _)| *other);
        let was_in = place.ok().and_then(|place| waiting.remove(place)).is_some();
        self.count.store(waiting.len(), Ordering::Relaxed);
        was_in
    }

    /// Removes the first ones, `max` at most, to be woken.
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
    fn callers_are_woken_in_the_order_of_their_numbers() {
        let queue = WaitQueue::default();
        let first = queue.push(None, 'a');
        queue.push(None, 'b');
        queue.push(None, 'c');
        assert!(!queue.is_empty());
        assert_eq!(queue.pop_many(1), ['a']);
        // It came too late after all, and waits again before the others.
        assert_eq!(queue.push(Some(first), 'a'), first);
        assert_eq!(queue.pop_many(2), ['a', 'b']);
        assert_eq!(queue.pop_many(9), ['c']);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_caller_that_was_removed_is_not_woken() {
        let queue = WaitQueue::default();
        let ids = ['a', 'b'].map(|waiter| queue.push(None, waiter));
        assert!(queue.remove(ids[0]));
        assert!(!queue.remove(ids[0]));
        assert_eq!(queue.pop_many(9), ['b']);
        assert!(!queue.remove(ids[1]), "it has been woken");
    }
}
