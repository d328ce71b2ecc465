//! What the jobs of one context share on its thread.

use std::cell::{Cell, OnceCell, RefCell};

use py_runtime::code;
use py_runtime::exception::Exception;
use py_runtime::object::{Attached, Object};

use super::code_cache::CodeCache;
use super::event_loop::Asyncio;
use super::loop_slot::LoopSlot;
use super::name_cache::NameCache;
use super::process_namespaces::ProcessNamespaces;
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
    pub(crate) asyncio: OnceCell<Asyncio>,
    /// The namespaces of processes.
    pub(crate) processes: ProcessNamespaces,
    /// The event loop of code that runs in the context's own namespace.
    pub(crate) event_loop: LoopSlot,
    /// Scratch space for arguments, empty between calls. Taken while it is in use.
    pub(crate) arguments: Cell<Vec<Object>>,
}

impl Local {
    pub(crate) fn new(classes: Classes, sources: Object) -> Self {
        Local {
            types: Types::new(classes),
            names: NameCache::default(),
            code: RefCell::new(CodeCache::new(sources)),
            asyncio: OnceCell::new(),
            processes: ProcessNamespaces::default(),
            event_loop: LoopSlot::default(),
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
        done.map(drop).ok_or_else(|| Exception::take(py))
    }
}
