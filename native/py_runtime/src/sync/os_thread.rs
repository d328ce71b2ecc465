//! Threads of the operating system, as this library starts them.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Stack of a thread that runs Python: what CPython itself gives its main thread on Linux. Python's
/// recursion limit and the conversion depth are sized for it. Reserved, not committed.
const PYTHON_STACK: usize = 8 << 20;

/// Starts a thread that runs Python code.
pub fn spawn_python<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).stack_size(PYTHON_STACK).spawn(work)
}

/// Starts a thread that runs no Python code, or only a few lines of ours.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(work)
}
