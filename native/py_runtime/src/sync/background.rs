//! One thread that runs closures in order: for work that must not be done where it is noticed.
//!
//! A thread can't join itself, and a scheduler must neither wait nor send a thousand replies.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crossbeam::channel::{Sender, unbounded};

use super::os_thread;

type Task = Box<dyn FnOnce() + Send>;

/// For what doesn't take long: the jobs of a closed context are answered before its thread is
/// joined, and only then is its owner notified that nothing is left.
pub(crate) static BACKGROUND: SerialExecutor = SerialExecutor { tasks: OnceLock::new() };

/// A thread that is started when it is first needed, and never ends.
pub(crate) struct SerialExecutor {
    tasks: OnceLock<Sender<Task>>,
}

impl SerialExecutor {
    /// Runs `task` soon, after those before it.
    pub(crate) fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        // Sending can't fail: the receiving thread never ends.
        let tasks = self.tasks.get_or_init(|| Self::start().expect("a thread to be had"));
        let _ = tasks.send(Box::new(task));
    }

    /// Starts the thread now, so that a failure can be returned to the caller.
    pub(crate) fn ensure_started(&self) -> io::Result<()> {
        if self.tasks.get().is_none() {
            // Of two that come at once, one's thread finds its channel closed and ends.
            let _ = self.tasks.set(Self::start()?);
        }
        Ok(())
    }

    fn start() -> io::Result<Sender<Task>> {
        let (sender, tasks) = unbounded::<Task>();
        let thread = move || {
            for task in tasks {
                // A task that panics has been reported by the panic hook. The others go on: without
                // this thread no context would ever be seen to end.
                let _ = catch_unwind(AssertUnwindSafe(task));
            }
        };
        os_thread::spawn("py_background", thread)?;
        Ok(sender)
    }
}
