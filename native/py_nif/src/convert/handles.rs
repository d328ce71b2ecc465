//! What conversion does with objects that have no term. A layer above implements it.

use py_runtime::object::{Attached, Object};
use rustler::sys::{ErlNifEnv, ErlNifTerm};

/// What became of looking for the object behind a handle.
pub(crate) enum HandleLookup {
    /// Here it is.
    Object(Object),
    /// The term is no handle.
    NotAHandle,
    /// It is in another interpreter.
    OtherInterpreter,
    /// Its context has ended.
    Gone,
}

/// Why there is no handle on an object.
pub(crate) enum NoHandle {
    /// The thread is no context's, so there is no table for this object.
    NoContext(Object),
    /// The context has ended.
    ContextEnded,
}

/// The handles of the context whose thread this is, or of a thread that has none.
pub(crate) trait Handles {
    /// A handle on `object`, as a term of `env`.
    ///
    /// # Safety
    /// `env` belongs to the current thread, which is attached to the context's interpreter.
    unsafe fn new_handle(
        &self,
        env: *mut ErlNifEnv,
        object: Object,
    ) -> Result<ErlNifTerm, NoHandle>;

    /// The object behind a handle.
    ///
    /// # Safety
    /// `term` belongs to `env`, and the thread is attached to the context's interpreter.
    unsafe fn find_object(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        term: ErlNifTerm,
    ) -> HandleLookup;

    /// A binary that shares the memory of `object`, if that has so many bytes. `None`: it can't be
    /// shared, and no exception is set.
    ///
    /// # Safety
    /// The thread is attached to the context's interpreter, nobody changes the object's bytes from
    /// now on, and `env` may be written to.
    unsafe fn share(
        &self,
        py: Attached<'_>,
        env: *mut ErlNifEnv,
        object: &Object,
        at_least: usize,
    ) -> Option<ErlNifTerm>;
}
