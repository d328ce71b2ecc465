//! How a context is to be made.

use std::sync::Arc;
use std::time::Duration;

use super::event_loop::LoopOptions;
use super::job::OnCallerDown;
use super::quarantine::Quarantine;
use crate::interpreter::mode::Mode;

/// How a context is to be made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The owner's number for it.
    pub owner_id: u64,
    /// How it gets its Python.
    pub mode: Mode,
    /// How many jobs may wait.
    pub max_queue: usize,
    /// Python sources to run in the new namespace, in order, before the first job.
    pub preload: Vec<Vec<u8>>,
    /// How long the idle thread spins before it sleeps.
    pub spin: Duration,
    /// What becomes of jobs whose callers are gone, unless they have a setting of their own.
    pub on_caller_down: OnCallerDown,
    /// How long an interrupted job may take to end before the context counts as stuck.
    pub stuck_after: Option<Duration>,
    /// How long an interrupted job may clean up before it is interrupted again. Never longer than
    /// `stuck_after`, see [`Config::grace`].
    pub interrupt_grace: Option<Duration>,
    /// How many tasks there may be on its event loop.
    pub max_tasks: usize,
    /// How long a cancelled task may clean up. `None`: for ever.
    pub cancel_grace: Option<Duration>,
    /// The Python module whose `new_event_loop` makes its event loop. `None`: asyncio.
    pub event_loop: Option<String>,
    /// Where its thread is counted if it is stuck.
    pub quarantine: Arc<Quarantine>,
    /// How long a direct run may take, see [`crate::context::direct`].
    pub direct_limit: Duration,
    /// How long callers may wait for capacity in a full queue. `None`: they are refused.
    pub overload_wait: Option<Duration>,
}

impl Config {
    /// How long an interrupted job may clean up before it is interrupted again. `None`: for ever.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        [self.interrupt_grace, self.stuck_after].into_iter().flatten().min()
    }

    /// How its event loop is to be made.
    pub(super) fn loop_options(&self) -> LoopOptions {
        LoopOptions {
            interrupt_grace: self.grace(),
            cancel_grace: self.cancel_grace,
            module: self.event_loop.clone(),
        }
    }
}
