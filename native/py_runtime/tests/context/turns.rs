//! Who gets the GIL: nobody starves. Counts are compared, never times.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use py_runtime::code;
use py_runtime::context::Context;
use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::job::Scope;
use py_runtime::mode::Mode;
use py_runtime::object::Object;
use py_runtime::reply_state::Cancel;

use crate::harness::{
    JobResult, Lines, MAX_WAIT, Reply, Subject, TestJob, in_each_mode, running_code,
    supported_modes,
};

/// Some 10 µs in one C function, which never releases the GIL by itself.
fn c_work(scope: &mut Scope<'_, TestJob>) -> JobResult {
    let py = scope.py;
    // SAFETY: attached; the list is live between its creation and its drop.
    let sorted = unsafe {
        let list = Object::from_owned(py, ffi::PyList_New(0)).ok_or_else(|| Exception::take(py))?;
        for number in 0..200 {
            let number = ffi::PyLong_FromLong(number * 7919 % 211);
            ffi::PyList_Append(list.as_ptr(), number);
            ffi::Py_DECREF(number);
        }
        ffi::PyList_Sort(list.as_ptr())
    };
    Ok(sorted.to_string())
}

/// Gives two busy contexts the same many jobs. Returns how many the other had done when the first
/// was through with its own.
fn race(mode: Mode, jobs: usize) -> usize {
    let subjects = [Subject::start(mode), Subject::start(mode)];
    let done = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    // Neither starts before both have all their jobs.
    let blocked = subjects.each_ref().map(Subject::block);
    let (finished, first) = channel();
    for (index, subject) in subjects.iter().enumerate() {
        for job in 1..=jobs {
            let done = done.clone();
            let finished = (job == jobs).then(|| finished.clone());
            drop(subject.submit(move |scope| {
                let answer = c_work(scope);
                done[index].fetch_add(1, Ordering::Relaxed);
                if let Some(finished) = &finished {
                    finished.send(done[1 - index].load(Ordering::Relaxed)).unwrap();
                }
                answer
            }));
        }
    }
    drop(blocked);
    let others = first.recv_timeout(MAX_WAIT).unwrap();
    subjects.into_iter().for_each(Subject::end);
    others
}

/// A thread that waits for the GIL asks its holder for it after so long, which here is for ever: it
/// gets it only if the holder hands it off by itself. Each job sets it, because it may be restored
/// after each.
const NEVER_ASK: &[u8] = b"import sys; sys.setswitchinterval(1000)";

/// Gives two busy contexts the same many jobs, and notes whose ran. Returns how many of one context
/// ran in a row, each time that the other took over.
fn turns(mode: Mode, jobs: usize) -> Vec<usize> {
    let subjects = [Subject::start(mode), Subject::start(mode)];
    let usual = subjects[0].value("__import__('sys').getswitchinterval()");
    let order = Arc::new(Mutex::new(Vec::with_capacity(2 * jobs)));
    // Neither starts before both have all their jobs.
    let blocked = subjects.each_ref().map(Subject::block);
    for (index, subject) in subjects.iter().enumerate() {
        for _ in 0..jobs {
            let order = Arc::clone(&order);
            drop(subject.submit(move |scope| {
                order.lock().unwrap().push(index);
                code::exec(scope.py, NEVER_ASK, "<test>", scope.namespace)?;
                c_work(scope)
            }));
        }
    }
    drop(blocked);
    subjects.iter().for_each(|subject| subject.run("pass"));
    subjects[0].run(&format!("import sys; sys.setswitchinterval({usual})"));
    subjects.into_iter().for_each(Subject::end);
    let order = order.lock().unwrap();
    let mut turns: Vec<_> = order.chunk_by(|one, next| one == next).map(<[_]>::len).collect();
    turns.pop();
    turns
}

#[test]
fn a_busy_context_hands_the_gil_off_to_another_that_waits() {
    in_each_mode(|mode| {
        if mode.shares_gil() {
            let jobs = 4_000;
            let mut turns = turns(mode, jobs);
            turns.sort_unstable();
            let median = turns.get(turns.len() / 2).copied().unwrap_or(jobs);
            println!("of {jobs} jobs {median} ran in a row, the longest {:?}", turns.last());
            assert!(
                median < jobs / 20,
                "{median} of {jobs} jobs ran in a row while another waited"
            );
        }
    });
}

