//! Iterators step by step, and coroutines side by side.
//!
//! A stream is a handle on an iterator, and each step of it a job of its own that takes a few items
//! and has an end in time: between steps the context serves others.

use std::time::Duration;

use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::object::Object;
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_get_list_cell, enif_get_uint64, enif_make_copy,
    enif_make_list_from_array, enif_make_uint64,
};

use super::executor::Executor;
use super::slice::{MAX_SLICE, Slice};
use crate::request::decode::StreamPush;
use crate::request::error::Error;
use crate::term::{TermEnv, atom, local_pid, tuple};
use crate::thread::event_loop::{Asyncio, is_coroutine};

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
        let result = self.asyncio()?.run.call(self.py, [&value]);
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
        let class = value.class_ptr().cast();
        // SAFETY: attached; a live object has a class.
        let iterator = if unsafe { ffi::PyObject_HasAttrString(class, c"__aiter__".as_ptr()) } == 1
        {
            self.asyncio()?.steps.call(self.py, [&value])
        } else {
            // SAFETY: attached; a live object.
            unsafe { Object::from_owned(self.py, ffi::PyObject_GetIter(value.as_ptr())) }
        };
        let iterator = self.or_exception(iterator)?;
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
        let asyncio = self.local.asyncio.get();
        asyncio.is_some_and(|asyncio| iterator.is_instance_exactly(&asyncio.steps))
    }

    fn take(
        &mut self,
        iterator: &Object,
        most: u64,
        sink: &mut ItemSink<'_, Self>,
    ) -> Result<&'static str, Error> {
        let mut slice = Slice::begin();
        for _ in 0..most {
            // SAFETY: attached; an iterator.
            let item = unsafe { Object::from_owned(self.py, ffi::PyIter_Next(iterator.as_ptr())) };
            let Some(item) = item else {
                let has_raised = exception::is_set(self.py);
                return if has_raised { Err(Exception::take(self.py).into()) } else { Ok("done") };
            };
            sink(self, &item)?;
            if slice.is_over(self.job.host) {
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
        // SAFETY: attached; live objects, and the format takes an integer and a number.
        let taken = unsafe {
            let budget = MAX_SLICE.as_secs_f64();
            let taken = ffi::PyObject_CallMethod(
                steps.as_ptr(),
                c"take".as_ptr(),
                c"Kd".as_ptr(),
                most,
                budget,
            );
            Object::from_owned(self.py, taken)
        };
        // A tuple of a list and a bool.
        let taken = self.or_exception(taken)?;
        let list = self.or_exception(taken.tuple_item(self.py, 0))?;
        for index in 0..list.list_size(self.py) {
            let item = self.or_exception(list.list_item(self.py, index))?;
            sink(self, &item)?;
        }
        if !self.or_exception(taken.tuple_item(self.py, 1))?.is_bool(true) {
            return Ok("more");
        }
        self.or_exception(steps.call_method0(self.py, c"outcome"))?;
        Ok("done")
    }

    /// Ends a stream before its time: what is left of a generator is closed, so that its `finally`
    /// runs. Other iterators have nothing to end.
    pub(super) fn stream_close(&mut self, stream: ErlNifTerm) -> Result<(), Error> {
        let iterator = self.object(stream)?;
        // SAFETY: attached; a live object.
        let is_generator = unsafe { ffi::PyGen_Check(iterator.as_ptr()) != 0 };
        if !is_generator && !self.is_steps(&iterator) {
            return Ok(());
        }
        self.or_exception(iterator.call_method0(self.py, c"close")).map(drop)
    }

    /// `{ok, [{ok, Value} | {error, Reason}]}` of coroutines that were deferred, run side by side.
    pub(super) fn gather(
        &mut self,
        reply_env: *mut ErlNifEnv,
        deferred: ErlNifTerm,
        timeout: ErlNifTerm,
    ) -> Result<ErlNifTerm, Error> {
        let gather = &self.asyncio()?.gather;
        let coroutines = self.or_exception(Object::list(self.py))?;
        let (mut head, mut rest) = (deferred, deferred);
        // SAFETY: the request's terms are read-only.
        while unsafe { enif_get_list_cell(self.env, rest, &raw mut head, &raw mut rest) } != 0 {
            let coroutine = self.object(head)?;
            self.or_exception(coroutines.append(self.py, &coroutine))?;
        }
        let mut ms = 0;
        // SAFETY: as above; what is no number is no timeout.
        let timeout = if unsafe { enif_get_uint64(self.env, timeout, &raw mut ms) } == 0 {
            Object::none(self.py)
        } else {
            let seconds = Duration::from_millis(ms).as_secs_f64();
            self.or_exception(Object::float(self.py, seconds))?
        };
        let tasks = self.or_exception(gather.call(self.py, [&coroutines, &timeout]))?;
        let mut results = Vec::new();
        for index in 0..tasks.list_size(self.py) {
            let pair = self.or_exception(tasks.list_item(self.py, index))?;
            // SAFETY: the reply's environment is this thread's alone.
            results.push(unsafe { self.task_result(reply_env, &pair) });
        }
        let count = u32::try_from(results.len()).expect("a request is shorter");
        // SAFETY: as above, and the results are its terms.
        unsafe {
            let results = enif_make_list_from_array(reply_env, results.as_ptr(), count);
            Ok(tuple(reply_env, &[atom(reply_env, "ok"), results]))
        }
    }

    /// The result of a pair of a task and whether it took too long.
    ///
    /// # Safety
    /// The reply's environment is this thread's alone.
    unsafe fn task_result(&mut self, reply_env: *mut ErlNifEnv, pair: &Object) -> ErlNifTerm {
        if pair.tuple_item(self.py, 1).is_some_and(|is_late| is_late.is_bool(true)) {
            // SAFETY: as the caller vouches.
            return unsafe {
                tuple(reply_env, &[atom(reply_env, "error"), atom(reply_env, "timeout")])
            };
        }
        let task = pair.tuple_item(self.py, 0);
        let value = task.and_then(|task| task.call_method0(self.py, c"result"));
        // SAFETY: as the caller vouches.
        unsafe {
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
