//! Memory of Python objects that somebody outside reads without a copy.
//!
//! An [`Export`] is a buffer (PEP 3118) of an object, which it keeps alive and in place. The bytes
//! stay valid as long as it lives, also after its context has ended: an interpreter with exports
//! left is not ended but lingers, without a thread, until the last of them has gone. Dropping one,
//! on whatever thread, hands it to the context's mailbox; one that outlived its context is let go of
//! by a thread backstage, which then ends the interpreter too.

use std::mem::MaybeUninit;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3_ffi as ffi;

use crate::backstage::LATE;
use crate::context::Context;
use crate::interpreter::{Interpreter, Vacant, visit_main};
use crate::job::Job;
use crate::mode::Mode;
use crate::object::{Attached, Object};

/// A buffer on its way to a thread that may release it. Dropping it anywhere else leaks it.
pub(crate) struct Buffer(Box<ffi::Py_buffer>);

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buffer").field(&self.0.len).finish()
    }
}

// SAFETY: the structure is only read, or released by `release`, whose caller vouches for the thread.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// # Safety
    /// The thread is attached to the interpreter of the buffer's object.
    pub(crate) unsafe fn release(mut self) {
        // SAFETY: filled in by `PyObject_GetBuffer`, released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}

/// The exports of one context.
#[derive(Debug)]
pub(crate) struct Exports(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Exports that live, wherever they are.
    live: usize,
    fate: Fate,
}

/// Whose the interpreter is.
#[derive(Debug)]
enum Fate {
    /// The context thread's, which will look here before it ends it.
    Served(Vec<Buffer>),
    /// Nobody's: it waits for its last export to go.
    Lingering(Vacant),
    /// It has been ended, or is the main one and stays.
    Over,
}

impl Default for Exports {
    fn default() -> Self {
        Exports(Mutex::new(State { live: 0, fate: Fate::Served(Vec::new()) }))
    }
}

impl Exports {
    /// Counts one in. `false`: the interpreter is, or may be, gone.
    fn add(&self) -> bool {
        let mut state = self.0.lock();
        let open = !matches!(state.fate, Fate::Over);
        state.live += usize::from(open);
        open
    }

    /// Releases one on the context thread, which is attached.
    ///
    /// # Safety
    /// The thread is attached to the context's interpreter.
    pub(crate) unsafe fn release(&self, buffer: Buffer) {
        // SAFETY: passed on to the caller.
        unsafe { buffer.release() };
        self.0.lock().live -= 1;
    }

    /// What has been handed over since the mailbox ended.
    fn late(&self) -> Vec<Buffer> {
        match &mut self.0.lock().fate {
            Fate::Served(late) => std::mem::take(late),
            Fate::Lingering(_) | Fate::Over => Vec::new(),
        }
    }

    /// The context thread is done with its interpreter: `true` if nothing is exported any more, and it
    /// may be ended. Attached.
    fn is_over(&self) -> bool {
        loop {
            for buffer in self.late() {
                // SAFETY: attached, see `settle`.
                unsafe { self.release(buffer) };
            }
            let mut state = self.0.lock();
            match &state.fate {
                Fate::Served(late) if !late.is_empty() => {}
                _ if state.live > 0 => return false,
                _ => {
                    state.fate = Fate::Over;
                    return true;
                }
            }
        }
    }
}

/// Ends the interpreter of a context whose thread is done, or leaves it for its exports.
pub(crate) fn settle<J: Job>(context: &Arc<Context<J>>, interpreter: Interpreter) {
    let exports = context.exports();
    if context.mode() == Mode::Worker {
        // The main interpreter stays.
        let late = match std::mem::replace(&mut exports.0.lock().fate, Fate::Over) {
            Fate::Served(late) => late,
            Fate::Lingering(_) | Fate::Over => Vec::new(),
        };
        // SAFETY: attached, see `Interpreter`.
        late.into_iter().for_each(|buffer| unsafe { exports.release(buffer) });
        return;
    }
    if exports.is_over() {
        return;
    }
    // Without the lock: leaving runs Python code. What is handed over meanwhile is kept for later.
    let Some(vacant) = interpreter.vacate() else { return };
    let fate = std::mem::replace(&mut exports.0.lock().fate, Fate::Lingering(vacant));
    if let Fate::Served(late) = fate {
        late.into_iter().for_each(|buffer| release_late(context, buffer));
    }
}

/// The bytes of an object, readable by anybody as long as this lives.
#[derive(Debug)]
pub struct Export<J: Job> {
    context: Arc<Context<J>>,
    /// Taken by the destructor only.
    buffer: Option<Buffer>,
}

impl<J: Job> Export<J> {
    /// Exports a contiguous buffer of `object`. `None`: it has none (an exception is set), or the
    /// context has ended (none is).
    ///
    /// # Safety
    /// The thread is attached to the context's interpreter, and nobody changes the object's bytes as
    /// long as the export lives.
    pub unsafe fn new(context: &Arc<Context<J>>, _: Attached<'_>, object: &Object) -> Option<Self> {
        if !context.exports().add() {
            return None;
        }
        let mut view = Box::new(MaybeUninit::<ffi::Py_buffer>::zeroed());
        // SAFETY: attached; on success the view is filled in and owns a reference to the object.
        unsafe {
            if ffi::PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ffi::PyBUF_SIMPLE) != 0 {
                context.exports().0.lock().live -= 1;
                return None;
            }
            let view = Box::from_raw(Box::into_raw(view).cast::<ffi::Py_buffer>());
            Some(Export { context: Arc::clone(context), buffer: Some(Buffer(view)) })
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.buffer {
            Some(Buffer(view)) if view.len > 0 => {
                // SAFETY: the view has `len` bytes at `buf` until it is released.
                unsafe { std::slice::from_raw_parts(view.buf.cast(), view.len.unsigned_abs()) }
            }
            _ => &[],
        }
    }
}

impl<J: Job> Drop for Export<J> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take()
            && let Err(buffer) = self.context.release_export(buffer)
        {
            release_late(&self.context, buffer);
        }
    }
}

/// Lets go of one whose context has no thread any more. Any thread; never waits.
fn release_late<J: Job>(context: &Arc<Context<J>>, buffer: Buffer) {
    let mut state = context.exports().0.lock();
    if let Fate::Served(late) = &mut state.fate {
        late.push(buffer);
    } else {
        drop(state);
        let context = Arc::clone(context);
        LATE.run(move || release_lingering(&context, buffer));
    }
}

/// On the thread backstage. The one that lets go of the last ends the interpreter.
fn release_lingering<J: Job>(context: &Arc<Context<J>>, buffer: Buffer) {
    let exports = context.exports();
    let mut state = exports.0.lock();
    match std::mem::replace(&mut state.fate, Fate::Over) {
        Fate::Lingering(vacant) => {
            // Only this thread takes it, so it may be out of its place meanwhile; who comes now waits
            // for this task to be over.
            drop(state);
            // SAFETY: it is the interpreter of the buffer's object.
            vacant.visit(|| unsafe { buffer.release() });
            let mut state = exports.0.lock();
            state.live -= 1;
            if state.live > 0 {
                state.fate = Fate::Lingering(vacant);
            } else {
                drop(state);
                // Entering it makes it end here.
                drop(vacant.enter());
            }
        }
        fate => {
            state.fate = fate;
            drop(state);
            // Of a worker: its interpreter is the main one, which stays.
            // SAFETY: it is the interpreter of the buffer's object.
            unsafe { visit_main(|| buffer.release()) };
        }
    }
}
