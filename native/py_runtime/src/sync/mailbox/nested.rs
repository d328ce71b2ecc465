//! Which job may run while another one waits.

use std::collections::VecDeque;

use super::running::Seq;

/// What the context thread does while its current job waits.
#[derive(Debug, PartialEq, Eq)]
pub enum NestedNext<J, R> {
    /// The waiting job was interrupted: it must not wait on.
    Interrupted,
    /// Run this job nested; it counts as running until
    /// [`Mailbox::end_running`](super::Mailbox::end_running).
    Run(Seq, J),
    /// Handle these control messages first.
    Control(Vec<R>),
    /// Nothing to do, as of this count of events.
    Nothing {
        /// For [`Mailbox::has_event_since`](super::Mailbox::has_event_since) and
        /// [`Mailbox::park_until_event`](super::Mailbox::park_until_event).
        as_of: usize,
        /// Jobs wait that may not run now.
        jobs: bool,
    },
}

/// Which jobs may run while another one waits that may not need them.
#[derive(Clone, Copy, Debug)]
pub enum NestedPolicy<J> {
    /// None.
    None,
    /// Any, in the order of arrival.
    OldestFirst(JobRelation<J>),
    /// Any, beginning with those of the caller that came last.
    NewestFirst(JobRelation<J>),
}

/// What two jobs may have in common.
#[derive(Clone, Copy, Debug)]
pub struct JobRelation<J> {
    /// One caller, whose own order is kept.
    pub same_caller: fn(&J, &J) -> bool,
    /// The same work. A job that does the same as the one that waits will probably wait too, and
    /// runs after jobs that don't.
    pub same_work: fn(&J, &J) -> bool,
}

/// How many of the last jobs are searched for one in particular, under the lock.
const MAX_SEARCHED: usize = 256;

impl<J> NestedPolicy<J> {
    /// The place in the queue of the job to run while `waiting` waits: one that is `needed`, else
    /// what this policy allows.
    pub(super) fn choose(
        &self,
        queue: &VecDeque<(Seq, J)>,
        waiting: Option<&J>,
        needed: impl Fn(&J) -> bool,
    ) -> Option<usize> {
        let recent = queue.len().saturating_sub(MAX_SEARCHED);
        let position = |is_it: &dyn Fn(&J) -> bool| {
            let found = queue.range(recent..).position(|(_, job)| is_it(job));
            found.map(|place| recent + place)
        };
        let differs = |relation: &JobRelation<J>, job: &J| {
            !waiting.is_some_and(|waiting| (relation.same_work)(waiting, job))
        };
        position(&needed).or_else(|| match self {
            NestedPolicy::None => None,
            NestedPolicy::OldestFirst(relation) => {
                let oldest = || queue.iter().take(MAX_SEARCHED);
                let (_, chosen) =
                    oldest().find(|(_, job)| differs(relation, job)).or(oldest().next())?;
                oldest().position(|(_, job)| (relation.same_caller)(job, chosen))
            }
            NestedPolicy::NewestFirst(relation) => {
                let newest = || queue.range(recent..).rev();
                let (_, chosen) =
                    newest().find(|(_, job)| differs(relation, job)).or(newest().next())?;
                position(&|job| (relation.same_caller)(job, chosen))
            }
        })
    }
}