#[test]
fn of_two_busy_contexts_neither_starves() {
    in_each_mode(|mode| {
        let jobs = 20_000;
        // The kernel chooses between threads that each have a GIL. On a busy machine it also
        // decides whether the thread that a GIL is handed off to runs in time.
        let neither_starves = (0..5).any(|_| {
            let others = race(mode, jobs);
            println!("when one had done {jobs}, the other had done {others}");
            others > jobs / 4
        });
        assert!(neither_starves);
    });
}

/// Short calls on one context beside something on another.
fn short_calls(subject: &Subject) {
    for i in 0..200 {
        assert_eq!(
            subject.eval(&format!("{i} + 1")).only_reply(),
            Reply::Value((i + 1).to_string())
        );
    }
}

#[test]
fn an_endless_python_job_does_not_stop_anothers_short_jobs_whatever_the_modes() {
    in_each_mode(|endless_jobs| {
        for others in supported_modes() {
            let (busy, other) = (Subject::start(endless_jobs), Subject::start(others));
            let endless = running_code(&busy, "while True: pass");
            short_calls(&other);
            // Waits for the GIL inside CPython.
            assert_eq!(other.block().release().only_reply(), Reply::Value("released".into()));
            assert!(busy.context.busy_for().is_some());
            busy.context.cancel(endless.seq);
            endless.silence();
            busy.end();
            other.end();
        }
    });
}

#[test]
fn an_endless_preload_does_not_stop_anothers_short_jobs() {
    in_each_mode(|mode| {
        let (lines, other) = (Lines::new(), Subject::start(mode));
        let source = "import os\nos.write(FD, b'in\\n')\nwhile True: pass";
        let source = source.replace("FD", &lines.write_end().to_string());
        let endless = Subject::launch(mode, 8, Some(&source));
        assert_eq!(lines.next(), "in");
        short_calls(&other);
        endless.context.kill("killed");
        assert!(endless.started().is_err());
        endless.ended();
        other.end();
    });
}

/// Keeps a context busy with jobs in C, without a pause, until the flag is cleared.
fn keep_busy(subject: &Subject) -> Arc<AtomicBool> {
    fn submit_next(context: &Context<TestJob>, more: &Arc<AtomicBool>) {
        let again = Arc::clone(more);
        let job = TestJob::without_reply(move |scope| {
            let answer = c_work(scope);
            if again.load(Ordering::Relaxed) {
                submit_next(scope.context, &again);
            }
            answer
        });
        // SubmitError only when the test has failed and ends.
        let _ = context.submit(job);
    }
    let more = Arc::new(AtomicBool::new(true));
    (0..8).for_each(|_| submit_next(&subject.context, &more));
    more
}

#[test]
fn a_stream_of_c_jobs_does_not_stop_anothers_short_jobs() {
    in_each_mode(|mode| {
        let (busy, other) = (Subject::start(mode), Subject::start(mode));
        let more = keep_busy(&busy);
        short_calls(&other);
        more.store(false, Ordering::Relaxed);
        busy.end();
        other.end();
    });
}

#[test]
fn a_job_blocked_in_c_does_not_stop_anothers_short_jobs() {
    in_each_mode(|mode| {
        let (blocked, other) = (Subject::start(mode), Subject::start(mode));
        let (reader, writer) = std::io::pipe().unwrap();
        let read =
            running_code(&blocked, &format!("import os; os.read({}, 1)", reader.as_raw_fd()));
        short_calls(&other);
        assert!(blocked.context.busy_for().is_some());
        drop(writer);
        assert_eq!(read.only_reply(), Reply::Value(String::new()));
        blocked.end();
        other.end();
    });
}

