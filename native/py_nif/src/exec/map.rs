//! One function, called for each of many lists of arguments.
//!
//! A map is a row of jobs, each of which calls as often as its time allows: between two of them the
//! context serves others. `py_map` submits them one after the other.

use py_runtime::object::Object;
use rustler::sys::{
    ErlNifEnv, ErlNifTerm, enif_get_list_cell, enif_make_list_from_array, enif_make_uint64,
};

use super::executor::Executor;
use super::slice::Slice;
use crate::convert::DeferredDrop;
use crate::request::error::Error;
use crate::term::{ok, tuple};
use crate::thread::event_loop::is_coroutine;

/// The terms of a request to call a function many times.
pub(super) struct Map {
    pub(super) module: ErlNifTerm,
    pub(super) function: ErlNifTerm,
    pub(super) lists: ErlNifTerm,
    pub(super) kwargs: ErlNifTerm,
    pub(super) env: ErlNifTerm,
}

/// The results so far.
#[derive(Default)]
struct Results {
    terms: Vec<ErlNifTerm>,
    /// How many of them are coroutines that were deferred.
    deferred: u64,
}

impl Executor<'_> {
    /// `{ok, {Count, Deferred, Micros, [{ok, Value} | {deferred, Handle} | {error, Reason}]}}`: the
    /// results of the first `Count` calls, of which there is one at least, and how long they took.
    pub(super) fn map(
        &mut self,
        reply_env: *mut ErlNifEnv,
        Map { module, function, lists, kwargs, env }: Map,
    ) -> Result<ErlNifTerm, Error> {
        let mut slice = Slice::begin();
        let callable = self.find(module, function, env)?;
        let keywords = self.named_values(kwargs, "kwargs")?;
        let mut results = Results::default();
        let (mut head, mut rest) = (lists, lists);
        // SAFETY: the request's terms are read-only.
        while unsafe { enif_get_list_cell(self.env, rest, &raw mut head, &raw mut rest) } != 0 {
            self.call_next(reply_env, &callable, head, keywords.as_ref(), &mut results)?;
            if self.job.control.is_stopped() {
                return Err(Error::Interrupted);
            }
            if slice.is_over(self.job.host) {
                break;
            }
        }
        let micros = u64::try_from(slice.lasted().as_micros()).unwrap_or(u64::MAX);
        let count = u32::try_from(results.terms.len()).expect("a slice is short");
        // SAFETY: the reply's environment is this thread's alone, and the results are its terms.
        unsafe {
            let number = |n| enif_make_uint64(reply_env, n);
            let list = enif_make_list_from_array(reply_env, results.terms.as_ptr(), count);
            let numbers = [count.into(), results.deferred, micros].map(number);
            let [count, deferred, micros] = numbers;
            let part = tuple(reply_env, &[count, deferred, micros, list]);
            Ok(tuple(reply_env, &[ok(), part]))
        }
    }

    /// Makes one call and adds its result. An error: it was interrupted.
    fn call_next(
        &mut self,
        reply_env: *mut ErlNifEnv,
        callable: &Object,
        args: ErlNifTerm,
        keywords: Option<&Object>,
        results: &mut Results,
    ) -> Result<(), Error> {
        let called = self.with_arguments(|run, arguments| {
            // SAFETY: the request's terms are read-only.
            unsafe { run.converter().to_arguments(run.env, args, arguments) }?;
            run.invoke(callable, arguments, keywords)
        });
        let result = called.and_then(|value| {
            if is_coroutine(&value) {
                results.deferred += 1;
                return self.deferred(reply_env, value);
            }
            let mut dropped = DeferredDrop::default();
            // SAFETY: the reply's environment is this thread's alone.
            unsafe {
                let value = self.consume(value, reply_env, &mut dropped)?;
                Ok(tuple(reply_env, &[ok(), value]))
            }
        });
        results.terms.push(match result {
            Ok(term) => term,
            Err(error) if self.is_interrupt(&error) => return Err(error),
            // SAFETY: as above.
            Err(error) => unsafe { error.to_term(reply_env) },
        });
        Ok(())
    }

    /// Whether it is the exception by which this job was interrupted.
    fn is_interrupt(&self, error: &Error) -> bool {
        matches!(error, Error::Python(e) if e.class == "KeyboardInterrupt")
            && self.job.control.is_stopped()
    }
}
