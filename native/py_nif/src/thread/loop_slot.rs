//! The loop that `asyncio.get_event_loop()` returns outside of coroutines: each process has an
//! event loop of its own in a context, as a script has one in its main thread, and so has the
//! context itself.

use std::cell::OnceCell;

use py_runtime::exception;
use py_runtime::object::{Attached, Object};

/// Where Python code keeps a loop: a list of the current one and the one that was made for this,
/// each of them None at first. See `follow_events` in `prelude.py`.
#[derive(Default)]
pub(crate) struct LoopSlot(OnceCell<Object>);

impl LoopSlot {
    /// The list, made at need. `None`: exception set.
    pub(crate) fn list(&self, py: Attached<'_>) -> Option<Object> {
        if let Some(list) = self.0.get() {
            return Some(list.clone_ref(py));
        }
        let list = Object::list(py)?;
        for _ in 0..2 {
            list.append(py, &Object::none(py))?;
        }
        Some(self.0.get_or_init(|| list).clone_ref(py))
    }
}

/// Closes the loop that was made here. A loop that runs or is closed raises, which is ignored.
impl Drop for LoopSlot {
    fn drop(&mut self) {
        let Some(list) = self.0.get() else { return };
        // SAFETY: dropped attached, as every `Object` is.
        let py = unsafe { Attached::assume() };
        // Python code may have changed the list.
        let made = list.list_item(py, 1);
        drop(made.and_then(|made| made.call_method0(py, c"close")));
        exception::clear(py);
    }
}
