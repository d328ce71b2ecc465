//! What a caller wants of a request beyond its result, as bits.

use py_runtime::context::OnCallerDown;
use rustler::sys::{ErlNifEnv, ErlNifTerm, enif_get_uint};

use super::decode::FLAGS;

/// The conventions for terms that are made from Python's values. The other way, both are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Values {
    /// `None` is `none`, and a handle on an object a reference.
    #[default]
    Erlang,
    /// `None` is `nil`, and a handle on an object the struct `Py.Object`.
    Elixir,
}

/// What the caller gets for objects that have no term.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Results {
    /// A handle on each of them.
    Handles,
    /// Their values.
    Terms,
    /// One handle on the whole result, whatever it is.
    Object,
}

/// Where a call may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dispatch {
    /// On its caller's scheduler, if its function is registered for that.
    Registered,
    /// On its caller's scheduler.
    Direct,
    /// In the queue only.
    Queue,
}

/// What the caller wants of a request beyond its result: a sum of the bits that
/// `py_options:call_option/3` and `py_request` set. `py_request_flags.hrl` has the same names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags(u32);

impl Flags {
    const TRACEBACK: u32 = 1;
    const FINISH_ON_CALLER_DOWN: u32 = 4;
    const INTERRUPT_ON_CALLER_DOWN: u32 = 8;
    const ELIXIR: u32 = 16;
    const STREAM: u32 = 32;
    const TERMS: u32 = 128;
    const OBJECT: u32 = 256;
    const DIRECT: u32 = 512;
    const QUEUE: u32 = 1024;

    /// # Safety
    /// The elements are terms of `env`.
    pub(crate) unsafe fn of(env: *mut ErlNifEnv, elements: &[ErlNifTerm]) -> Self {
        let mut bits = 0;
        if let Some(&flags) = elements.get(FLAGS) {
            // SAFETY: the caller vouches for the term; what is no number has no bits.
            unsafe { enif_get_uint(env, flags, &raw mut bits) };
        }
        Flags(bits)
    }

    /// Whose conventions the result follows.
    pub(crate) fn values(self) -> Values {
        if self.0 & Self::ELIXIR == 0 { Values::Erlang } else { Values::Elixir }
    }

    /// Where the call may run.
    pub(crate) fn dispatch(self) -> Dispatch {
        match self.0 {
            bits if bits & Self::QUEUE != 0 => Dispatch::Queue,
            bits if bits & Self::DIRECT != 0 => Dispatch::Direct,
            _ => Dispatch::Registered,
        }
    }

    /// Whether the result shall come as a stream.
    pub(crate) fn streams(self) -> bool {
        self.0 & Self::STREAM != 0
    }

    /// What becomes of a result without a term.
    pub(crate) fn results(self) -> Results {
        match self.0 {
            bits if bits & Self::TERMS != 0 => Results::Terms,
            bits if bits & Self::OBJECT != 0 => Results::Object,
            _ => Results::Handles,
        }
    }

    /// Whether exceptions shall come with their tracebacks.
    pub(crate) fn tracebacks(self) -> bool {
        self.0 & Self::TRACEBACK != 0
    }

    /// What becomes of the request when its caller is gone: `policy`, if no flag says.
    pub(crate) fn on_caller_down(self, policy: OnCallerDown) -> OnCallerDown {
        match self.0 {
            bits if bits & Self::FINISH_ON_CALLER_DOWN != 0 => OnCallerDown::Finish,
            bits if bits & Self::INTERRUPT_ON_CALLER_DOWN != 0 => OnCallerDown::Interrupt,
            _ => policy,
        }
    }
}
