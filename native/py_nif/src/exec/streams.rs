//! Iterators step by step, and coroutines side by side.
//!
//! A stream is a handle on an iterator, and each step of it a job of its own that takes a few items
//! and has an end in time: between steps the context serves others.

use std::time::{Duration, Instant};

use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::object::Object;
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_get_list_cell, enif_get_uint64, enif_make_copy,
    enif_make_list_from_array, enif_make_uint64,
};

use super::executor::Executor;
use crate::request::decode::StreamPush;
use crate::request::error::Error;
use crate::term::{TermEnv, atom, local_pid, tuple};
use crate::thread::event_loop::{Asyncio, is_coroutine};

/// How long a step takes items, and how long while other jobs wait.
const MAX_STEP: Duration = Duration::from_millis(1);
const MAX_STEP_WITH_WAITERS: Duration = Duration::from_micros(100);

/// Takes an item of a stream.
type ItemSink<'g, R> = dyn FnMut(&mut R, &Object) -> Result<(), Error> + 'g;

impl<'a> Executor<'a> {
    fn asyncio(&self) -> Result<&'a Asyncio, Error> {
        if let Some(asyncio) = self.local.asyncio.get() {
            return Ok(asyncio);
        }
        let asyncio = Asyncio::new(self.py, self.job.host.interrupt_grace())?;
        // A nested job may have made one meanwhile; then that stays.
        Ok(self.local.asyncio.get_or_init(|| asyncio))
    }

    /// The value; of a coroutine, what it gives in the end.
    pub(super) fn awaited(&mut self, value: Object) -> Result<Object, Error> {
        if !is_coroutine(&value) {
            return Ok(value);
        }
        self.apply_to(&self.asyncio()?.run, &[&value])
    }

    /// `Function(*Args)`.
    fn apply_to(&mut self, function: &Object, arguments: &[&Object]) -> Result<Object, Error> {
        let pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        // SAFETY: attached; live objects, and a null for no keywords.
        let result = unsafe {
            let none = std::ptr::null_mut();
            let value = ffi::PyObject_VectorcallDict(
                function.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                none,
            );
            Object::from_owned(self.py, value)
        };
        self.or_exception(result)
    }

    /// `{deferred, Handle}`: a coroutine that is to run beside others.
    pub(super) fn deferred(
        &mut self,
        reply_env: *mut ErlNifEnv,
        coroutine: Object,
    ) -> Result<ErlNifTerm, Error> {
        self.tagged(reply_env, "deferred", coroutine)
    }

    /// `{ok, Handle}` on an iterator over the value.
    pub(super) fn stream(
        &mut self,
        reply_env: *mut ErlNifEnv,
        value: Object,
    ) -> Result<ErlNifTerm, Error> {
        let value = self.awaited(value)?;
        // SAFETY: attached; a live object has a type.
        let iterator = unsafe {
            let class = ffi::Py_TYPE(value.as_ptr()).cast();
            if ffi::PyObject_HasAttrString(class, c"__aiter__".as_ptr()) == 1 {
                self.apply_to(&self.asyncio()?.steps, &[&value])?
            } else {
                let iterator = Object::from_owned(self.py, ffi::PyObject_GetIter(value.as_ptr()));
                self.or_exception(iterator)?
            }
        };
        self.tagged(reply_env, "ok", iterator)
    }

    /// `{Tag, Handle}`
    fn tagged(
        &mut self,
        reply_env: *mut ErlNifEnv,
        tag: &str,
        object: Object,
    ) -> Result<ErlNifTerm, Error> {
        let handle = self.handle(reply_env, object)?;
        // SAFETY: the reply's environment is this thread's alone.
        Ok(unsafe { tuple(reply_env, &[atom(reply_env, tag), handle]) })
    }

    /// `{ok, {more | done | {error, Reason}, Items}}`: the next items of a stream.
    pub(super) fn stream_next(
        &mut self,
        reply_env: *mut ErlNifEnv,
        stream: ErlNifTerm,
        most: ErlNifTerm,
    ) -> Result<ErlNifTerm, Error> {
        let mut items = Vec::new();
        let state = self.step(stream, most, &mut |run, item| {
            // SAFETY: the reply's environment is this thread's alone.
            items.push(unsafe { run.result(reply_env, item) }?);
            Ok(())
        });
        // SAFETY: the reply's environment is this thread's alone, and the items are its terms.
        unsafe {
            let count = u32::try_from(items.len()).expect("a step is short");
            let items = enif_make_list_from_array(reply_env, items.as_ptr(), count);
            stepped(reply_env, state, items)
        }
    }

    /// `{ok, {more | done | {error, Reason}, Count}}`: the next items of a stream, sent to its
    /// consumer as they come: an item doesn't wait for the next one.
    pub(super) fn stream_push(
        &mut self,
        reply_env: *mut ErlNifEnv,
        StreamPush { stream, most, consumer, tag }: StreamPush,
    ) -> Result<ErlNifTerm, Error> {
        // SAFETY: the request's terms are read-only.
        let to = unsafe { local_pid(self.env, consumer) }.ok_or(Error::Panicked)?;
        let mut count = 0;
        let state = self.step(stream, most, &mut |run, item| {
            let env = TermEnv::new();
            let ptr = env.as_ptr();
            // SAFETY: the new environment is ours; what is sent empties it.
            unsafe {
                let item = run.result(ptr, item)?;
                let event = tuple(ptr, &[atom(ptr, "data"), item]);
                let tag = enif_make_copy(ptr, tag);
                let message = tuple(ptr, &[atom(ptr, "py_stream"), tag, event]);
                // A consumer that has cancelled the stream gets nothing more. No consumer gets an
                // item after the stream's end, which another thread sends when the context dies.
                let mut env = Some(env);
                run.job.control.send_before_reply(&mut || {
                    if let Some(env) = env.take() {
                        env.send(to, message);
                    }
                });
            }
            count += 1;
            Ok(())
        });
        // SAFETY: the reply's environment is this thread's alone.
        unsafe {
            let count = enif_make_uint64(reply_env, count);
            stepped(reply_env, state, count)
        }
    }

    /// Gives the next items to `sink`.
    fn step(
        &mut self,
        stream: ErlNifTerm,
        most: ErlNifTerm,
        sink: &mut ItemSink<'_, Self>,
    ) -> Result<&'static str, Error> {
        let iterator = self.object(stream)?;
        let mut limit = 1;
        // SAFETY: the request's terms are read-only; what is no number leaves the limit as it is.
        unsafe { enif_get_uint64(self.env, most, &raw mut limit) };
        if self.is_steps(&iterator) {
            self.take_async(&iterator, limit, sink)
        } else {
            self.take(&iterator, limit, sink)
        }
    }

    fn is_steps(&self, iterator: &Object) -> bool {
        let class = self.local.asyncio.get().map(|asyncio| asyncio.steps.as_ptr());
        // SAFETY: a live object has a type.
        class == Some(unsafe { ffi::Py_TYPE(iterator.as_ptr()).cast() })
    }

    fn take(
        &mut self,
        iterator: &Object,
        most: u64,
        sink: &mut ItemSink<'_, Self>,
    ) -> Result<&'static str, Error> {
        let began = Instant::now();
        for _ in 0..most {
            // SAFETY: attached; an iterator.
            let item = unsafe { Object::from_owned(self.py, ffi::PyIter_Next(iterator.as_ptr())) };
            let Some(item) = item else {
                // SAFETY: attached.
                let is_end = unsafe { ffi::PyErr_Occurred() }.is_null();
                return if is_end { Ok("done") } else { Err(Exception::take(self.py).into()) };
            };
            sink(self, &item)?;
            let lasted = began.elapsed();
            if lasted > MAX_STEP
                || (lasted > MAX_STEP_WITH_WAITERS && self.job.host.has_waiting_jobs())
            {
                break;
            }
        }
        Ok("more")
    }

    /// An asynchronous one fills a list, which is converted after.
    fn take_async(
        &mut self,
        steps: &Object,
        most: u64,
        sink: &mut ItemSink<'_, Self>,
    ) -> Result<&'static str, Error> {
        // SAFETY: attached; `take` returns a tuple of a list and a bool, whose items are borrowed
        // while it lives.
        unsafe {
            let budget = MAX_STEP.as_secs_f64();
            let taken = ffi::PyObject_CallMethod(
                steps.as_ptr(),
                c"take".as_ptr(),
                c"Kd".as_ptr(),
                most,
                budget,
            );
            let taken = Object::from_owned(self.py, taken);
            let taken = self.or_exception(taken)?;
            let list = ffi::PyTuple_GetItem(taken.as_ptr(), 0);
            for index in 0..ffi::PyList_Size(list) {
                let item = Object::from_borrowed(self.py, ffi::PyList_GetItem(list, index));
                let item = self.or_exception(item)?;
                sink(self, &item)?;
            }
            if ffi::PyTuple_GetItem(taken.as_ptr(), 1) != ffi::Py_True() {
                return Ok("more");
            }
            let outcome =
                ffi::PyObject_CallMethod(steps.as_ptr(), c"outcome".as_ptr(), std::ptr::null());
            let outcome = Object::from_owned(self.py, outcome);
            self.or_exception(outcome)?;
        }
        Ok("done")
    }

    /// Ends a stream before its time: what is left of a generator is closed, so that its `finally`
    /// runs. Other iterators have nothing to end.
    pub(super) fn stream_close(&mut self, stream: ErlNifTerm) -> Result<(), Error> {
        let iterator = self.object(stream)?;
        // SAFETY: attached; a live object.
        let closed = unsafe {
            if !self.is_steps(&iterator) && ffi::PyGen_Check(iterator.as_ptr()) == 0 {
                return Ok(());
            }
            let closed =
                ffi::PyObject_CallMethod(iterator.as_ptr(), c"close".as_ptr(), std::ptr::null());
            Object::from_owned(self.py, closed)
        };
        self.or_exception(closed).map(drop)
    }

    /// `{ok, [{ok, Value} | {error, Reason}]}` of coroutines that were deferred, run side by side.
    pub(super) fn gather(
        &mut self,
        reply_env: *mut ErlNifEnv,
        deferred: ErlNifTerm,
        timeout: ErlNifTerm,
    ) -> Result<ErlNifTerm, Error> {
        let gather = &self.asyncio()?.gather;
        // SAFETY: attached, live objects; the request's terms are read-only, the reply's
        // environment is this thread's alone.
        unsafe {
            let coroutines = Object::from_owned(self.py, ffi::PyList_New(0));
            let coroutines = self.or_exception(coroutines)?;
            let (mut head, mut rest) = (deferred, deferred);
            while enif_get_list_cell(self.env, rest, &raw mut head, &raw mut rest) != 0 {
                let coroutine = self.object(head)?;
                let done = ffi::PyList_Append(coroutines.as_ptr(), coroutine.as_ptr());
                self.or_exception((done == 0).then_some(()))?;
            }
            let mut ms = 0;
            let timeout = if enif_get_uint64(self.env, timeout, &raw mut ms) == 0 {
                Object::none(self.py)
            } else {
                let seconds = Duration::from_millis(ms).as_secs_f64();
                let seconds = Object::from_owned(self.py, ffi::PyFloat_FromDouble(seconds));
                self.or_exception(seconds)?
            };
            let tasks = self.apply_to(gather, &[&coroutines, &timeout])?;
            let mut results = Vec::new();
            for index in 0..ffi::PyList_Size(tasks.as_ptr()) {
                let pair =
                    Object::from_borrowed(self.py, ffi::PyList_GetItem(tasks.as_ptr(), index));
                let pair = self.or_exception(pair)?;
                results.push(self.task_result(reply_env, &pair));
            }
            let count = u32::try_from(results.len()).expect("a request is shorter");
            let results = enif_make_list_from_array(reply_env, results.as_ptr(), count);
            Ok(tuple(reply_env, &[atom(reply_env, "ok"), results]))
        }
    }

    /// # Safety
    /// `pair` is a tuple of a task and a bool; the reply's environment is this thread's alone.
    unsafe fn task_result(&mut self, reply_env: *mut ErlNifEnv, pair: &Object) -> ErlNifTerm {
        // SAFETY: the caller vouches for both; items are borrowed while the tuple lives.
        unsafe {
            if ffi::PyTuple_GetItem(pair.as_ptr(), 1) == ffi::Py_True() {
                return tuple(reply_env, &[atom(reply_env, "error"), atom(reply_env, "timeout")]);
            }
            let task = ffi::PyTuple_GetItem(pair.as_ptr(), 0);
            let value = ffi::PyObject_CallMethod(task, c"result".as_ptr(), std::ptr::null());
            let value = Object::from_owned(self.py, value);
            let term = self.or_exception(value).and_then(|value| self.result(reply_env, &value));
            match term {
                Ok(term) => tuple(reply_env, &[atom(reply_env, "ok"), term]),
                Err(error) => error.to_term(reply_env),
            }
        }
    }
}

/// `{ok, {State, What}}`.
///
/// # Safety
/// `env` belongs to the current thread, `what` to it.
unsafe fn stepped(
    env: *mut ErlNifEnv,
    state: Result<&'static str, Error>,
    what: ErlNifTerm,
) -> Result<ErlNifTerm, Error> {
    // SAFETY: passed on to the caller.
    unsafe {
        let state = match state {
            Ok(state) => atom(env, state),
            // An interrupted stream's consumer wants no items.
            Err(Error::Python(e)) if e.class == "KeyboardInterrupt" => return Err(e.into()),
            Err(error) => error.to_term(env),
        };
        Ok(tuple(env, &[atom(env, "ok"), tuple(env, &[state, what])]))
    }
}
