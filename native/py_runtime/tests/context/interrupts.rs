//! Cancelling and interrupting: the job meant, nobody else, and never its successor.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use py_runtime::code;
use py_runtime::context::Config;
use py_runtime::exception::TracebacksWanted;
use py_runtime::job::OnCallerDown;
use py_runtime::mode::Mode;
use py_runtime::reply_state::Cancel;

use crate::harness::{
    Lines, MAX_WAIT, Reply, Subject, Submitted, config, context_threads, eval, handle,
    in_each_mode, in_mode, running_code, wait_for_no_threads, wait_until,
};

#[test]
fn a_cancelled_waiting_job_never_runs() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("ran = False");
        let blocked = subject.block();
        let waiting = subject.exec("ran = True");
        assert_eq!(subject.cancel(&waiting), Cancel::Waiting);
        assert_eq!(subject.cancel(&waiting), Cancel::TooLate);
        waiting.silence();
        assert_eq!(blocked.release().only_reply(), Reply::Value("released".into()));
        assert_eq!(subject.value("ran"), "False");
        assert_eq!(subject.context.counts().timed_out, 1);
        subject.end();
    });
}

#[test]
fn a_cancelled_endless_loop_is_stopped_without_a_reply() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let endless = running_code(&subject, "while True: pass");
        assert_eq!(subject.cancel(&endless), Cancel::Running);
        endless.silence();
        assert_eq!(subject.value("'alive'"), "alive");
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn an_interrupt_while_an_exception_is_asked_for_its_text_says_so() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        let source = "\
import os
class Endless(Exception):
    def __str__(self):
        os.write(FD, b'asked\\n')
        while True: pass
";
        subject.run(&source.replace("FD", &lines.write_end().to_string()));
        for with_traceback in [false, true] {
            let endless = subject.submit(move |scope| {
                let _wanted = TracebacksWanted::from_now(with_traceback);
                code::exec(scope.py, b"raise Endless", "<test>", scope.namespace)?;
                Ok(String::new())
            });
            assert_eq!(lines.next(), "asked");
            assert!(subject.context.interrupt());
            assert_eq!(endless.only_reply(), Reply::Interrupted);
            assert_eq!(subject.value("'alive'"), "alive");
        }
        subject.end();
    });
}

#[test]
fn an_interrupted_endless_loop_says_so() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        assert!(!subject.context.interrupt(), "nothing runs yet");
        let endless = running_code(&subject, "while True: pass");
        assert!(subject.context.interrupt());
        assert_eq!(endless.only_reply(), Reply::Interrupted);
        assert_eq!(subject.value("'alive'"), "alive");
        assert_eq!(subject.context.counts().cancelled, 1);
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn code_that_swallows_interrupts_is_interrupted_again() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let lines = Lines::new();
        let source = "\
import os
def stubborn():
    for _ in range(3):
        try:
            os.write(FD, b'in\\n')
            while True: pass
        except KeyboardInterrupt: pass
    return 'gave in'
";
        subject.run(&source.replace("FD", &lines.write_end().to_string()));
        let stubborn = subject.eval("stubborn()");
        assert_eq!(lines.next(), "in");
        assert!(subject.context.interrupt());
        assert_eq!(stubborn.only_reply(), Reply::Value("gave in".into()));
        // Neither the exception that was too late nor a later one reaches this.
        assert_eq!(subject.value("sum(1 for _ in range(1000))"), "1000");
        subject.end();
    });
}

#[test]
fn code_blocked_in_c_is_interrupted_on_its_return() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let (reader, mut writer) = std::io::pipe().unwrap();
        subject.run("import os");
        let blocked = running_code(
            &subject,
            &format!("os.read({}, 1)\nwhile True: pass", reader.as_raw_fd()),
        );
        assert_eq!(subject.cancel(&blocked), Cancel::Running);
        writer.write_all(b".").unwrap();
        blocked.silence();
        assert_eq!(subject.value("'alive'"), "alive");
        subject.end();
    });
}

