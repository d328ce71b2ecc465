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
fn impatient(mode: Mode, limit: usize) -> Subject {
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

/// One that isn't as long as Python code that is struck ends in the time in which it does.
fn less_impatient(mode: Mode) -> Config {
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
        let subject = impatient(mode, 8);
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
        // Whoever still has the old one finds the new one behind it.
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
        second.let_go().only_reply();
        assert_eq!((fresh.context.quarantine().stuck(), fresh.context.abandoned_threads()), (1, 1));
        // It comes back to nothing, and ends.
        blocked.let_go().silence();
        subject.ended();
        assert_eq!((fresh.context.quarantine().stuck(), fresh.context.abandoned_threads()), (0, 0));
        assert_eq!(fresh.context.counts().timed_out, 2);
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn whoever_waits_for_a_stuck_job_is_told() {
    in_each_mode(|mode| {
        let subject = impatient(mode, 8);
        let blocked = subject.block();
        assert!(subject.context.interrupt());
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(blocked.submitted().reply(), Reply::Interrupted);
        blocked.let_go().silence();
        subject.ended();
        fresh.end();
    });
}

#[test]
fn a_thread_that_comes_back_in_time_keeps_its_context() {
    in_each_mode(|mode| {
        let subject = impatient(mode, 8);
        subject.run("kept = 'kept'");
        let blocked = subject.block();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        blocked.let_go().silence();
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
        let subject = impatient(mode, 1);
        let blocked = subject.block();
        subject.context.kill("killed");
        assert_eq!(blocked.submitted().reply(), Reply::Died("killed"));
        wait_until(|| subject.context.quarantine().is_full());
        // Others of its pool take nothing new meanwhile, and go on with what they have.
        let refused = subject.try_submit(|_| Ok(String::new()));
        assert!(matches!(refused, Err(SubmitError::Quarantined(_))));
        blocked.let_go().silence();
        subject.stuck();
        subject.ended();
        assert_eq!(subject.context.quarantine().stuck(), 0);
        wait_for_no_threads();
    });
}

const ENDLESS: &str = "class Endless:\n    def __del__(self):\n        while True: pass";

/// A class whose instances say that they go, and then take until what this returns is dropped.
fn define_lingering(subject: &Subject, lines: &Lines) -> (PipeWriter, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let source = "\
import os
class Lingering:
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
        let (subject, lines) = (impatient(mode, 8), Lines::new());
        let lasts = define_lingering(&subject, &lines);
        drop(handle(&subject, "Lingering()"));
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
fn a_finalizer_that_computes_for_ever_is_struck_when_jobs_wait() {
    in_each_mode(|mode| {
        let subject = start(less_impatient(mode));
        subject.run(ENDLESS);
        drop(handle(&subject, "Endless()"));
        assert_eq!(subject.value("1 + 1"), "2");
        subject.end();
    });
}

#[test]
fn a_finalizer_that_computes_for_ever_keeps_no_context_from_its_end() {
    in_each_mode(|mode| {
        let subject = start(less_impatient(mode));
        subject.run(ENDLESS);
        drop(handle(&subject, "Endless()"));
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_that_does_not_return_is_found_in_a_context_that_drains() {
    in_each_mode(|mode| {
        let (subject, lines) = (impatient(mode, 8), Lines::new());
        let lasts = define_lingering(&subject, &lines);
        drop(handle(&subject, "Lingering()"));
        assert_eq!(lines.next(), "going");
        subject.context.drain();
        subject.stuck();
        drop(lasts);
        subject.ended();
        assert_eq!(subject.context.quarantine().stuck(), 0);
        wait_for_no_threads();
    });
}

#[test]
fn a_context_that_was_killed_and_does_not_come_to_its_end_counts_until_it_does() {
    in_each_mode(|mode| {
        let (subject, lines) = (impatient(mode, 1), Lines::new());
        let lasts = define_lingering(&subject, &lines);
        let _held = handle(&subject, "Lingering()");
        subject.context.kill("killed");
        assert_eq!(lines.next(), "going");
        wait_until(|| subject.context.quarantine().is_full());
        drop(lasts);
        subject.stuck();
        subject.ended();
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
fn hog_beside(mode: Mode) -> (Subject, Submitted) {
    let other = Subject::start(mode);
    let hog = running_code(&other, "while True: pass");
    (other, hog)
}

/// A job that waits, with a finalizer on top of it that is in the middle of its work.
fn waiting_below(subject: &Subject, lines: &Lines, what: &str, door: &Arc<Door>) -> Submitted {
    let held = handle(subject, what);
    let below = waiting(subject, door);
    drop(held);
    assert_eq!(lines.next(), "going");
    below
}

/// A context with a job that waits, and a finalizer on top of it that computes for ever.
fn endless_on_top(mode: Mode) -> (Subject, Submitted) {
    let (subject, lines) = (Subject::start(mode), Lines::new());
    define_endless(&subject, &lines);
    let below = waiting_below(&subject, &lines, "Endless()", &Arc::default());
    (subject, below)
}

#[test]
fn a_finalizer_that_computes_for_ever_is_struck_when_a_job_waits_below_it() {
    in_each_mode(|mode| {
        let (subject, lines) = (start(less_impatient(mode)), Lines::new());
        define_endless(&subject, &lines);
        let door = Arc::default();
        let below = waiting_below(&subject, &lines, "Endless()", &door);
        door.open(&subject.context);
        let next = subject.eval("1 + 1");
        assert_eq!(below.only_reply(), value("waited"));
        assert_eq!(next.only_reply(), value("2"));
        subject.end();
    });
}

#[test]
fn a_finalizer_that_does_not_return_is_replaced_with_the_job_that_waits_below_it() {
    in_each_mode(|mode| {
        let (subject, lines) = (impatient(mode, 8), Lines::new());
        let lasts = define_lingering(&subject, &lines);
        let door = Arc::default();
        let below = waiting_below(&subject, &lines, "Lingering()", &door);
        let next = subject.eval("'served'");
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(next.only_reply(), value("served"));
        assert_eq!(below.reply(), Reply::Died("stuck"));
        door.open(&subject.context);
        drop(lasts);
        below.silence();
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_blow_for_a_waiting_job_spares_the_finalizer_on_top_of_it() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        let lasts = define_lingering(&subject, &lines);
        subject.run("class Whole(Lingering):\n    def __del__(self):\n        super().__del__()\n        done.append(sum(1 for _ in range(100000)))\ndone = []");
        let below = waiting_below(&subject, &lines, "Whole()", &Arc::default());
        // Where both have one GIL they are struck in this order.
        let (other, hog) = hog_beside(mode);
        assert_eq!(subject.cancel(&below), Cancel::Running);
        assert_eq!(other.cancel(&hog), Cancel::Running);
        hog.silence();
        drop(lasts);
        below.silence();
        assert_eq!(subject.value("done"), "[100000]");
        subject.end();
        other.end();
    });
}

#[test]
fn an_interrupt_stops_a_waiting_job_and_the_finalizer_on_top_of_it() {
    in_each_mode(|mode| {
        let (subject, below) = endless_on_top(mode);
        assert!(subject.context.busy_for().is_some());
        assert!(subject.context.interrupt());
        assert_eq!(below.only_reply(), Reply::Interrupted);
        assert_eq!(subject.value("1 + 1"), "2");
        subject.end();
    });
}

#[test]
fn a_killed_context_ends_while_a_finalizer_runs_on_top_of_its_job() {
    in_each_mode(|mode| {
        let (subject, below) = endless_on_top(mode);
        subject.context.kill("killed");
        assert_eq!(below.only_reply(), Reply::Died("killed"));
        subject.ended();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_is_struck_that_is_in_the_way_of_one_impatient_caller_after_the_other() {
    in_each_mode(|mode| {
        let subject = start(less_impatient(mode));
        subject.run(ENDLESS);
        drop(handle(&subject, "Endless()"));
        let patience = Duration::from_millis(200);
        wait_until(|| {
            let next = subject.eval("1 + 1");
            let reply = next.reply_within(patience);
            if reply.is_none() {
                assert_eq!(subject.cancel(&next), Cancel::Waiting);
                // Longer than from one look of the watcher to the next.
                std::thread::sleep(patience);
            }
            reply.is_some()
        });
        subject.end();
    });
}

#[test]
fn a_context_that_was_not_stuck_for_a_moment_is_found_stuck_again() {
    in_each_mode(|mode| {
        let subject = impatient(mode, 8);
        let door: Arc<Door> = Arc::default();
        let ((entered, is_in), (go, gone)) = (channel(), channel::<()>());
        let (gone, before) = (Mutex::new(gone), Arc::clone(&door));
        // Blocks in C twice, and between waits before the door, however often it is struck.
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
        let on_top = subject.block();
        assert!(!subject.context.take_over_by(&fresh.context, &"stuck"));
        fresh.end();
        on_top.let_go().only_reply();
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
fn a_job_below_a_stuck_one_ends_as_soon_as_that_has_returned() {
    in_each_mode(|mode| {
        let subject = impatient(mode, 8);
        let below = waiting(&subject, &Arc::default());
        let blocked = subject.block();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        assert_eq!(below.reply(), Reply::Died("stuck"));
        blocked.let_go().silence();
        below.silence();
        subject.ended();
        assert_eq!(fresh.context.quarantine().stuck(), 0);
        fresh.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_finalizer_that_computes_for_ever_ends_with_the_thread_that_was_replaced() {
    in_each_mode(|mode| {
        let subject = start(less_impatient(mode));
        subject.run(ENDLESS);
        let _held = handle(&subject, "Endless()");
        let blocked = subject.block();
        assert_eq!(subject.cancel(blocked.submitted()), Cancel::Running);
        subject.stuck();
        let fresh = subject.start_replacement();
        assert!(subject.context.take_over_by(&fresh.context, &"stuck"));
        blocked.let_go().silence();
        subject.ended();
        fresh.end();
        wait_for_no_threads();
    });
}
