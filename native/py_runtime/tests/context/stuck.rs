//! Contexts that don't come back from C: found, replaced, counted, and ended when they return.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use py_runtime::context::Config;
use py_runtime::context::SubmitError;
use py_runtime::mode::Mode;
use py_runtime::quarantine::Quarantine;
use py_runtime::reply_state::Cancel;

use crate::harness::{
    Lines, Reply, Subject, Submitted, config, detached, handle, in_each_mode, running_code,
    wait_for_no_threads, wait_until,
};
use crate::waits::{Door, value, waiting};

/// A context that is taken for stuck almost at once, but not while it ends as others do.
fn soon_stuck(mode: Mode, limit: usize) -> Subject {
    let stuck_after = Some((4 * time_to_end(mode)).max(Duration::from_millis(30)));
    let quarantine = Arc::new(Quarantine::new(limit));
    start(Config { stuck_after, quarantine, ..config(mode) })
}

/// What the end of a context takes here, which is a second where everything is slow.
fn time_to_end(mode: Mode) -> Duration {
    let subject = Subject::start(mode);
    let start = Instant::now();
    subject.end();
    start.elapsed()
}

/// One that isn't stuck as long as interrupted Python code ends in its usual time.
fn later_stuck(mode: Mode) -> Config {
    Config { stuck_after: Some(Duration::from_secs(1)), ..config(mode) }
}

fn start(config: Config) -> Subject {
    let subject = Subject::with_config(config);
    subject.started().unwrap();
    subject
}

