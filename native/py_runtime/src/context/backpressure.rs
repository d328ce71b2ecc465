//! Waiting for room in a context's queue, where its option says so.

use super::{Admit, Context, Waiter};
use crate::context::job::Job;
use crate::sync::background::SOON;
use crate::sync::mailbox::{Refused, Seq};
use crate::sync::wait_queue::Ticket;

/// What a caller that was refused does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room by now: try again.
    Now,
    /// Wait to be told, once, unless [`Context::give_up_room`] comes first.
    Later(Ticket),
}

impl<J: Job> Context<J> {
    /// Submits the job of a caller that was told of room, past those who still wait for it.
    ///
    /// # Errors
    /// As [`Context::submit`].
    pub fn submit_admitted(&self, job: J) -> Result<Seq, Refused<J>> {
        if self.config.ward.is_full() {
            return Err(Refused::Quarantined(job));
        }
        match self.mailbox.push(job) {
            Err(Refused::Closed(job)) => match self.successor() {
                Some(successor) => successor.submit_admitted(job),
                None => Err(Refused::Closed(job)),
            },
            submitted => submitted,
        }
    }

    /// Has the caller wait for room, in its old place if it has a ticket.
    pub fn await_room(&self, ticket: Option<Ticket>, admit: Admit) -> Room {
        let ticket = self.lobby.enter(ticket, Waiter(admit));
        // Room that was made before that was told to nobody.
        let is_room = self.mailbox.waiting() < self.config.max_queue || self.mailbox.is_closed();
        if is_room && self.lobby.leave(ticket) { Room::Now } else { Room::Later(ticket) }
    }

    /// The caller doesn't wait any longer. `false`: it has been told, or is about to be.
    pub fn give_up_room(&self, ticket: Ticket) -> bool {
        self.lobby.leave(ticket)
    }

    /// A caller that was told doesn't want its room any more: the next one may.
    pub fn pass_room_on(&self) {
        self.admit_soon(1);
    }

    /// Tells the first of those who wait. Any thread that isn't a scheduler.
    pub(super) fn admit(&self, most: usize) {
        if !self.lobby.is_empty() {
            self.lobby.admit(most).into_iter().for_each(|Waiter(admit)| admit());
        }
    }

    /// As `admit`, for whatever thread.
    pub(super) fn admit_soon(&self, most: usize) {
        if !self.lobby.is_empty() {
            let admitted = self.lobby.admit(most);
            SOON.run(move || admitted.into_iter().for_each(|Waiter(admit)| admit()));
        }
    }
}
