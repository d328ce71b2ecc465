//! Measuring a call in the queue, of a function that may be permitted to run on schedulers.
//!
//! Runs on the context's thread. A function is fit if a call is short, doesn't make its thread
//! wait, prints nothing, calls no Erlang function and gives no coroutine.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use rustler::sys::ErlNifTerm;

use super::permits::{self, Way};
use crate::request::decode::{Request, RequestTerms};
use crate::request::flags::{Dispatch, Flags};
use crate::term::atom_pair;
use crate::thread::host::Unfit;

/// A call that is measured.
pub(crate) struct Probation {
    module: ErlNifTerm,
    function: ErlNifTerm,
    began: Instant,
    waits: i64,
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
        let began = Instant::now();
        (is_measured == Some(Way::Probation)).then(|| Probation {
            module,
            function,
            began,
            waits: waits(),
            limit,
        })
    }

    /// Ends. `unfit`: what it has done that it may not do.
    pub(crate) fn end(self, unfit: Option<Unfit>) {
        let Probation { module, function, began, waits: before, limit } = self;
        let is_slow = began.elapsed() > limit / 2;
        let unfit = unfit
            .or_else(|| (waits() != before).then_some(Unfit::Waits))
            .or_else(|| is_slow.then_some(Unfit::Slow));
        permits::with(module, function, |permit| permit.proved(unfit));
    }
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
        usage.assume_init().ru_nvcsw.into()
    }
}
