//! What the thread knows of its event loop, which is the job type's.

use std::os::fd::RawFd;
use std::time::Duration;

/// How a context's event loop is to be made.
#[derive(Clone, Debug)]
pub struct LoopOptions {
    /// How long an interrupted coroutine may clean up, where it runs on a loop of its own. `None`:
    /// for ever.
    pub interrupt_grace: Option<Duration>,
    /// How long a cancelled task may clean up. `None`: for ever.
    pub cancel_grace: Option<Duration>,
    /// The module whose `new_event_loop` makes it. `None`: asyncio.
    pub module: Option<String>,
}

/// How a thread waits for its event loop.
#[derive(Clone, Copy, Debug)]
pub enum LoopWait {
    /// The loop wants a turn when the descriptor is readable.
    Poll {
        /// The descriptor.
        fd: RawFd,
        /// The loop wants a turn after this long. Zero: at once. `None`: no time is set.
        at_most: Option<Duration>,
    },
    /// Nothing is known of the loop, which waits by itself in its [turns](super::job::Job::turn).
    InLoop,
}

impl LoopWait {
    /// Whether the loop wants a turn now, as far as is known.
    pub(super) fn is_due(self) -> bool {
        match self {
            LoopWait::Poll { at_most, .. } => at_most.is_some_and(|time| time.is_zero()),
            LoopWait::InLoop => true,
        }
    }
}
