//! From the first to the last moment of a context.

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use py_runtime::context::StartError;
use py_runtime::ffi;
use py_runtime::mode::Mode;

use crate::harness::{Lines, Reply, Subject, context_threads, in_each_mode, wait_for_no_threads};

#[test]
fn the_preload_runs_once_before_the_first_job() {
    in_each_mode(|mode| {
        let subject = Subject::launch(mode, 8, Some("seen = [1]\ndef twice(x): return 2 * x"));
        let early = subject.eval("seen.append(2) or twice(21)");
        subject.started().unwrap();
        assert_eq!(early.only_reply(), Reply::Value("42".into()));
        assert_eq!(subject.value("seen"), "[1, 2]");
        subject.end();
    });
}

#[test]
fn a_failing_preload_is_reported_and_ends_the_context() {
    in_each_mode(|mode| {
        for (source, class) in [("1/0", "ZeroDivisionError"), ("x = ", "SyntaxError")] {
            let subject = Subject::launch(mode, 8, Some(source));
            match subject.started() {
                Err(StartError::Python(exception)) => assert_eq!(exception.class, class),
                other => panic!("{other:?}"),
            }
            subject.ended();
            assert!(subject.context.is_closed());
            assert!(subject.try_submit(|_| Ok(String::new())).is_err());
        }
        wait_for_no_threads();
    });
}

#[test]
fn what_waits_for_a_context_that_fails_to_start_is_answered() {
    in_each_mode(|mode| {
        let (lines, source) =
            (Lines::new(), "import os\nos.write(FD, b'in\\n')\nos.read(GO, 1)\n1/0");
        let (gate, opener) = std::io::pipe().unwrap();
        let source = source.replace("FD", &lines.write_end().to_string());
        let source = source.replace("GO", &gate.as_raw_fd().to_string());
        let subject = Subject::launch(mode, 8, Some(&source));
        assert_eq!(lines.next(), "in");
        let early = subject.eval("1");
        drop(opener);
        assert!(subject.started().is_err());
        assert_eq!(early.only_reply(), Reply::Died("thread ended"));
        subject.ended();
    });
}

#[test]
fn an_endless_preload_is_stopped_by_a_kill() {
    in_each_mode(|mode| {
        let lines = Lines::new();
        let source = "import os\nos.write(FD, b'in\\n')\nwhile True: pass";
        let source = source.replace("FD", &lines.write_end().to_string());
        let subject = Subject::launch(mode, 8, Some(&source));
        assert_eq!(lines.next(), "in");
        subject.context.kill("killed");
        assert!(subject.started().is_err());
        subject.ended();
        wait_for_no_threads();
    });
}

#[test]
fn the_thread_is_joined_before_the_owner_is_notified_of_the_end() {
    /// Says that the thread that it is local to is as good as gone: this is the last thing that a
    /// thread does before it can be joined.
    struct Last(Arc<AtomicBool>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    thread_local! { static LAST: RefCell<Option<Last>> = const { RefCell::new(None) } }

    in_each_mode(|mode| {
        for _ in 0..10 {
            let subject = Subject::start(mode);
            let gone = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&gone);
            let submitted = subject.submit(move |_| {
                LAST.set(Some(Last(Arc::clone(&flag))));
                Ok(String::new())
            });
            submitted.only_reply();
            assert!(!gone.load(Ordering::Acquire));
            subject.context.close("closed");
            subject.ended();
            assert!(gone.load(Ordering::Acquire), "notified before the thread was gone");
        }
    });
}

