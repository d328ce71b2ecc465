//! Threads for what must not be done where it is noticed.
//!
//! A thread can't join itself, and a scheduler must neither wait nor send a thousand replies. Such
//! work is sent here and done in order.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crossbeam::channel::{Sender, unbounded};

use crate::sync::os_thread;

type Task = Box<dyn FnOnce() + Send>;

/// For what doesn't take long: the jobs of a closed context are answered before its thread is
/// joined, and only then is its owner told that nothing is left.
pub(crate) static SOON: Backstage = Backstage::new("py_backstage");

/// A thread that is started when it is first needed, and never ends.
pub(crate) struct Backstage {
    name: &'static str,
    tasks: OnceLock<Sender<Task>>,
}

impl Backstage {
    const fn new(name: &'static str) -> Self {
        Backstage { name, tasks: OnceLock::new() }
    }

    /// Does `task` soon, after those before it.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) {
        // Sending can't fail: the receiving thread never ends.
        let tasks = self.tasks.get_or_init(|| self.start().expect("a thread to be had"));
        let _ = tasks.send(Box::new(task));
    }

    /// Starts the thread if need be, where it can still be an error that there is none to be had.
    pub(crate) fn be_ready(&self) -> io::Result<()> {
        if self.tasks.get().is_none() {
            // Of two that come at once, one's thread finds its channel closed and ends.
            let _ = self.tasks.set(self.start()?);
        }
        Ok(())
    }

    fn start(&self) -> io::Result<Sender<Task>> {
        let (sender, tasks) = unbounded::<Task>();
        let thread = move || {
            for task in tasks {
                // A task that panics has been reported by the panic hook. The others go on: without
                // this thread no context would ever be seen to end.
                let _ = catch_unwind(AssertUnwindSafe(task));
            }
        };
        os_thread::spawn(self.name, thread)?;
        Ok(sender)
    }
}
