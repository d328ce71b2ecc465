//! Jobs on their thread: order, what lasts from one to the next, and what they can't break.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use py_runtime::context::{Capacity, SubmitError};
use py_runtime::ffi;
use py_runtime::mode::Mode;

use crate::harness::{MAX_WAIT, Reply, Subject, detached, in_each_mode};

#[test]
fn a_gil_per_interpreter_comes_with_3_12() {
    let version = py_runtime::version::version();
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    assert_eq!(Mode::OwnGil.check().is_ok(), minor >= 12, "{version}");
    if let Err(why) = Mode::OwnGil.check() {
        assert!(why.contains(version), "{why}");
    }
}

#[test]
fn jobs_run_in_order_on_the_contexts_own_thread() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("import threading; seen = []");
        let note = "seen.append((INDEX, threading.get_native_id()))";
        let submitted: Vec<_> =
            (0..500).map(|i| subject.exec(&note.replace("INDEX", &i.to_string()))).collect();
        for submitted in submitted {
            assert_eq!(submitted.only_reply(), Reply::Value(String::new()));
        }
        let thread = subject.context.native_thread_id();
        let expected = format!("seen == [(i, {thread}) for i in range(500)]");
        assert_eq!(subject.value(&expected), "True");
        subject.end();
    });
}

#[test]
fn thread_state_lasts_from_job_to_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("import threading; local = threading.local(); local.kept = 'kept'");
        // Others' turns and an idle while in between.
        let other = Subject::start(mode);
        other.run("pass");
        assert_eq!(subject.value("getattr(local, 'kept', 'lost')"), "kept");
        other.end();
        subject.end();
    });
}

#[test]
fn the_threads_local_lasts_from_job_to_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        for expected in 1..=3 {
            let submitted = subject.submit(move |scope| {
                let key = scope.namespace.clone_ref(scope.py);
                // SAFETY: attached; live objects, an int for a key, and a dict of our own.
                let size = unsafe {
                    let key = ffi::PyObject_Length(key.as_ptr()) + expected;
                    let key = ffi::PyLong_FromSsize_t(key);
                    ffi::PyDict_SetItem(scope.local.as_ptr(), key, ffi::Py_None());
                    ffi::Py_DECREF(key);
                    ffi::PyDict_Size(scope.local.as_ptr())
                };
                Ok(size.to_string())
            });
            assert_eq!(submitted.only_reply(), Reply::Value(expected.to_string()));
        }
        subject.end();
    });
}

#[test]
fn contexts_have_namespaces_of_their_own() {
    in_each_mode(|mode| {
        let (one, other) = (Subject::start(mode), Subject::start(mode));
        one.run("x = 'one'");
        other.run("x = 'other'; y = 1");
        assert_eq!(one.value("x"), "one");
        assert_eq!(one.value("'y' in globals()"), "False");
        assert_eq!(other.value("(x, __name__)"), "('other', '__main__')");
        one.end();
        other.end();
    });
}

#[test]
fn only_workers_share_modules_and_the_main_interpreter() {
    in_each_mode(|mode| {
        let (one, other) = (Subject::start(mode), Subject::start(mode));
        let shared = mode == Mode::Worker;
        one.run("import string; string.mark = 1");
        let seen = other.value("hasattr(__import__('string'), 'mark')");
        assert_eq!(seen, if shared { "True" } else { "False" });
        assert_eq!(one.context.interpreter_number() == 0, shared);
        let same = one.context.interpreter_number() == other.context.interpreter_number();
        assert_eq!(same, shared);
        one.run("import string; del string.mark");
        one.end();
        other.end();
    });
}

#[test]
fn an_exception_is_replied_and_cleared() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let raised = Reply::Raised("ZeroDivisionError: division by zero".into());
        assert_eq!(subject.eval("1/0").only_reply(), raised);
        assert_eq!(subject.value("1"), "1");
        assert_eq!(subject.context.counts().done, 1);
        assert_eq!(subject.context.counts().failed, 1);
        subject.end();
    });
}