/// How many interpreters there are.
fn interpreters(subject: &Subject) -> usize {
    let submitted = subject.submit(|_| {
        let mut count = 0;
        // SAFETY: attached; no other test runs and makes or ends an interpreter meanwhile.
        unsafe {
            let mut interpreter = ffi::PyInterpreterState_Head();
            while !interpreter.is_null() {
                count += 1;
                interpreter = ffi::PyInterpreterState_Next(interpreter);
            }
        }
        Ok(count.to_string())
    });
    match submitted.only_reply() {
        Reply::Value(count) => count.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn created_used_and_destroyed_50_times_nothing_is_left() {
    in_each_mode(|mode| {
        wait_for_no_threads();
        let watcher = Subject::start(Mode::Worker);
        // Where CPython leaks ended interpreters, the first is kept for the others.
        Subject::start(mode).end();
        let before = (context_threads().len(), interpreters(&watcher));
        for round in 0..50 {
            let subject = Subject::start(mode);
            subject.run("import threading, json; x = json.loads('[1, 2, 3]')");
            assert_eq!(subject.value("sum(x)"), "6");
            match round % 3 {
                0 => subject.context.drain(),
                1 => subject.context.close("closed"),
                _ => subject.context.kill("killed"),
            }
            subject.ended();
        }
        assert_eq!(interpreters(&watcher), before.1);
        assert_eq!(before.0, 1);
        watcher.end();
        wait_for_no_threads();
    });
}

#[test]
fn built_in_types_have_the_attributes_that_they_have_in_the_main_interpreter() {
    const WRAPPERS: &str = "[(c.__qualname__, sorted(n for n, v in vars(c).items()
            if type(v) is type(object.__str__)))
        for module in (__import__('builtins'), __import__('contextvars'))
        for c in vars(module).values() if isinstance(c, type)]";
    const MISSING: &str = "__import__('contextvars').Token.MISSING";
    const MEMBER: &str = "str(__import__('enum').IntEnum('Level', 'LOW HIGH').HIGH)";
    let seen = |mode| {
        let subject = Subject::start(mode);
        let seen = [WRAPPERS, MISSING, MEMBER].map(|question| subject.value(question));
        subject.end();
        seen
    };
    in_each_mode(|mode| {
        let [main, here] = [Mode::Worker, mode].map(seen);
        for (main, here) in main.into_iter().zip(here) {
            assert_eq!(main, here, "in a {mode:?}");
        }
    });
}

#[test]
fn several_start_and_end_at_the_same_time() {
    in_each_mode(|mode| {
        let all: Vec<_> = (0..6).map(|_| Subject::launch(mode, 8, Some("x = 1"))).collect();
        let values: Vec<_> = all.iter().map(|subject| subject.eval("x")).collect();
        all.iter().for_each(|subject| subject.started().unwrap());
        for value in values {
            assert_eq!(value.only_reply(), Reply::Value("1".into()));
        }
        all.iter().for_each(|subject| subject.context.close("closed"));
        all.iter().for_each(Subject::ended);
        wait_for_no_threads();
    });
}

#[test]
fn a_thread_that_python_left_running_does_not_take_the_process_down() {
    in_each_mode(|mode| {
        let lines = Lines::new();
        let (gate, opener) = std::io::pipe().unwrap();
        let subject = Subject::start(mode);
        let source = "\
import _thread, os
def stay():
    os.write(FD, b'in\\n')
    os.read(GO, 1)
    os.write(FD, b'out\\n')
_thread.start_new_thread(stay, ())
";
        let source = source.replace("FD", &lines.write_end().to_string());
        let source = source.replace("GO", &gate.as_raw_fd().to_string());
        subject.run(&source);
        assert_eq!(lines.next(), "in");
        subject.end();
        // Its interpreter is still there for it.
        drop(opener);
        assert_eq!(lines.next(), "out");
    });
}

#[test]
fn a_bug_on_the_thread_itself_ends_the_context_and_answers_everybody() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let blocked = subject.block();
        let cursed = subject.submit_cursed();
        let waiting = subject.eval("1");
        assert_eq!(blocked.release().only_reply(), Reply::Value("released".into()));
        assert_eq!(cursed.reply(), Reply::Died("thread ended"));
        assert_eq!(waiting.only_reply(), Reply::Died("thread ended"));
        subject.ended();
        wait_for_no_threads();
        // Others are not affected.
        let other = Subject::start(mode);
        assert_eq!(other.value("1"), "1");
        other.end();
    });
}

#[test]
fn objects_left_in_the_namespace_are_finalised_on_the_contexts_thread() {
    in_each_mode(|mode| {
        let lines = Lines::new();
        let subject = Subject::start(mode);
        // Defined in a dictionary of its own: a class is part of a cycle with its globals, which
        // would wait for a collection.
        let source = "\
source = '''
import os, threading
class Teller:
    def __del__(self, write=os.write, thread=threading.get_native_id):
        write(FD, f'{thread()}\\\\n'.encode())
'''
exec(source, apart := {})
teller = apart['Teller']()
";
        subject.run(&source.replace("FD", &lines.write_end().to_string()));
        let owner = subject.context.native_thread_id().to_string();
        subject.end();
        assert_eq!(lines.next(), owner);
    });
}
