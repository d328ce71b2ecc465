//! The thread for what must not be done where it is noticed.
//!
//! A thread can't join itself, and a scheduler must neither wait nor send a thousand replies. Such
//! work is sent here and done in order: the jobs of a closed context are answered before its
//! thread is joined, and only then is its owner told that nothing is left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crossbeam::channel::{Sender, unbounded};

type Task = Box<dyn FnOnce() + Send>;

/// Does `task` soon, after those before it. It may not wait for anything that takes long.
pub(crate) fn run(task: impl FnOnce() + Send + 'static) {
    // Sending can't fail: the receiving thread never ends.
    let _ = tasks().send(Box::new(task));
}

fn tasks() -> &'static Sender<Task> {
    static TASKS: OnceLock<Sender<Task>> = OnceLock::new();
    TASKS.get_or_init(|| {
        let (sender, tasks) = unbounded::<Task>();
        let thread = move || {
            for task in tasks {
                // A task that panics has been reported by the panic hook. The others go on: without
                // this thread no context would ever be seen to end.
                let _ = catch_unwind(AssertUnwindSafe(task));
            }
        };
        std::thread::Builder::new()
            .name("py_backstage".into())
            .spawn(thread)
            .expect("the first context needs a thread to end on");
        sender
    })
}