#[test]
fn a_panic_is_answered_and_the_context_goes_on() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("x = 1");
        assert_eq!(subject.submit(|_| panic!("on purpose")).only_reply(), Reply::Panicked);
        assert_eq!(subject.value("x"), "1");
        assert_eq!(subject.context.counts().failed, 1);
        subject.end();
    });
}

#[test]
fn a_panic_with_an_exception_set_does_not_reach_the_next_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let submitted = subject.submit(|_| {
            // SAFETY: attached, as every job is; the class is live and the text ends in NUL.
            unsafe { ffi::PyErr_SetString(ffi::PyExc_ValueError, c"left behind".as_ptr()) };
            panic!("on purpose");
        });
        assert_eq!(submitted.only_reply(), Reply::Panicked);
        assert_eq!(subject.value("len(str(12))"), "2");
        subject.end();
    });
}

#[test]
fn a_full_queue_refuses_and_says_how_full_it_is() {
    in_each_mode(|mode| {
        let subject = Subject::launch(mode, 2, None);
        subject.started().unwrap();
        let blocked = subject.block();
        let waiting = [subject.eval("1"), subject.eval("2")];
        match subject.try_submit(|_| Ok(String::new())) {
            Err(SubmitError::Overloaded { queue: 2, .. }) => (),
            other => panic!("{other:?}"),
        }
        assert_eq!(subject.context.waiting(), 2);
        assert!(subject.context.busy_for().is_some());
        assert_eq!(blocked.release().only_reply(), Reply::Value("released".into()));
        let [one, two] = waiting.map(|submitted| submitted.only_reply());
        assert_eq!((one, two), (Reply::Value("1".into()), Reply::Value("2".into())));
        subject.end();
    });
}

#[test]
fn a_caller_seems_alone_if_it_was_the_last_one_and_nothing_waits() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let note_caller = |caller| subject.context.note_caller(caller);
        assert_eq!([1, 1, 2, 1, 1].map(note_caller), [false, true, false, false, true]);
        let blocked = subject.block();
        assert!(note_caller(1));
        let waiting = subject.eval("1");
        assert!(!note_caller(1));
        blocked.release().only_reply();
        assert_eq!(waiting.only_reply(), Reply::Value("1".into()));
        subject.end();
    });
}

#[test]
fn a_caller_that_waits_for_capacity_is_woken_when_a_job_is_taken_up() {
    in_each_mode(|mode| {
        let subject = Subject::launch(mode, 1, None);
        subject.started().unwrap();
        let running = subject.block();
        let (entered, is_in) = channel();
        let (go, gone) = channel::<()>();
        let gone = Mutex::new(gone);
        let waiting = subject.submit(move |scope| {
            entered.send(()).unwrap();
            detached(scope.py, || {
                let _ = gone.lock().unwrap().recv();
            });
            Ok(String::new())
        });
        assert!(matches!(
            subject.try_submit(|_| Ok(String::new())),
            Err(SubmitError::Overloaded { .. })
        ));
        let (wake, woken) = channel();
        // A test that has failed doesn't want to know.
        let admit = Box::new(move || {
            let _ = wake.send(());
        });
        let capacity = subject.context.wait_for_capacity(None, admit);
        assert!(matches!(capacity, Capacity::Wait(_)), "{capacity:?}");
        running.release().only_reply();
        is_in.recv_timeout(MAX_WAIT).expect("the job that waited should run");
        woken
            .recv_timeout(MAX_WAIT)
            .expect("the caller should be woken for the capacity that the job has freed");
        // Which there is, as long as that job runs.
        assert_eq!(subject.eval("1 + 1").reply_within(Duration::ZERO), None);
        go.send(()).unwrap();
        assert_eq!(waiting.only_reply(), Reply::Value(String::new()));
        subject.end();
    });
}