#[test]
fn a_job_that_is_cancelled_in_a_wait_for_an_import_keeps_no_other_from_it() {
    // Others wait for an import only where contexts share an interpreter.
    in_mode(Mode::Worker, |mode| {
        let [importer, cancelled, waiting, looker] = [(); 4].map(|()| Subject::start(mode));
        let lines = Lines::new();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let source = "\
import importlib.machinery, os, sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == 'imported_slowly':
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        os.write(OUT, b'in\\n')
        os.read(IN, 1)
def waiters():
    frames = list(sys._current_frames().values())
    return sum(frame.f_code.co_name == 'acquire' for frame in frames)
sys.meta_path.insert(0, Slow())
";
        let source = source.replace("OUT", &lines.write_end().to_string());
        looker.run(&source.replace("IN", &reader.as_raw_fd().to_string()));
        let first = importer.exec("import imported_slowly");
        assert_eq!(lines.next(), "in");
        let job = cancelled.exec("import imported_slowly");
        looker.run("while waiters() != 1: time.sleep(0.001)");
        let second = waiting.exec("import imported_slowly");
        looker.run("while waiters() != 2: time.sleep(0.001)");
        assert_eq!(cancelled.cancel(&job), Cancel::Running);
        // It is interrupted after the other.
        let endless = running_code(&looker, "while True: pass");
        assert_eq!(looker.cancel(&endless), Cancel::Running);
        endless.silence();
        writer.write_all(b".").unwrap();
        assert_eq!(first.only_reply(), Reply::Value(String::new()));
        assert_eq!(second.only_reply(), Reply::Value(String::new()));
        job.silence();
        looker.run("sys.meta_path.pop(0); del sys.modules['imported_slowly']");
        for subject in [importer, cancelled, waiting, looker] {
            subject.end();
        }
    });
}

#[test]
fn a_raised_keyboard_interrupt_is_an_exception_like_others() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let raised = subject.exec("raise KeyboardInterrupt('mine')").only_reply();
        assert_eq!(raised, Reply::Raised("KeyboardInterrupt: mine".into()));
        subject.end();
    });
}

/// Lengths of jobs between too short to be interrupted and never over without being interrupted.
/// The first is over before anybody tries.
const LENGTHS: [u64; 5] = [0, 100, 1000, 10_000, u64::MAX];

/// Submits a job that counts so far, and waits until it runs.
fn running_count(subject: &Subject, length: u64) -> Submitted {
    let (running, is_running) = channel();
    let source = format!("sum(1 for _ in range({length}))");
    let submitted = subject.submit(move |scope| {
        running.send(()).unwrap();
        eval(scope.py, scope.namespace, &source)
    });
    is_running.recv_timeout(MAX_WAIT).expect("the job should be running");
    submitted
}

/// A job that runs no Python code from when it is interrupted to its end: the exception is left
/// over. It has taken an import lock, which is given back after it by code that the exception would
/// interrupted first.
fn ends_before_it_raises(subject: &Subject) -> Submitted {
    let (running, is_running) = channel();
    let submitted = subject.submit(move |scope| {
        let lock = b"import _imp\n_imp.acquire_lock()";
        code::exec(scope.py, lock, "<test>", scope.namespace)?;
        running.send(()).unwrap();
        scope.detached(|| wait_until(|| scope.is_interrupted()));
        Ok("too late".into())
    });
    is_running.recv_timeout(MAX_WAIT).expect("the job should be running");
    submitted
}

