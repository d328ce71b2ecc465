//! What Python code prints, on its way to the caller's group leader.
//!
//! Text is sent line by line, as a job writes it; what is left of an unfinished line when the job
//! ends. A context prints for many callers in turn, and the jobs of one may be stacked, so lines
//! are kept per job. Nothing here ever touches the OS process's own file descriptors.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use rustler::sys::ErlNifTerm;

use super::in_flight::{self, TextTally};
use super::services::Service;
use crate::request::call::Call;
use crate::term::{OwnedEnv, atom, binary, pid_term, tuple};

/// An unfinished line: bytes of UTF-8, unless Python code wrote other bytes.
pub(crate) type Lines = Vec<u8>;

/// The longest line that is kept together.
const LONGEST_LINE: usize = 64 << 10;

/// How much text is taken in at once: copies of a longer one would take as much memory as it likes.
const MOST_AT_ONCE: usize = 1 << 20;

/// How long a job waits for its last output to be passed on. Nothing that passes it on ever waits
/// itself, so this is for a VM in trouble. (Handlers of `logger` may wait: see [`tally`].)
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a job, or a thread without one, has begun to say.
#[derive(Default)]
pub(crate) struct Voice {
    /// Unfinished lines of standard output and of standard error.
    pub(crate) lines: [RefCell<Lines>; 2],
    /// What has been sent of them.
    pub(crate) tally: TextTally,
    /// Whether anything was sent that has to arrive before the job is answered.
    pub(crate) has_spoken: Cell<bool>,
    /// When `logger`'s level was last asked for.
    pub(crate) asked_level: Cell<Option<Instant>>,
}

impl Voice {
    /// Sends what is left of unfinished lines.
    pub(crate) fn finish_lines(&self, call: Option<&Call>) {
        for lines in &self.lines {
            finish(lines, self, call);
        }
    }

    /// Waits until all that was said has been passed on; not for ever. Not attached.
    pub(crate) fn wait_until_heard(&self) {
        self.tally.wait_for_messages(LAST_WORDS);
        in_flight::wait_for_last_events();
    }
}

/// A thread's own voice. Its last words are said when it ends.
struct OwnVoice(Voice);

impl Drop for OwnVoice {
    fn drop(&mut self) {
        self.0.finish_lines(None);
    }
}

/// Says what the thread without a job has begun to say. It would when it ends, which may be too late.
pub(crate) fn say_last_words() {
    OWN.with(|own| own.0.finish_lines(None));
}

thread_local! {
    static OWN: OwnVoice = OwnVoice(Voice::default());
}

/// Gives `work` the voice of a thread without a job.
pub(crate) fn with_own<T>(work: impl FnOnce(&Voice) -> T) -> T {
    OWN.with(|own| work(&own.0))
}

/// Takes in `text`, and sends the lines that are finished with it.
pub(crate) fn write(lines: &RefCell<Lines>, mut text: &[u8], voice: &Voice, call: Option<&Call>) {
    while text.len() > MOST_AT_ONCE {
        // Not within a character.
        let ends = (MOST_AT_ONCE - 3..=MOST_AT_ONCE).rev().find(|end| text[*end] & 0xC0 != 0x80);
        let (piece, rest) = text.split_at(ends.unwrap_or(MOST_AT_ONCE));
        write_piece(lines, piece, voice, call);
        text = rest;
    }
    write_piece(lines, text, voice, call);
}

fn write_piece(lines: &RefCell<Lines>, text: &[u8], voice: &Voice, call: Option<&Call>) {
    voice.has_spoken.set(true);
    let mut lines = lines.borrow_mut();
    match text.iter().rposition(|byte| *byte == b'\n') {
        Some(end) if lines.is_empty() => {
            send(&text[..=end], voice, call);
            lines.extend_from_slice(&text[end + 1..]);
        }
        Some(end) => {
            lines.extend_from_slice(&text[..=end]);
            send(&lines, voice, call);
            lines.clear();
            lines.extend_from_slice(&text[end + 1..]);
        }
        None => lines.extend_from_slice(text),
    }
    if lines.len() > LONGEST_LINE {
        send(&lines, voice, call);
        lines.clear();
    }
}

/// Sends an unfinished line as it is.
pub(crate) fn finish(lines: &RefCell<Lines>, voice: &Voice, call: Option<&Call>) {
    let mut lines = lines.borrow_mut();
    if !lines.is_empty() {
        voice.has_spoken.set(true);
        send(&lines, voice, call);
        lines.clear();
    }
}

/// `{py_output, Tally, Caller | none, Text}`. If nobody serves, the text is lost: there is nowhere
/// else that it could go.
fn send(text: &[u8], voice: &Voice, call: Option<&Call>) {
    let text = String::from_utf8_lossy(text);
    let env = OwnedEnv::new();
    let ptr = env.as_ptr();
    voice.tally.add(text.len());
    // SAFETY: the environment is ours alone, and this is no scheduler's thread.
    let arrived = unsafe {
        let caller = caller(&env, call);
        let text = binary(ptr, text.as_bytes());
        let message = tuple(ptr, &[atom(ptr, "py_output"), voice.tally.term(ptr), caller, text]);
        Service::Output.send(ptr, message)
    };
    if !arrived {
        voice.tally.take_back(text.len());
    }
}

/// The pid of the job's caller, or `none`.
pub(crate) fn caller(env: &OwnedEnv, call: Option<&Call>) -> ErlNifTerm {
    match call {
        Some(call) => pid_term(call.caller()),
        // SAFETY: the environment is the caller's alone.
        None => unsafe { atom(env.as_ptr(), "none") },
    }
}
