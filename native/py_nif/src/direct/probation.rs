//! Measuring a call in the queue, of a function that may be permitted to run on schedulers.
//!
//! Runs on the context's thread. A function is fit if a call is short, doesn't make its thread
//! wait, prints nothing, calls no Erlang function and gives no coroutine.

use std::mem::MaybeUninit;
use std::time::Duration;

use rustler::sys::ErlNifTerm;

use super::permits::{self, Way};
use crate::request::decode::{Request, RequestTerms};
use crate::request::flags::{Dispatch, Flags};
use crate::term::atom_pair;
use crate::thread::host::Unfit;

/// What is measured of a call: this thread's CPU time, and how often it has slept.
pub(super) struct Measurement {
    time: Duration,
    waits: i64,
}

impl Measurement {
    pub(super) fn begin() -> Self {
        Measurement { time: cpu_time(), waits: waits() }
    }

    /// What makes the call unfit, if anything does.
    pub(super) fn end(self, limit: Duration) -> Option<Unfit> {
        if waits() != self.waits {
            return Some(Unfit::Waits);
        }
        (cpu_time().saturating_sub(self.time) > limit).then_some(Unfit::Slow)
    }
}

/// A call that is measured in the queue.
pub(crate) struct Probation {
    module: ErlNifTerm,
    function: ErlNifTerm,
    measurement: Measurement,
    limit: Duration,
}

impl Probation {
    /// Begins, if the request calls a function on probation. `limit` is how long a direct call may
    /// take.
    #[inline]
    pub(crate) fn begin(request: &RequestTerms<'_>, limit: Duration) -> Option<Self> {
        if permits::any() { Self::begin_permitted(request, limit) } else { None }
    }

    #[cold]
    fn begin_permitted(request: &RequestTerms<'_>, limit: Duration) -> Option<Self> {
        // SAFETY: the request's terms are read-only.
        let flags = unsafe { Flags::of(request.env, request.elements) };
        let Some(Request::Call { module, function, .. }) = Request::decode(request.elements) else {
            return None;
        };
        // SAFETY: as above.
        let (module, function) = unsafe { atom_pair(request.env, module, function) }?;
        let is_measured = match flags.dispatch() {
            Dispatch::Queue => None,
            Dispatch::Direct => permits::with(module, function, permits::Permit::way),
            Dispatch::Registered => {
                permits::with_registered(module, function, |permit| Some(permit.way()))
            }
        };
        (is_measured == Some(Way::Probation)).then(|| {
            let measurement = Measurement::begin();
            Probation { module, function, measurement, limit }
        })
    }

    /// Ends. `unfit`: what it has done that it may not do.
    pub(crate) fn end(self, unfit: Option<Unfit>) {
        let Probation { module, function, measurement, limit } = self;
        // Half of what a direct call may take: the scheduler's caches are colder.
        let unfit = unfit.or_else(|| measurement.end(limit / 2));
        permits::with(module, function, |permit| permit.measured(unfit));
    }
}

/// This thread's CPU time so far.
fn cpu_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: filled in by the call; all zeros is a valid value, too.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How often this thread has slept.
fn waits() -> i64 {
    #[cfg(target_os = "linux")]
    const WHO: libc::c_int = libc::RUSAGE_THREAD;
    #[cfg(not(target_os = "linux"))]
    const WHO: libc::c_int = libc::RUSAGE_SELF;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: filled in by the call; all zeros is a valid value, too.
    unsafe {
        libc::getrusage(WHO, usage.as_mut_ptr());
        usage.assume_init().ru_nvcsw
    }
}
