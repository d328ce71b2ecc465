//! What Python code prints, on its way to the caller's group leader.
//!
//! Text is sent line by line, as a job writes it; what is left of an unfinished line when the job
//! ends. A context prints for many callers in turn, and the jobs of one may be stacked, so lines
//! are kept per job. Nothing here ever touches the OS process's own file descriptors.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use rustler::sys::{ErlNifTerm, enif_make_uint64};

use super::in_flight::{self, MessageKind, OutputInFlight};
use super::services::Service;
use crate::term::{ProcessId, TermEnv, atom, binary, pid_term, tuple};
use crate::thread::host::Output;

/// An unfinished line: bytes of UTF-8, unless Python code wrote other bytes.
type LineBuffer = Vec<u8>;

/// The longest line that is kept together.
const MAX_LINE: usize = 64 << 10;

/// How much text is taken in at once, because it is copied.
const MAX_PIECE: usize = 1 << 20;

/// How long a job waits for its last output to be passed on. The process that does so never blocks,
/// so this is for a VM in trouble. (Handlers of `logger` may block: see [`in_flight`].)
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a job, or a thread without one, has printed and logged.
pub(crate) struct JobOutput {
    /// Whose job it is.
    caller: Option<ProcessId>,
    /// Unfinished lines of standard output and of standard error.
    lines: [RefCell<LineBuffer>; 2],
    /// What has been sent of them.
    in_flight: OutputInFlight,
    /// Whether anything was sent that has to arrive before the job is answered.
    has_output: Cell<bool>,
    /// When `logger`'s level was last asked for.
    level_asked_at: Cell<Option<Instant>>,
}

impl JobOutput {
    pub(crate) fn new(caller: Option<ProcessId>) -> Self {
        JobOutput {
            caller,
            lines: Default::default(),
            in_flight: OutputInFlight::default(),
            has_output: Cell::new(false),
            level_asked_at: Cell::new(None),
        }
    }

    /// Whether there is anything to flush or to wait for.
    pub(crate) fn has_output(&self) -> bool {
        self.has_output.get()
    }

    /// Sends what is left of unfinished lines.
    pub(crate) fn flush_all(&self) {
        for stream in 0..self.lines.len() {
            self.flush(stream);
        }
    }

    /// Waits until everything sent has been passed on, but at most [`FLUSH_TIMEOUT`]. Not attached.
    pub(crate) fn wait_until_acked(&self) {
        self.in_flight.wait_for_messages(FLUSH_TIMEOUT);
        in_flight::wait_for_last_events();
    }

    fn write_piece(&self, stream: usize, text: &[u8]) {
        self.has_output.set(true);
        let mut lines = self.lines[stream].borrow_mut();
        match text.iter().rposition(|byte| *byte == b'\n') {
            Some(end) if lines.is_empty() => {
                self.send(&text[..=end]);
                lines.extend_from_slice(&text[end + 1..]);
            }
            Some(end) => {
                lines.extend_from_slice(&text[..=end]);
                self.send(&lines);
                lines.clear();
                lines.extend_from_slice(&text[end + 1..]);
            }
            None => lines.extend_from_slice(text),
        }
        if lines.len() > MAX_LINE {
            self.send(&lines);
            lines.clear();
        }
    }

    /// `{py_output, InFlight, Caller | none, Text}`. Without a service the text is lost: it
    /// could go nowhere else.
    fn send(&self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let env = TermEnv::new();
        let ptr = env.as_ptr();
        self.in_flight.add(text.len());
        // SAFETY: the environment is ours alone, and this is no scheduler's thread.
        let sent = unsafe {
            let (in_flight, caller) = (self.in_flight.term(ptr), self.caller(&env));
            let text = binary(ptr, text.as_bytes());
            let message = tuple(ptr, &[atom(ptr, "py_output"), in_flight, caller, text]);
            Service::Output.send(ptr, message)
        };
        if !sent {
            self.in_flight.uncount(text.len());
        }
    }

    /// The pid of the job's caller, or `none`.
    fn caller(&self, env: &TermEnv) -> ErlNifTerm {
        match self.caller {
            Some(caller) => pid_term(caller.pid()),
            // SAFETY: the environment is the caller's alone.
            None => unsafe { atom(env.as_ptr(), "none") },
        }
    }
}

impl Output for JobOutput {
    fn write(&self, stream: usize, mut text: &[u8]) {
        while text.len() > MAX_PIECE {
            // Not within a character.
            let ends = (MAX_PIECE - 3..=MAX_PIECE).rev().find(|end| text[*end] & 0xC0 != 0x80);
            let (piece, rest) = text.split_at(ends.unwrap_or(MAX_PIECE));
            self.write_piece(stream, piece);
            text = rest;
        }
        self.write_piece(stream, text);
    }

    fn flush(&self, stream: usize) {
        let mut lines = self.lines[stream].borrow_mut();
        if !lines.is_empty() {
            self.has_output.set(true);
            self.send(&lines);
            lines.clear();
        }
    }

    fn is_full(&self) -> bool {
        self.in_flight.is_full()
    }

    fn wait_for_capacity(&self, stop: &dyn Fn() -> bool) {
        self.in_flight.wait_for_capacity(stop);
    }

    unsafe fn log(
        &self,
        env: &TermEnv,
        severity: u64,
        [message, meta]: [ErlNifTerm; 2],
        context: Option<ErlNifTerm>,
    ) {
        let ptr = env.as_ptr();
        self.has_output.set(true);
        in_flight::add(MessageKind::LogEvent);
        // SAFETY: passed on to the caller.
        let sent = unsafe {
            let severity = enif_make_uint64(ptr, severity);
            let context = context.unwrap_or_else(|| atom(ptr, "none"));
            let (in_flight, caller) = (in_flight::term(ptr), self.caller(env));
            let event = tuple(
                ptr,
                &[atom(ptr, "py_log"), in_flight, severity, message, meta, caller, context],
            );
            Service::Log.send(ptr, event)
        };
        if !sent {
            in_flight::uncount(MessageKind::LogEvent);
        }
    }

    fn level_asked_at(&self) -> &Cell<Option<Instant>> {
        &self.level_asked_at
    }
}

/// The output of a thread without a job. What is left of its lines is sent when it ends.
struct ThreadOutput(JobOutput);

impl Drop for ThreadOutput {
    fn drop(&mut self) {
        self.0.flush_all();
    }
}

thread_local! {
    static OWN: ThreadOutput = ThreadOutput(JobOutput::new(None));
}

/// Gives `work` the output of a thread without a job.
pub(crate) fn with_thread_output<T>(work: impl FnOnce(&JobOutput) -> T) -> T {
    OWN.with(|own| work(&own.0))
}

/// Sends what is left of this thread's lines. The thread's end would, which may be too late.
pub(crate) fn flush_thread_output() {
    with_thread_output(JobOutput::flush_all);
}