#[test]
fn a_late_interrupt_never_reaches_the_next_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        for _ in 0..20 {
            let late = ends_before_it_raises(&subject);
            assert!(subject.context.interrupt());
            let next = subject.eval("sum(1 for _ in range(300))");
            assert_eq!(late.only_reply(), Reply::Value("too late".into()));
            assert_eq!(next.only_reply(), Reply::Value("300".into()));
            assert_eq!(subject.value("_imp.lock_held()"), "False");
        }
        let (mut stopped, mut done) = (0, 0);
        for round in 0..400 {
            let length = LENGTHS[round % LENGTHS.len()];
            let short = running_count(&subject, length);
            let early = (length == 0).then(|| short.reply());
            subject.context.interrupt();
            // Submitted at once, so that an exception still on its way finds the next job running.
            let next = subject.eval("sum(1 for _ in range(300))");
            match early.unwrap_or_else(|| short.only_reply()) {
                Reply::Value(value) if value == length.to_string() => done += 1,
                Reply::Interrupted => stopped += 1,
                other => panic!("round {round}: {other:?}"),
            }
            assert_eq!(next.only_reply(), Reply::Value("300".into()), "round {round}");
        }
        assert!(stopped > 0 && done > 0, "{done} done, {stopped} stopped");
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_late_cancellation_never_reaches_the_next_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        for _ in 0..20 {
            let late = ends_before_it_raises(&subject);
            assert_eq!(subject.cancel(&late), Cancel::Running);
            let next = subject.eval("sum(1 for _ in range(300))");
            late.silence();
            assert_eq!(next.only_reply(), Reply::Value("300".into()));
            assert_eq!(subject.value("_imp.lock_held()"), "False");
        }
        let (mut silent, mut done) = (0, 0);
        for round in 0..400 {
            let length = LENGTHS[round % LENGTHS.len()];
            let short = running_count(&subject, length);
            let early = (length == 0).then(|| short.reply());
            let cancel = subject.cancel(&short);
            let next = subject.eval("sum(1 for _ in range(300))");
            if cancel == Cancel::TooLate {
                let reply = early.unwrap_or_else(|| short.only_reply());
                assert_eq!(reply, Reply::Value(length.to_string()));
                done += 1;
            } else {
                assert_eq!(cancel, Cancel::Running);
                short.silence();
                silent += 1;
            }
            assert_eq!(next.only_reply(), Reply::Value("300".into()), "round {round}");
        }
        assert!(silent > 0 && done > 0, "{done} done, {silent} silent");
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn an_interrupt_stays_in_its_own_context() {
    in_each_mode(|mode| {
        let (one, other) = (Subject::start(mode), Subject::start(mode));
        let endless = running_code(&one, "while True: pass");
        let bystander = other.eval("sum(1 for _ in range(300000))");
        assert_eq!(one.cancel(&endless), Cancel::Running);
        endless.silence();
        assert_eq!(bystander.only_reply(), Reply::Value("300000".into()));
        one.end();
        other.end();
    });
}

#[test]
fn a_waiting_job_whose_caller_is_gone_never_runs() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        subject.run("ran = False");
        let blocked = subject.block();
        let waiting = subject.exec("ran = True");
        waiting.drop_caller();
        let next = subject.eval("ran");
        blocked.release().only_reply();
        waiting.silence();
        assert_eq!(next.only_reply(), Reply::Value("False".into()));
        assert_eq!(subject.context.counts().cancelled, 1);
        subject.end();
    });
}

#[test]
fn a_running_job_whose_caller_goes_is_stopped_without_a_reply() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let endless = running_code(&subject, "while True: pass");
        endless.drop_caller();
        endless.silence();
        assert_eq!(subject.value("'alive'"), "alive");
        assert_eq!(subject.context.counts().cancelled, 1);
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn a_context_may_finish_what_nobody_waits_for() {
    in_each_mode(|mode| {
        let subject =
            Subject::with_config(Config { on_caller_down: OnCallerDown::Finish, ..config(mode) });
        subject.started().unwrap();
        let job = subject.exec("ran = True");
        job.drop_caller();
        job.only_reply();
        assert_eq!(subject.value("ran"), "True");
        subject.end();
    });
}

#[test]
fn jobs_stopped_at_once_need_one_thread_per_gil() {
    in_each_mode(|mode| {
        // One that has had something to do for the last test is still there for a moment.
        wait_for_no_threads();
        let subjects: Vec<_> = (0..8).map(|_| Subject::start(mode)).collect();
        let endless_jobs: Vec<_> =
            subjects.iter().map(|subject| running_code(subject, "while True: pass")).collect();
        for (subject, endless) in subjects.iter().zip(&endless_jobs) {
            assert_eq!(subject.cancel(endless), Cancel::Running);
        }
        let gils = if mode.shares_gil() { 1 } else { subjects.len() };
        let strikers = context_threads().iter().filter(|name| name.starts_with("py_int")).count();
        assert!(strikers <= gils, "{strikers} threads for {gils} GILs");
        endless_jobs.into_iter().for_each(Submitted::silence);
        subjects.into_iter().for_each(Subject::end);
        wait_for_no_threads();
    });
}