#[test]
fn what_waits_for_a_stuck_context_moves_in_order_and_can_still_be_cancelled() {
    in_each_mode(|mode| {
        let subject = soon_stuck(mode, 8);
        let blocked = subject.block();
        let waiting: Vec<_> =
            (0..3).map(|n| subject.eval(&format!("ran.append({n}) or ran"))).collect();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        assert!(subject.context.is_stuck());
        let fresh = subject.start_replacement();
        fresh.run("ran = []");
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert!(!subject.context.take_over_by(&fresh.context, &"stuck"), "only once");
        // A caller that still has the old one reaches the new one by it.
        let late = subject.eval("ran");
        let mut ran = Vec::new();
        for (n, job) in waiting.into_iter().enumerate() {
            ran.push(n);
            assert_eq!(job.only_reply(), Reply::Value(format!("{ran:?}")));
        }
        assert_eq!(late.only_reply(), Reply::Value("[0, 1, 2]".into()));
        let second = fresh.block();
        let moved = subject.exec("ran.append('cancelled')");
        assert_eq!(subject.cancel(&moved), Cancel::Waiting);
        moved.silence();
        second.release().only_reply();
        assert_eq!((fresh.context.quarantine().stuck(), fresh.context.abandoned_threads()), (1, 1));
        // It comes back to nothing, and ends.
        blocked.release().silence();
        subject.ended();
        assert_eq!((fresh.context.quarantine().stuck(), fresh.context.abandoned_threads()), (0, 0));
        assert_eq!(fresh.context.counts().timed_out, 2);
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn the_caller_of_a_stuck_job_gets_an_error() {
    in_each_mode(|mode| {
        let subject = soon_stuck(mode, 8);
        let blocked = subject.block();
        assert!(subject.context.interrupt());
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(blocked.submitted().reply(), Reply::Interrupted);
        blocked.release().silence();
        subject.ended();
        fresh.end();
    });
}

#[test]
fn a_thread_that_comes_back_in_time_keeps_its_context() {
    in_each_mode(|mode| {
        let subject = soon_stuck(mode, 8);
        subject.run("kept = 'kept'");
        let blocked = subject.block();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        blocked.release().silence();
        assert_eq!(subject.value("kept"), "kept");
        assert!(!subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(subject.value("kept"), "kept");
        assert_eq!(fresh.context.quarantine().stuck(), 0);
        fresh.end();
        subject.end();
    });
}

#[test]
fn a_killed_context_that_stays_counts_until_it_goes() {
    in_each_mode(|mode| {
        let subject = soon_stuck(mode, 1);
        let blocked = subject.block();
        subject.context.kill("killed");
        assert_eq!(blocked.submitted().reply(), Reply::Died("killed"));
        wait_until(|| subject.context.quarantine().is_full());
        // Others of its pool take nothing new meanwhile, and go on with what they have.
        let refused = subject.try_submit(|_| Ok(String::new()));
        assert!(matches!(refused, Err(SubmitError::Quarantined(_))));
        blocked.release().silence();
        subject.stuck();
        subject.ended_after_reports();
        assert_eq!(subject.context.quarantine().stuck(), 0);
        wait_for_no_threads();
    });
}

const ENDLESS: &str = "class Endless:\n    def __del__(self):\n        while True: pass";

/// A class whose instances say that they go, and then take until what this returns is dropped.
fn define_blocking(subject: &Subject, lines: &Lines) -> (PipeWriter, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let source = "\
import os
class Blocking:
    def __del__(self, read=os.read, write=os.write):
        write(WRITE, b'going\\n')
        read(READ, 1)
";
    let (read, write) = (reader.as_raw_fd(), lines.write_end());
    subject.run(&source.replace("WRITE", &write.to_string()).replace("READ", &read.to_string()));
    (writer, reader)
}

#[test]
fn a_finalizer_that_does_not_return_is_replaced_with_its_context() {
    in_each_mode(|mode| {
        let (subject, lines) = (soon_stuck(mode, 8), Lines::new());
        let lasts = define_blocking(&subject, &lines);
        drop(handle(&subject, "Blocking()"));
        assert_eq!(lines.next(), "going");
        assert!(subject.context.busy_for().is_some());
        let waiting = subject.eval("'served'");
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(waiting.only_reply(), Reply::Value("served".into()));
        assert_eq!(fresh.context.quarantine().stuck(), 1);
        drop(lasts);
        subject.ended();
        assert_eq!(fresh.context.quarantine().stuck(), 0);
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_that_computes_for_ever_is_interrupted_when_jobs_wait() {
    in_each_mode(|mode| {
        let subject = start(later_stuck(mode));
        subject.run(ENDLESS);
        drop(handle(&subject, "Endless()"));
        assert_eq!(subject.value("1 + 1"), "2");
        subject.end();
    });
}

#[test]
fn a_finalizer_that_computes_for_ever_keeps_no_context_from_its_end() {
    in_each_mode(|mode| {
        let subject = start(later_stuck(mode));
        subject.run(ENDLESS);
        drop(handle(&subject, "Endless()"));
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_that_does_not_return_is_found_in_a_context_that_drains() {
    in_each_mode(|mode| {
        let (subject, lines) = (soon_stuck(mode, 8), Lines::new());
        let lasts = define_blocking(&subject, &lines);
        drop(handle(&subject, "Blocking()"));
        assert_eq!(lines.next(), "going");
        subject.context.drain();
        subject.stuck();
        drop(lasts);
        subject.ended_after_reports();
        assert_eq!(subject.context.quarantine().stuck(), 0);
        wait_for_no_threads();
    });
}

#[test]
fn a_context_that_was_killed_and_does_not_come_to_its_end_counts_until_it_does() {
    in_each_mode(|mode| {
        let (subject, lines) = (soon_stuck(mode, 1), Lines::new());
        let lasts = define_blocking(&subject, &lines);
        let _handle = handle(&subject, "Blocking()");
        subject.context.kill("killed");
        assert_eq!(lines.next(), "going");
        wait_until(|| subject.context.quarantine().is_full());
        drop(lasts);
        subject.stuck();
        subject.ended_after_reports();
        assert_eq!(subject.context.quarantine().stuck(), 0);
        wait_for_no_threads();
    });
}

/// A class whose instances say that they go, and then compute for ever.
fn define_endless(subject: &Subject, lines: &Lines) {
    let source = "\
import os
class Endless:
    def __del__(self, write=os.write):
        write(WRITE, b'going\\n')
        while True: pass
";
    subject.run(&source.replace("WRITE", &lines.write_end().to_string()));
}

/// A context with a job that computes for ever.
fn endless_beside(mode: Mode) -> (Subject, Submitted) {
    let other = Subject::start(mode);
    let endless = running_code(&other, "while True: pass");
    (other, endless)
}

/// A job that waits, with a finalizer nested in it that is in the middle of its work.
fn waiting_with_finalizer(
    subject: &Subject,
    lines: &Lines,
    what: &str,
    door: &Arc<Door>,
) -> Submitted {
    let handle = handle(subject, what);
    let outer = waiting(subject, door);
    drop(handle);
    assert_eq!(lines.next(), "going");
    outer
}

/// A context with a job that waits, and a finalizer nested in it that computes for ever.
fn endless_nested(mode: Mode) -> (Subject, Submitted) {
    let (subject, lines) = (Subject::start(mode), Lines::new());
    define_endless(&subject, &lines);
    let outer = waiting_with_finalizer(&subject, &lines, "Endless()", &Arc::default());
    (subject, outer)
}

#[test]
fn a_finalizer_that_computes_for_ever_is_interrupted_when_it_is_nested_in_a_job() {
    in_each_mode(|mode| {
        let (subject, lines) = (start(later_stuck(mode)), Lines::new());
        define_endless(&subject, &lines);
        let door = Arc::default();
        let outer = waiting_with_finalizer(&subject, &lines, "Endless()", &door);
        door.open(&subject.context);
        let next = subject.eval("1 + 1");
        assert_eq!(outer.only_reply(), value("waited"));
        assert_eq!(next.only_reply(), value("2"));
        subject.end();
    });
}

#[test]
fn a_finalizer_that_does_not_return_is_replaced_with_the_job_it_is_nested_in() {
    in_each_mode(|mode| {
        let (subject, lines) = (soon_stuck(mode, 8), Lines::new());
        let lasts = define_blocking(&subject, &lines);
        let door = Arc::default();
        let outer = waiting_with_finalizer(&subject, &lines, "Blocking()", &door);
        let next = subject.eval("'served'");
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(next.only_reply(), value("served"));
        assert_eq!(outer.reply(), Reply::Died("stuck"));
        door.open(&subject.context);
        drop(lasts);
        outer.silence();
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn an_interrupt_of_a_waiting_job_does_not_reach_the_finalizer_nested_in_it() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        let lasts = define_blocking(&subject, &lines);
        subject.run(
            "class Whole(Blocking):\n    def __del__(self):\n        super().__del__()\n        \
             done.append(sum(1 for _ in range(100000)))\ndone = []",
        );
        let outer = waiting_with_finalizer(&subject, &lines, "Whole()", &Arc::default());
        // Where both have one GIL they are interrupted in this order.
        let (other, endless) = endless_beside(mode);
        assert_eq!(subject.cancel(&outer), Cancel::Running);
        assert_eq!(other.cancel(&endless), Cancel::Running);
        endless.silence();
        drop(lasts);
        outer.silence();
        assert_eq!(subject.value("done"), "[100000]");
        subject.end();
        other.end();
    });
}

#[test]
fn an_interrupt_stops_a_waiting_job_and_the_finalizer_nested_in_it() {
    in_each_mode(|mode| {
        let (subject, outer) = endless_nested(mode);
        assert!(subject.context.busy_for().is_some());
        assert!(subject.context.interrupt());
        assert_eq!(outer.only_reply(), Reply::Interrupted);
        assert_eq!(subject.value("1 + 1"), "2");
        subject.end();
    });
}

#[test]
fn a_killed_context_ends_while_a_finalizer_runs_nested_in_its_job() {
    in_each_mode(|mode| {
        let (subject, outer) = endless_nested(mode);
        subject.context.kill("killed");
        assert_eq!(outer.only_reply(), Reply::Died("killed"));
        subject.ended();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_is_interrupted_that_blocks_one_caller_with_a_short_timeout_after_the_other() {
    in_each_mode(|mode| {
        let subject = start(later_stuck(mode));
        subject.run(ENDLESS);
        drop(handle(&subject, "Endless()"));
        let timeout = Duration::from_millis(200);
        wait_until(|| {
            let next = subject.eval("1 + 1");
            let reply = next.reply_within(timeout);
            if reply.is_none() {
                assert_eq!(subject.cancel(&next), Cancel::Waiting);
                // Longer than from one poll of the watchdog to the next.
                std::thread::sleep(timeout);
            }
            reply.is_some()
        });
        subject.end();
    });
}

#[test]
fn a_context_that_was_not_stuck_for_a_moment_is_found_stuck_again() {
    in_each_mode(|mode| {
        let subject = soon_stuck(mode, 8);
        let door: Arc<Door> = Arc::default();
        let ((entered, is_in), (go, gone)) = (channel(), channel::<()>());
        let (gone, before) = (Mutex::new(gone), Arc::clone(&door));
        // Blocks in C twice, and waits for the door in between, however often it is interrupted.
        let stubborn = subject.submit(move |scope| {
            let block = || gone.lock().unwrap().recv().unwrap();
            entered.send(()).unwrap();
            detached(scope.py, block);
            while scope.wait(&*before, 64).is_err() {}
            detached(scope.py, block);
            Ok(String::new())
        });
        is_in.recv().unwrap();
        assert_eq!(subject.cancel(&stubborn), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        go.send(()).unwrap();
        let nested = subject.block();
        assert!(!subject.context.take_over_by(&fresh.context, &"stuck"));
        fresh.end();
        nested.release().only_reply();
        door.open(&subject.context);
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        go.send(()).unwrap();
        stubborn.silence();
        subject.ended();
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn an_outer_job_ends_as_soon_as_the_stuck_one_nested_in_it_has_returned() {
    in_each_mode(|mode| {
        let subject = soon_stuck(mode, 8);
        let outer = waiting(&subject, &Arc::default());
        let blocked = subject.block();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(outer.reply(), Reply::Died("stuck"));
        blocked.release().silence();
        outer.silence();
        subject.ended();
        assert_eq!(fresh.context.quarantine().stuck(), 0);
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_that_computes_for_ever_ends_with_the_thread_that_was_replaced() {
    in_each_mode(|mode| {
        let subject = start(later_stuck(mode));
        subject.run(ENDLESS);
        let _handle = handle(&subject, "Endless()");
        let blocked = subject.block();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        blocked.release().silence();
        subject.ended();
        fresh.end();
        wait_for_no_threads();
    });
}
