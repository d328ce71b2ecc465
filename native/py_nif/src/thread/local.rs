//! What the jobs of one context share on its thread.

use std::cell::{Cell, OnceCell, RefCell};

use py_runtime::code;
use py_runtime::context::LoopOptions;
use py_runtime::exception::Exception;
use py_runtime::object::{Attached, Object};

use super::code_cache::CodeCache;
use super::event_loop::{EventLoop, is_coroutine};
use super::loop_slot::LoopSlot;
use super::name_cache::NameCache;
use super::process_namespaces::ProcessNamespaces;
use super::tasks::Tasks;
use crate::convert::Types;
use crate::erlang_types::Classes;

/// What the jobs of one context share on its thread. While a job waits for an Erlang function,
/// others run nested, so a cell that is borrowed while Python code may run can't be borrowed by
/// them.
pub(crate) struct Local {
    pub(crate) types: Types,
    pub(crate) names: NameCache,
    pub(crate) code: RefCell<CodeCache>,
    /// The event loop, once there was a coroutine.
    pub(crate) event_loop: OnceCell<EventLoop>,
    loop_options: LoopOptions,
    /// What runs on it. Dropped after it.
    pub(crate) tasks: Tasks,
    /// The namespaces of processes.
    pub(crate) processes: ProcessNamespaces,
    /// Where code of the context's own namespace that is no coroutine has its event loop.
    pub(crate) loop_slot: LoopSlot,
    /// Scratch space for arguments, empty between calls. Taken while it is in use.
    pub(crate) arguments: Cell<Vec<Object>>,
}

impl Local {
    pub(crate) fn new(classes: Classes, sources: Object, loop_options: LoopOptions) -> Self {
        Local {
            types: Types::new(classes),
            names: NameCache::default(),
            code: RefCell::new(CodeCache::new(sources)),
            event_loop: OnceCell::new(),
            loop_options,
            tasks: Tasks::default(),
            processes: ProcessNamespaces::default(),
            loop_slot: LoopSlot::default(),
            arguments: Cell::default(),
        }
    }

    /// Runs the context's preload code.
    pub(crate) fn preload(
        &self,
        py: Attached<'_>,
        source: &[u8],
        namespace: &Object,
    ) -> Result<(), Exception> {
        let code = self.code.borrow_mut().preload(py, source)?;
        let done = code::run(py, &code, namespace, namespace);
        let value = done.ok_or_else(|| Exception::take(py))?;
        if is_coroutine(&value) {
            let run = &self.event_loop(py)?.run_first;
            run.call1(py, &value).ok_or_else(|| Exception::take(py))?;
        }
        Ok(())
    }

    /// The event loop, made at need.
    pub(crate) fn event_loop(&self, py: Attached<'_>) -> Result<&EventLoop, Exception> {
        if let Some(event_loop) = self.event_loop.get() {
            return Ok(event_loop);
        }
        let event_loop = EventLoop::new(py, &self.loop_options)?;
        // A nested job may have made one meanwhile; then that stays.
        Ok(self.event_loop.get_or_init(|| event_loop))
    }
}