/// Has it run an endless loop, and interrupts that.
fn interrupt_endless_job(subject: &Subject) {
    let endless = running_code(subject, "while True: pass");
    assert!(subject.context.interrupt());
    assert_eq!(endless.only_reply(), Reply::Interrupted);
}

#[test]
fn an_interrupted_job_leaves_no_import_lock_behind() {
    in_each_mode(|mode| {
        let (subject, other) = (Subject::start(mode), Subject::start(mode));
        // As an interrupt leaves them that comes just after importlib has taken them.
        subject.run(
            "import _imp\nfrom importlib import _bootstrap\n_imp.acquire_lock()\n\
             kept = _bootstrap._get_module_lock('colorsys')\nkept.acquire()",
        );
        interrupt_endless_job(&subject);
        other.run("import colorsys");
        subject.run("import colorsys");
        subject.end();
        other.end();
    });
}

#[test]
fn a_package_whose_import_was_interrupted_can_be_imported_again() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        let folder = std::env::temp_dir().join(format!("py_runtime_{}", std::process::id()));
        let package = folder.join("interrupted_package");
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("part.py"), "here = 1\n").unwrap();
        // As asyncio's own: it uses the part by the name that the first import binds.
        let init = "import builtins, os\nfrom .part import *\n\
                    if builtins.waits:\n os.write(builtins.out, b'in\\n')\n while True: pass\n\
                    found = part.here\n";
        std::fs::write(package.join("__init__.py"), init).unwrap();
        subject.run(&format!(
            "import builtins, sys\nsys.path.insert(0, {:?})\nbuiltins.waits = True\n\
             builtins.out = {}",
            folder.to_str().unwrap(),
            lines.write_end()
        ));
        let importing = subject.exec("import interrupted_package");
        assert_eq!(lines.next(), "in");
        assert_eq!(subject.cancel(&importing), Cancel::Running);
        importing.silence();
        subject.run("builtins.waits = False\nimport interrupted_package");
        assert_eq!(subject.value("interrupted_package.found"), "1");
        subject.run("sys.path.pop(0)");
        subject.end();
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn an_interrupted_job_leaves_no_lock_of_logging_behind() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        // As an interrupt leaves them that comes just after logging has taken them.
        subject.run(
            "import logging\nhandler = logging.StreamHandler()\n\
             locks = [logging._lock, handler.lock]\n\
             for lock in locks: lock.acquire()",
        );
        interrupt_endless_job(&subject);
        assert_eq!(subject.value("[lock._is_owned() for lock in locks]"), "[False, False]");
        subject.end();
    });
}

#[test]
fn an_interrupted_job_leaves_no_event_loop_running() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        // As an interrupt leaves it that comes just as a loop is about to end its run.
        subject.run(
            "import asyncio, threading\nasync def one(): return 1\n\
             kept = asyncio.new_event_loop()\nkept._thread_id = threading.get_ident()\n\
             asyncio._set_running_loop(kept)",
        );
        interrupt_endless_job(&subject);
        assert_eq!(subject.value("asyncio.run(one())"), "1");
        assert_eq!(subject.value("kept.run_until_complete(one())"), "1");
        subject.run("kept.close()");
        subject.end();
    });
}

#[test]
fn a_finalizer_that_blocks_the_next_job_can_be_interrupted() {
    in_each_mode(|mode| {
        let (subject, lines) = (Subject::start(mode), Lines::new());
        let source = "\
import os
class Endless:
    def __del__(self, write=os.write):
        write(FD, b'going\\n')
        while True: pass
";
        subject.run(&source.replace("FD", &lines.write_end().to_string()));
        assert!(!subject.context.interrupt());
        drop(handle(&subject, "Endless()"));
        assert_eq!(lines.next(), "going");
        let next = subject.eval("1 + 1");
        wait_until(|| subject.context.interrupt());
        assert_eq!(next.only_reply(), Reply::Value("2".into()));
        subject.end();
    });
}

