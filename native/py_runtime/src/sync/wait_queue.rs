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
pub type Ticket = u64;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// The waiting callers of one context. `W` tells one that there is room.
#[derive(Debug)]
pub struct Lobby<W> {
    /// In the order of their tickets.
    waiting: Mutex<VecDeque<(Ticket, W)>>,
    /// How many wait, readable without the lock.
    count: AtomicUsize,
}

impl<W> Default for Lobby<W> {
    fn default() -> Self {
        Lobby { waiting: Mutex::new(VecDeque::new()), count: AtomicUsize::new(0) }
    }
}

impl<W> Lobby<W> {
    /// Whether anybody waits.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Takes a caller in, in the place that `ticket` gives it, or last. Whoever makes room *after*
    /// this will see it: the caller has to look once more whether there is room already.
    pub fn enter(&self, ticket: Option<Ticket>, waiter: W) -> Ticket {
        let mut waiting = self.waiting.lock();
        let ticket = ticket.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        let place = waiting.partition_point(|(other, _)| *other < ticket);
        waiting.insert(place, (ticket, waiter));
        self.count.store(waiting.len(), Ordering::Relaxed);
        ticket
    }

    /// Takes a caller out. `false`: it has been taken out already, to be told.
    pub fn leave(&self, ticket: Ticket) -> bool {
        let mut waiting = self.waiting.lock();
        let place = waiting.binary_search_by_key(&ticket, |(other, _)| *other);
        let is_in = place.ok().and_then(|place| waiting.remove(place)).is_some();
        self.count.store(waiting.len(), Ordering::Relaxed);
        is_in
    }

    /// Takes out the first so many, to be told.
    pub fn admit(&self, most: usize) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        let most = most.min(waiting.len());
        let admitted = waiting.drain(..most).map(|(_, waiter)| waiter).collect();
        self.count.store(waiting.len(), Ordering::Relaxed);
        admitted
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn callers_are_admitted_in_the_order_of_their_tickets() {
        let lobby = Lobby::default();
        let first = lobby.enter(None, 'a');
        lobby.enter(None, 'b');
        lobby.enter(None, 'c');
        assert_eq!(lobby.admit(1), ['a']);
        // It came too late after all, and waits again before the others.
        assert_eq!(lobby.enter(Some(first), 'a'), first);
        assert_eq!(lobby.admit(2), ['a', 'b']);
        assert_eq!(lobby.admit(9), ['c']);
        assert!(lobby.is_empty());
    }

    #[test]
    fn whoever_leaves_is_not_told() {
        let lobby = Lobby::default();
        let tickets = ['a', 'b'].map(|waiter| lobby.enter(None, waiter));
        assert!(lobby.leave(tickets[0]));
        assert!(!lobby.leave(tickets[0]));
        assert_eq!(lobby.admit(9), ['b']);
        assert!(!lobby.leave(tickets[1]), "it has been told");
    }
}
