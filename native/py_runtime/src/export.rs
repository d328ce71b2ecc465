//! Memory of Python objects that somebody outside reads without a copy.
//!
//! An [`Export`] is a buffer (PEP 3118) of an object, which it keeps alive and in place. The bytes
//! stay valid as long as it lives, also after its context has ended: an interpreter with exports
//! left is not ended but lingers, without a thread, until the last of them has gone. Dropping one,
//! on whatever thread, hands it to the context's mailbox; those that outlived their context are let
//! go of by a thread which is started for that, and which ends the interpreter after the last. Both
//! run Python code, perhaps for ever, so that no context's exports wait for those of another.

use std::mem::MaybeUninit;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use pyo3_ffi as ffi;

use crate::context::{Context, STACK_SIZE};
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
#[derive(Debug, Default)]
pub(crate) struct Exports(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Exports that live, wherever they are.
    live: usize,
    /// Those of them that were handed over since the mailbox ended.
    late: Vec<Buffer>,
    /// Whether a thread has been started for what is late.
    has_thread: bool,
    fate: Fate,
}

/// Whose the interpreter is.
#[derive(Debug, Default)]
enum Fate {
    /// The context thread's, which will look at what is late before it ends it.
    #[default]
    Served,
    /// Nobody's, or in the hands of the thread for what is late.
    Left(Place),
    /// It has been ended.
    Over,
}

/// Where the objects of a context without a thread are.
#[derive(Debug)]
enum Place {
    /// The main interpreter, which stays.
    Main,
    /// An interpreter that waits for its last export to go.
    Lingering(Vacant),
}

impl Place {
    /// Not attached.
    fn release(&self, buffer: Buffer) {
        // SAFETY: the visits below attach this thread to the interpreter of the buffer's object.
        let release = || unsafe { buffer.release() };
        match self {
            // SAFETY: not attached, says the caller.
            Place::Main => unsafe { visit_main(release) },
            Place::Lingering(vacant) => vacant.visit(release),
        }
    }
}

impl Exports {
    /// Counts one in. `false`: the interpreter is, or may be, gone.
    fn add(&self) -> bool {
        let mut state = self.0.lock();
        let open = matches!(state.fate, Fate::Served);
        state.live += usize::from(open);
        open
    }

    /// How many live.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().live
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

    /// Releases what is late on the context thread, which is attached; the state is after that.
    ///
    /// # Safety
    /// As for [`Exports::release`].
    unsafe fn release_late(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock();
        while let Some(buffer) = state.late.pop() {
            // Without the lock: finalizers are Python code.
            // SAFETY: passed on to the caller.
            MutexGuard::unlocked(&mut state, || unsafe { buffer.release() });
            state.live -= 1;
        }
        state
    }
}

/// Ends the interpreter of a context whose thread is done, or leaves it for its exports.
pub(crate) fn settle<J: Job>(context: &Arc<Context<J>>, interpreter: Interpreter) {
    // SAFETY: attached, see `Interpreter`.
    let mut state = unsafe { context.exports().release_late() };
    if context.mode() == Mode::Worker {
        state.fate = Fate::Left(Place::Main);
        return;
    }
    if state.live == 0 {
        state.fate = Fate::Over;
        return;
    }
    drop(state);
    // Without the lock: leaving runs Python code. What is handed over meanwhile is kept for later.
    let Some(vacant) = interpreter.vacate() else { return };
    let mut state = context.exports().0.lock();
    state.fate = Fate::Left(Place::Lingering(vacant));
    see_to_late(context, state);
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
    state.late.push(buffer);
    see_to_late(context, state);
}

/// Starts the thread for what is late, if there is anything that it may do and it isn't at it.
fn see_to_late<J: Job>(context: &Arc<Context<J>>, mut state: MutexGuard<'_, State>) {
    if state.has_thread || state.late.is_empty() || !matches!(state.fate, Fate::Left(_)) {
        return;
    }
    state.has_thread = true;
    drop(state);
    let shared = Arc::clone(context);
    let thread = std::thread::Builder::new().name("py_late".into()).stack_size(STACK_SIZE);
    if thread.spawn(move || let_go_of_late(shared.exports())).is_err() {
        // The next one that is late tries again.
        context.exports().0.lock().has_thread = false;
    }
}

/// On a thread of its own. With the last export it ends the interpreter, too.
fn let_go_of_late(exports: &Exports) {
    let mut state = exports.0.lock();
    let Fate::Left(place) = std::mem::replace(&mut state.fate, Fate::Over) else { return };
    while let Some(buffer) = state.late.pop() {
        // Who comes now finds that there is a thread, and leaves it to that.
        MutexGuard::unlocked(&mut state, || place.release(buffer));
        state.live -= 1;
    }
    match place {
        Place::Lingering(vacant) if state.live == 0 => {
            drop(state);
            // Entering it makes it end here.
            drop(vacant.enter());
        }
        place => {
            state.fate = Fate::Left(place);
            state.has_thread = false;
        }
    }
}
