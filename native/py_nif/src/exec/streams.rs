//! Iterators step by step.
//!
//! A stream is a handle on an iterator, and each step of it a job of its own that takes a few items
//! and has an end in time: between steps the context serves others.

use py_runtime::exception::{self, Exception};
use py_runtime::ffi;
use py_runtime::object::Object;
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_get_list_cell, enif_get_uint64, enif_make_copy,
    enif_make_list_from_array, enif_make_uint64,
};

use super::Reply;
use super::executor::Executor;
use super::slice::{MAX_SLICE, Slice};
use crate::request::decode::StreamPush;
use crate::request::error::Error;
use crate::term::{TermEnv, atom, local_pid, tuple};
use crate::thread::event_loop::EventLoop;

/// Takes an item of a stream.
type ItemSink<'g, R> = dyn FnMut(&mut R, &Object) -> Result<(), Error> + 'g;

impl<'a> Executor<'a> {
    fn event_loop(&self) -> Result<&'a EventLoop, Error> {
        Ok(self.local.event_loop(self.py)?)
    }

    /// What a coroutine gives in the end. Where the job can't wait as a task: an outer one waits,
    /// in which it is nested.
    pub(super) fn awaited(&mut self, coroutine: &Object) -> Result<Object, Error> {
        let result = self.event_loop()?.run.call1(self.py, coroutine);
        self.or_exception(result)
    }

    /// `{deferred, Handle}`: a coroutine that is to run beside others.
    pub(super) fn deferred(
        &mut self,
        reply_env: *mut ErlNifEnv,
        coroutine: Object,
    ) -> Result<ErlNifTerm, Error> {
        let handle = self.handle(reply_env, coroutine)?;
        // SAFETY: the reply's environment is this thread's alone.
        Ok(unsafe { tuple(reply_env, &[atom(reply_env, "deferred"), handle]) })
    }

    /// Runs coroutines that were deferred side by side.
    pub(super) fn gather(&mut self, deferred: ErlNifTerm) -> Result<Reply, Error> {
        let coroutines = self.or_exception(Object::list(self.py))?;
        let (mut head, mut rest) = (deferred, deferred);
        // SAFETY: the request's terms are read-only.
        while unsafe { enif_get_list_cell(self.env, rest, &raw mut head, &raw mut rest) } != 0 {
            let coroutine = self.object(head)?;
            self.or_exception(coroutines.append(self.py, &coroutine))?;
        }
        let gathering = self.event_loop()?.gather.call1(self.py, &coroutines);
        self.or_exception(gathering).map(Reply::Awaits)
    }

    /// `{ok, [{ok, Value} | {error, Reason}]}` of a list of tasks that have ended.
    pub(super) fn gathered(
        &mut self,
        reply_env: *mut ErlNifEnv,
        tasks: &Object,
    ) -> Result<ErlNifTerm, Error> {
        let mut results = Vec::new();
        for index in 0..tasks.list_size(self.py) {
            let task = self.or_exception(tasks.list_item(self.py, index))?;
            let value = task.call_method0(self.py, c"result");
            let value = self.or_exception(value);
            // SAFETY: the reply's environment is this thread's alone.
            results.push(unsafe {
                match value.and_then(|value| self.result(reply_env, &value)) {
                    Ok(term) => tuple(reply_env, &[atom(reply_env, "ok"), term]),
                    Err(error) => error.to_term(reply_env),
                }
            });
        }
        let count = u32::try_from(results.len()).expect("a request is shorter");
        // SAFETY: as above, and the results are its terms.
        unsafe {
            let results = enif_make_list_from_array(reply_env, results.as_ptr(), count);
            Ok(tuple(reply_env, &[atom(reply_env, "ok"), results]))
        }
    }

    /// `{ok, Handle}` on an iterator over the value.
    pub(super) fn stream(
        &mut self,
        reply_env: *mut ErlNifEnv,
        value: &Object,
    ) -> Result<ErlNifTerm, Error> {
        let class = value.class_ptr().cast();
        // SAFETY: attached; a live object has a class.
        let iterator = if unsafe { ffi::PyObject_HasAttrString(class, c"__aiter__".as_ptr()) } == 1
        {
            let is_blocked = Object::bool(self.py, !self.job.control.may_become_task());
            self.event_loop()?.steps.call(self.py, [value, &is_blocked])
        } else {
            // SAFETY: attached; a live object.
            unsafe { Object::from_owned(self.py, ffi::PyObject_GetIter(value.as_ptr())) }
        };
        let iterator = self.or_exception(iterator)?;
        let handle = self.handle(reply_env, iterator)?;
        // SAFETY: the reply's environment is this thread's alone.
        Ok(unsafe { tuple(reply_env, &[atom(reply_env, "ok"), handle]) })
    }

    /// `{ok, {more | done | {error, Reason}, Items}}`: the next items of a stream.
    pub(super) fn stream_next(
        &mut self,
        reply_env: *mut ErlNifEnv,
        stream: ErlNifTerm,
        most: ErlNifTerm,
    ) -> Result<Reply, Error> {
        let (iterator, limit) = (self.object(stream)?, self.limit(most));
        if self.is_steps(&iterator) {
            return self.take_async(&iterator, limit);
        }
        self.next_items(reply_env, |run, sink| run.take(&iterator, limit, sink)).map(Reply::Term)
    }

    /// The same for items that an asynchronous iterator has given.
    pub(super) fn items_taken(
        &mut self,
        reply_env: *mut ErlNifEnv,
        taken: &Object,
    ) -> Result<ErlNifTerm, Error> {
        self.next_items(reply_env, |run, sink| run.give(taken, sink))
    }

    fn next_items(
        &mut self,
        reply_env: *mut ErlNifEnv,
        take: impl FnOnce(&mut Self, &mut ItemSink<'_, Self>) -> Result<&'static str, Error>,
    ) -> Result<ErlNifTerm, Error> {
        let mut items = Vec::new();
        let state = take(self, &mut |run, item| {
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
        push: StreamPush,
    ) -> Result<Reply, Error> {
        let (iterator, limit) = (self.object(push.stream)?, self.limit(push.most));
        if self.is_steps(&iterator) {
            return self.take_async(&iterator, limit);
        }
        self.push_items(reply_env, push, |run, sink| run.take(&iterator, limit, sink))
            .map(Reply::Term)
    }

    /// The same for items that an asynchronous iterator has given.
    pub(super) fn items_to_push(
        &mut self,
        reply_env: *mut ErlNifEnv,
        push: StreamPush,
        taken: &Object,
    ) -> Result<ErlNifTerm, Error> {
        self.push_items(reply_env, push, |run, sink| run.give(taken, sink))
    }

    fn push_items(
        &mut self,
        reply_env: *mut ErlNifEnv,
        StreamPush { consumer, tag, .. }: StreamPush,
        take: impl FnOnce(&mut Self, &mut ItemSink<'_, Self>) -> Result<&'static str, Error>,
    ) -> Result<ErlNifTerm, Error> {
        // SAFETY: the request's terms are read-only.
        let to = unsafe { local_pid(self.env, consumer) }.ok_or(Error::Panicked)?;
        let mut count = 0;
        let state = take(self, &mut |run, item| {
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

    /// How many items are wanted.
    fn limit(&self, most: ErlNifTerm) -> u64 {
        let mut limit = 1;
        // SAFETY: the request's terms are read-only; what is no number leaves the limit as it is.
        unsafe { enif_get_uint64(self.env, most, &raw mut limit) };
        limit
    }

    fn is_steps(&self, iterator: &Object) -> bool {
        let event_loop = self.local.event_loop.get();
        event_loop.is_some_and(|event_loop| iterator.is_instance_exactly(&event_loop.steps))
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

    /// The next items of an asynchronous iterator, as a coroutine if the job can wait for it.
    fn take_async(&mut self, steps: &Object, limit: u64) -> Result<Reply, Error> {
        let is_task = self.is_on_tasks_loop(steps)?;
        // SAFETY: attached; live objects, and the format takes an integer and a number.
        let taken = unsafe {
            let budget = MAX_SLICE.as_secs_f64();
            let name = if is_task { c"take" } else { c"take_now" };
            let format = c"Kd".as_ptr();
            let taken =
                ffi::PyObject_CallMethod(steps.as_ptr(), name.as_ptr(), format, limit, budget);
            Object::from_owned(self.py, taken)
        };
        let taken = self.or_exception(taken)?;
        Ok(if is_task { Reply::Awaits(taken) } else { Reply::Taken(taken) })
    }

    /// Whether the iterator is on the loop that the job can wait for as a task.
    fn is_on_tasks_loop(&mut self, steps: &Object) -> Result<bool, Error> {
        let on = self.or_exception(steps.getattr_c(self.py, c"on"))?;
        Ok(self.job.control.may_become_task() && self.event_loop()?.is(&on))
    }

    /// Gives what [`Executor::take_async`]'s coroutine has given to `sink`: a tuple of the items,
    /// the iterator's end in the form of a function that raises what has ended it, or None.
    fn give(
        &mut self,
        taken: &Object,
        sink: &mut ItemSink<'_, Self>,
    ) -> Result<&'static str, Error> {
        let list = self.or_exception(taken.tuple_item(self.py, 0))?;
        for index in 0..list.list_size(self.py) {
            let item = self.or_exception(list.list_item(self.py, index))?;
            sink(self, &item)?;
        }
        let outcome = self.or_exception(taken.tuple_item(self.py, 1))?;
        if outcome.is_none() {
            return Ok("more");
        }
        self.or_exception(outcome.call0(self.py))?;
        Ok("done")
    }

    /// Ends a stream before its time: what is left of a generator is closed, so that its `finally`
    /// runs. Other iterators have nothing to end.
    pub(super) fn stream_close(&mut self, stream: ErlNifTerm) -> Result<Reply, Error> {
        let iterator = self.object(stream)?;
        // SAFETY: attached; a live object.
        let is_generator = unsafe { ffi::PyGen_Check(iterator.as_ptr()) != 0 };
        if self.is_steps(&iterator) {
            let is_task = self.is_on_tasks_loop(&iterator)?;
            let name = if is_task { c"close" } else { c"close_now" };
            let closing = self.or_exception(iterator.call_method0(self.py, name))?;
            return Ok(if is_task { Reply::Awaits(closing) } else { Reply::Done });
        }
        if is_generator {
            self.or_exception(iterator.call_method0(self.py, c"close"))?;
        }
        Ok(Reply::Done)
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