#[test]
fn an_interrupted_finalizer_cleans_up_undisturbed() {
    in_each_mode(|mode| {
        let interrupt_grace = Some(MAX_WAIT);
        let subject = Subject::with_config(Config { interrupt_grace, ..config(mode) });
        subject.started().unwrap();
        let lines = Lines::new();
        let source = "\
import os, time
class Endless:
    def __del__(self, write=os.write):
        try:
            write(FD, b'going\\n')
            while True: pass
        finally:
            time.sleep(0.1)
            for _ in range(1000): pass
            write(FD, b'done\\n')
";
        subject.run(&source.replace("FD", &lines.write_end().to_string()));
        drop(handle(&subject, "Endless()"));
        assert_eq!(lines.next(), "going");
        wait_until(|| subject.context.interrupt());
        assert_eq!(lines.next(), "done");
        // Nothing of it is left to reach this.
        assert_eq!(subject.value("sum(1 for _ in range(1000))"), "1000");
        subject.end();
        wait_for_no_threads();
    });
}

#[test]
fn an_interrupt_is_not_spent_on_what_is_tidied_up_between_jobs() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let mut spent = 0;
        for _ in 0..400 {
            drop(handle(&subject, "object()"));
            // What the one before it has left is tidied up after its reply.
            let endless = subject.exec("while True: pass");
            wait_until(|| subject.context.interrupt());
            let reply = endless.reply_within(Duration::from_secs(1)).unwrap_or_else(|| {
                // That lasts long enough to be interrupted when its thread is scheduled out.
                spent += 1;
                wait_until(|| subject.context.interrupt());
                endless.reply()
            });
            assert_eq!(reply, Reply::Interrupted);
        }
        assert!(spent < 20, "{spent} interrupts were spent");
        subject.end();
    });
}

/// Runs a function traced, and profiled, and leaves neither on.
const TRACED: &str = "\
import sys
def traced():
    for switch in (sys.settrace, sys.setprofile):
        switch(lambda *_: None)
        (lambda: None)()
        switch(None)
traced()
";

#[test]
fn code_that_traces_runs_after_an_interrupt() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let endless = running_code(&subject, "while True: pass");
        assert_eq!(subject.cancel(&endless), Cancel::Running);
        endless.silence();
        subject.run(TRACED);
        subject.end();
    });
}

#[test]
fn code_that_traces_runs_after_another_context_has_ended() {
    in_each_mode(|mode| {
        let (subject, other) = (Subject::start(mode), Subject::start(mode));
        other.end();
        subject.run(TRACED);
        subject.end();
    });
}

#[test]
fn code_that_traces_runs_beside_one_that_does_not_come_back() {
    in_each_mode(|mode| {
        let (subject, other) = (Subject::start(mode), Subject::start(mode));
        let blocked = other.block();
        let endless = running_code(&subject, "while True: pass");
        assert_eq!(other.cancel(blocked.submitted()), Cancel::Running);
        // Where both have one GIL they are interrupted in this order.
        assert_eq!(subject.cancel(&endless), Cancel::Running);
        endless.silence();
        // Longer than from one interrupt to the next.
        subject.run(&format!(
            "import time\nend = time.monotonic() + 0.1\n{}\n\
             while time.monotonic() < end: traced()",
            TRACED
        ));
        blocked.release().silence();
        subject.end();
        other.end();
    });
}

#[test]
fn what_traces_an_interrupted_job_does_not_trace_the_next_one() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let source = "\
import sys
def trace(*_): pass
sys.setprofile(trace)
sys.settrace(trace)
";
        let functions = "(sys.gettrace(), sys.getprofile())";
        subject.run(source);
        assert_eq!(subject.value(&format!("{functions} == (trace, trace)")), "True");
        interrupt_endless_job(&subject);
        assert_eq!(subject.value(functions), "(None, None)");
        subject.end();
    });
}