#[test]
fn a_stream_of_c_jobs_does_not_keep_a_job_from_coming_back_from_c() {
    in_each_mode(|busy| {
        for others in supported_modes() {
            let (busy, other) = (Subject::start(busy), Subject::start(others));
            let more = keep_busy(&busy);
            for _ in 0..20 {
                // Coming back, it waits for the GIL inside CPython.
                assert_eq!(other.block().release().only_reply(), Reply::Value("released".into()));
            }
            more.store(false, Ordering::Relaxed);
            busy.end();
            other.end();
        }
    });
}

#[test]
fn a_stream_of_c_jobs_does_not_stop_the_threads_that_python_started() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let lines = Lines::new();
        let source = "\
import os, threading
def count():
    for _ in range(20):
        os.write(FD, b'on\\n')
thread = threading.Thread(target=count)
thread.start()
";
        let more = keep_busy(&subject);
        subject.run(&source.replace("FD", &lines.write_end().to_string()));
        (0..20).for_each(|_| assert_eq!(lines.next(), "on"));
        more.store(false, Ordering::Relaxed);
        subject.run("thread.join()");
        subject.end();
    });
}

/// Longer than the holder ever keeps the GIL, so that a thread that waits inside CPython never asks
/// for it.
#[test]
fn a_long_switch_interval_starves_nobody() {
    in_each_mode(|mode| {
        let (busy, other) = (Subject::start(mode), Subject::start(mode));
        let usual = busy.eval("__import__('sys').getswitchinterval()").only_reply();
        busy.run("import sys; sys.setswitchinterval(0.05)");
        let more = keep_busy(&busy);
        for _ in 0..20 {
            assert_eq!(other.block().release().only_reply(), Reply::Value("released".into()));
        }
        more.store(false, Ordering::Relaxed);
        let Reply::Value(usual) = usual else { panic!("{usual:?}") };
        busy.run(&format!("sys.setswitchinterval({usual})"));
        busy.end();
        other.end();
    });
}

#[test]
fn a_switch_interval_is_bounded_and_neither_calls_nor_interrupts_wait_for_it() {
    in_each_mode(|mode| {
        let (busy, other) = (Subject::start(mode), Subject::start(mode));
        busy.run("import sys");
        // Code of `__main__` is users' code.
        assert_eq!(busy.value("sys.setswitchinterval.__module__ == '__main__'"), "False");
        let usual = busy.value("sys.getswitchinterval()");
        let endless = running_code(&busy, "sys.setswitchinterval(1e9)\nwhile True: pass");
        assert_eq!(other.value("1 + 1"), "2");
        assert_eq!(busy.cancel(&endless), Cancel::Running);
        endless.silence();
        assert_eq!(busy.value("sys.getswitchinterval()"), "0.005");
        busy.run("sys.setswitchinterval(0.001)");
        assert_eq!(busy.value("sys.getswitchinterval()"), "0.001");
        for (wrong, error) in [("0", "ValueError"), ("'1'", "TypeError")] {
            let refused = busy.exec(&format!("sys.setswitchinterval({wrong})")).only_reply();
            assert!(
                matches!(&refused, Reply::Raised(text) if text.starts_with(error)),
                "{refused:?}"
            );
        }
        busy.run(&format!("sys.setswitchinterval({usual})"));
        busy.end();
        other.end();
    });
}

/// No context knows that it runs. Before CPython 3.13 it isn't asked to release the GIL
/// of the GIL by those who wait in other interpreters.
#[test]
fn a_thread_that_python_started_lets_other_interpreters_in() {
    in_each_mode(|mode| {
        for others in supported_modes() {
            let (busy, other) = (Subject::start(mode), Subject::start(others));
            // As soon as there is one, the holder may not see that another interpreter waits.
            let sub = Subject::start(Mode::SubInterpreter);
            busy.run(
                "import threading\nstopped = False\ndef compute():\n    while not stopped: pass\n\
                 thread = threading.Thread(target=compute)\nthread.start()",
            );
            for _ in 0..20 {
                assert_eq!(other.value("1 + 1"), "2");
                assert_eq!(sub.value("1 + 1"), "2");
            }
            busy.run("stopped = True\nthread.join()");
            for subject in [busy, other, sub] {
                subject.end();
            }
        }
    });
}
