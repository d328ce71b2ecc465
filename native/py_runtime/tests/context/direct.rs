//! Jobs that their callers run themselves, while the context's thread has nothing to do.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use py_runtime::code;
use py_runtime::context::Config;
use py_runtime::direct::{self, DirectEnd, DirectRun, DirectScope};
use py_runtime::exception::Exception;
use py_runtime::job::Outcome;
use py_runtime::mode::Mode;

use crate::harness::{
    JobResult, Lines, Reply, Subject, TestJob, config, detached, eval, in_mode, running_code,
    wait_until,
};

/// Runs `test` in each mode in which contexts lend themselves.
fn in_lending_modes(test: impl Fn(Mode)) {
    in_mode(Mode::Worker, &test);
    if direct::is_supported(Mode::OwnGil) {
        in_mode(Mode::OwnGil, &test);
    }
}

/// A context that lends itself.
fn lender(mode: Mode) -> Subject {
    direct::enable();
    Subject::start(mode)
}

/// Runs `work` directly, if everything is free.
fn try_direct(
    subject: &Subject,
    timeout: Option<Duration>,
    work: impl FnOnce(&DirectScope<'_, TestJob>) -> JobResult,
) -> Option<DirectRun<JobResult>> {
    subject.context.run_direct(timeout, |scope| {
        let result = work(scope);
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        Some((result, outcome))
    })
}

/// The same, once everything is free.
fn direct(
    subject: &Subject,
    timeout: Option<Duration>,
    work: impl Fn(&DirectScope<'_, TestJob>) -> JobResult,
) -> DirectRun<JobResult> {
    let mut done = None;
    wait_until(|| {
        done = try_direct(subject, timeout, &work);
        done.is_some()
    });
    done.unwrap()
}

fn direct_eval(subject: &Subject, source: &str) -> Result<String, Exception> {
    direct(subject, None, |scope| eval(scope.py, scope.namespace, source)).value
}

fn direct_exec(subject: &Subject, source: &str) -> Result<String, Exception> {
    let run = direct(subject, None, |scope| {
        code::exec(scope.py, source.as_bytes(), "<test>", scope.namespace)?;
        Ok(String::new())
    });
    run.value
}

fn is_refused(subject: &Subject) -> bool {
    try_direct(subject, None, |_| Ok(String::new())).is_none()
}

fn class_of(result: JobResult) -> String {
    result.map_or_else(|raised| raised.class.to_string(), |value| format!("no error: {value}"))
}

#[test]
fn a_direct_run_sees_what_jobs_have_left_and_the_other_way_round() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        for round in 0..200 {
            subject.run(&format!("left = {round}"));
            assert_eq!(direct_eval(&subject, "left"), Ok(round.to_string()));
            direct_exec(&subject, &format!("right = {round}")).unwrap();
            assert_eq!(subject.value("right"), round.to_string());
        }
        assert_eq!(subject.context.direct_counts().0, 400);
        assert_eq!(subject.context.counts().done, 800);
        subject.end();
    });
}

#[test]
fn a_context_that_works_or_has_ended_is_not_lent() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        direct_eval(&subject, "1").unwrap();
        let blocked = subject.block();
        assert!(is_refused(&subject), "while it runs a job");
        blocked.release().only_reply();
        direct_eval(&subject, "1").unwrap();
        let context = std::sync::Arc::clone(&subject.context);
        subject.end();
        let refused = context.run_direct(None, |_| Some(((), Outcome::Done)));
        assert!(refused.is_none(), "after its end");
    });
}

#[test]
fn no_direct_run_waits_for_the_gil() {
    // Of contexts that share one.
    in_mode(Mode::Worker, |mode| {
        let (subject, neighbour) = (lender(mode), lender(mode));
        direct_eval(&subject, "1").unwrap();
        let refused = || (0..100).all(|_| is_refused(&subject));
        let computes = running_code(&neighbour, "while True: pass");
        assert!(refused());
        neighbour.context.cancel(computes.seq);
        computes.silence();
        direct_eval(&subject, "1").unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        let source = format!("import os\nos.read({}, 1)", reader.as_raw_fd());
        let waits_in_c = running_code(&neighbour, &source);
        assert!(refused());
        writer.write_all(b".").unwrap();
        waits_in_c.only_reply();
        direct_eval(&subject, "1").unwrap();
        subject.end();
        neighbour.end();
    });
}

#[test]
fn no_direct_run_waits_for_a_thread_of_python_code() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        direct_eval(&subject, "1").unwrap();
        subject.run(
            "import threading\nstop = threading.Event()\n\
             def compute():\n while not stop.is_set(): pass\n\
             thread = threading.Thread(target=compute)\nthread.start()",
        );
        // Refused from the moment at which its thread lends the context again.
        for _ in 0..100 {
            assert!(is_refused(&subject));
        }
        subject.run("stop.set(); thread.join()");
        direct_eval(&subject, "1").unwrap();
        subject.end();
    });
}

#[test]
fn no_direct_run_waits_for_a_thread_of_another_interpreter_that_shares_the_gil() {
    in_mode(Mode::SubInterpreter, |mode| {
        let (subject, neighbour) = (lender(Mode::Worker), Subject::start(mode));
        direct_eval(&subject, "1").unwrap();
        neighbour.run(
            "import threading\nstop = threading.Event()\n\
             def compute():\n while not stop.is_set(): sum(range(1000))\n\
             thread = threading.Thread(target=compute)\nthread.start()",
        );
        for _ in 0..100 {
            assert!(is_refused(&subject));
        }
        neighbour.run("threading.Timer(0.01, stop.set).start()");
        // The next job of the other context notes that they have ended, not their own one.
        wait_until(|| {
            subject.run("pass");
            !is_refused(&subject)
        });
        neighbour.run("stop.clear(); thread = threading.Thread(target=compute); thread.start()");
        assert!(is_refused(&subject));
        neighbour.run("threading.Timer(0.01, stop.set).start()");
        // It ends when the thread has; then nothing of it is counted any more.
        neighbour.end();
        direct_eval(&subject, "1").unwrap();
        subject.end();
    });
}

#[test]
fn a_direct_run_keeps_the_gil_although_a_job_of_another_context_wants_it() {
    in_mode(Mode::Worker, |mode| {
        let (subject, neighbour) = (lender(mode), lender(mode));
        subject.run("import builtins, time");
        neighbour.run("import builtins");
        // A machine that is busy now takes longer than a job waits for a direct run.
        let keeps_it = || {
            let job = std::sync::Mutex::new(None);
            let run = direct(&subject, None, |scope| {
                code::exec(scope.py, b"builtins.taken = False", "<test>", scope.namespace)?;
                *job.lock().unwrap() = Some(neighbour.exec("builtins.taken = True"));
                let source = b"end = time.perf_counter() + 0.005\n\
                               while time.perf_counter() < end: pass";
                code::exec(scope.py, source, "<test>", scope.namespace)?;
                eval(scope.py, scope.namespace, "builtins.taken")
            });
            job.into_inner().unwrap().unwrap().only_reply();
            run.value == Ok("False".into())
        };
        assert!((0..50).any(|_| keeps_it()));
        assert_eq!(subject.value("builtins.taken"), "True");
        subject.run("del builtins.taken");
        subject.end();
        neighbour.end();
    });
}

#[test]
fn a_direct_run_of_another_context_is_waited_for_no_longer_than_a_moment() {
    // Of contexts that share one.
    in_mode(Mode::Worker, |mode| {
        let (one, other) = (lender(mode), lender(mode));
        direct_eval(&one, "1").unwrap();
        direct_eval(&other, "1").unwrap();
        let refused = direct(&one, None, |_| {
            // On another thread: this one is attached.
            let refused =
                std::thread::scope(|scope| scope.spawn(|| is_refused(&other)).join().unwrap());
            Ok(refused.to_string())
        });
        assert_eq!(refused.value, Ok("true".into()));
        one.end();
        other.end();
    });
}

#[test]
fn a_job_waits_for_the_direct_run_before_it() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        let submitted = std::sync::Mutex::new(None);
        let run = direct(&subject, None, |scope| {
            let mut submitted = submitted.lock().unwrap();
            let job = submitted.get_or_insert_with(|| subject.eval("order + ['job']"));
            // It would answer at once.
            let early = detached(scope.py, || job.reply_within(Duration::from_millis(20)));
            assert_eq!(early, None);
            code::exec(scope.py, b"order = ['direct']", "<test>", scope.namespace)?;
            Ok(String::new())
        });
        run.value.unwrap();
        let job = submitted.into_inner().unwrap().unwrap();
        assert_eq!(job.only_reply(), Reply::Value("['direct', 'job']".into()));
        subject.end();
    });
}

#[test]
fn an_endless_direct_run_is_interrupted_and_nothing_after_it() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        let lines = Lines::new();
        let source =
            format!("import os\nos.write({}, b'in\\n')\nwhile True: pass", lines.write_end());
        for _ in 0..20 {
            let run = std::thread::scope(|scope| {
                scope.spawn(|| {
                    lines.next();
                    assert!(subject.context.busy_for().is_some());
                    assert!(subject.context.interrupt());
                });
                direct(&subject, None, |scope| {
                    code::exec(scope.py, source.as_bytes(), "<test>", scope.namespace)?;
                    Ok(String::new())
                })
            });
            assert_eq!(run.end, DirectEnd::Interrupted);
            assert_eq!(class_of(run.value), "KeyboardInterrupt");
            assert_eq!(direct_eval(&subject, "sum(1 for _ in range(300))"), Ok("300".into()));
            assert_eq!(subject.value("sum(1 for _ in range(300))"), "300");
        }
        assert_eq!(subject.context.counts().cancelled, 20);
        subject.end();
    });
}

#[test]
fn a_direct_run_is_stopped_when_its_time_is_up() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        let timeout = Some(Duration::from_millis(30));
        let run = direct(&subject, timeout, |scope| {
            code::exec(scope.py, b"while True: pass", "<test>", scope.namespace)?;
            Ok(String::new())
        });
        assert_eq!(run.end, DirectEnd::TimedOut);
        assert!(run.took >= Duration::from_millis(30), "{:?}", run.took);
        assert_eq!(subject.context.counts().timed_out, 1);
        subject.end();
    });
}

#[test]
fn without_a_timeout_a_direct_run_is_stopped_when_it_would_be_stuck() {
    in_lending_modes(|mode| {
        direct::enable();
        let stuck_after = Some(Duration::from_millis(30));
        let subject = Subject::with_config(Config { stuck_after, ..config(mode) });
        subject.started().unwrap();
        let run = direct(&subject, None, |scope| {
            code::exec(scope.py, b"while True: pass", "<test>", scope.namespace)?;
            Ok(String::new())
        });
        assert_eq!(run.end, DirectEnd::Interrupted);
        subject.end();
    });
}

#[test]
fn a_killed_context_ends_its_direct_run() {
    in_lending_modes(|mode| {
        let (subject, lines) = (lender(mode), Lines::new());
        let source =
            format!("import os\nos.write({}, b'in\\n')\nwhile True: pass", lines.write_end());
        let run = std::thread::scope(|scope| {
            scope.spawn(|| {
                lines.next();
                subject.context.kill("on purpose");
            });
            direct(&subject, None, |scope| {
                code::exec(scope.py, source.as_bytes(), "<test>", scope.namespace)?;
                Ok(String::new())
            })
        });
        assert_eq!(run.end, DirectEnd::ContextDied);
        subject.ended();
    });
}

#[test]
fn a_direct_run_that_does_not_return_from_c_makes_its_context_stuck() {
    in_lending_modes(|mode| {
        direct::enable();
        let stuck_after = Some(Duration::from_millis(30));
        let subject = Subject::with_config(Config { stuck_after, ..config(mode) });
        subject.started().unwrap();
        let may_return = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let blocks = |_: &DirectScope<'_, TestJob>| {
                    // Attached, as code in C that doesn't release the GIL.
                    wait_until(|| may_return.load(Ordering::Relaxed));
                    Ok(String::new())
                };
                direct(&subject, Some(Duration::from_millis(10)), blocks)
            });
            subject.stuck();
            assert!(subject.context.is_stuck());
            may_return.store(true, Ordering::Relaxed);
            assert_eq!(run.join().unwrap().end, DirectEnd::TimedOut);
        });
        assert_eq!(subject.value("1 + 1"), "2");
        subject.end();
    });
}

#[test]
fn deep_recursion_in_a_direct_run_is_an_exception() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        subject.run(
            "import json\ndef down(n): return down(n + 1)\n\
             class Deep:\n def __repr__(self): return repr([self])\n\
             nested = []\n\
             for _ in range(100_000): nested = [nested]",
        );
        for source in ["down(0)", "repr(Deep())", "json.dumps(nested)", "repr(nested)"] {
            // On a thread with as small a stack as a scheduler may have.
            let small = std::thread::Builder::new().stack_size(256 << 10);
            let result = std::thread::scope(|scope| {
                let run = small.spawn_scoped(scope, || direct_eval(&subject, source)).unwrap();
                run.join().unwrap()
            });
            assert_eq!(class_of(result), "RecursionError", "{source}");
        }
        subject.run("while nested: nested = nested.pop()");
        subject.end();
    });
}

#[test]
fn all_threads_of_a_context_have_its_context_variables() {
    in_lending_modes(|mode| {
        let (subject, other) = (lender(mode), lender(mode));
        subject.run("import contextvars, decimal\nv = contextvars.ContextVar('v', default=0)");
        other.run("import decimal");
        subject.run("v.set(1); decimal.getcontext().prec = 5");
        assert_eq!(direct_eval(&subject, "v.get()"), Ok("1".into()));
        assert_eq!(direct_eval(&subject, "decimal.Decimal(1) / 3"), Ok("0.33333".into()));
        direct_exec(&subject, "v.set(2); decimal.getcontext().prec = 3").unwrap();
        assert_eq!(subject.value("v.get()"), "2");
        assert_eq!(subject.value("decimal.Decimal(1) / 3"), "0.333");
        assert_eq!(direct_eval(&other, "decimal.getcontext().prec"), Ok("28".into()));
        subject.end();
        other.end();
    });
}

#[test]
fn context_variables_set_before_the_first_direct_run_can_be_reset_after_it() {
    in_lending_modes(|mode| {
        let subject = Subject::start(mode);
        subject.run(
            "import contextvars\nv = contextvars.ContextVar('v', default=0)\ntoken = v.set(1)",
        );
        direct::enable();
        subject.run("pass");
        assert_eq!(direct_eval(&subject, "v.get()"), Ok("1".into()));
        subject.run("v.reset(token)");
        assert_eq!(direct_eval(&subject, "v.get()"), Ok("0".into()));
        subject.end();
    });
}

#[test]
fn a_direct_run_leaves_nothing_on_its_thread_that_another_context_would_find() {
    in_lending_modes(|mode| {
        let (subject, other) = (lender(mode), lender(mode));
        other.run("import asyncio, sys");
        subject.run("import asyncio, sys");
        let traces = "(sys.gettrace(), sys.getprofile())";
        for function in ["settrace", "setprofile"] {
            direct_exec(&subject, &format!("sys.{function}(lambda *_: None)")).unwrap();
            assert_eq!(direct_eval(&other, traces), Ok("(None, None)".into()), "{function}");
        }
        let run = direct(&subject, Some(Duration::from_millis(10)), |scope| {
            let source = b"asyncio._set_running_loop(asyncio.new_event_loop())\nwhile True: pass";
            code::exec(scope.py, source, "<test>", scope.namespace)?;
            Ok(String::new())
        });
        assert_eq!(run.end, DirectEnd::TimedOut);
        assert_eq!(direct_eval(&other, "asyncio._get_running_loop()"), Ok("None".into()));
        subject.end();
        other.end();
    });
}

#[test]
fn what_direct_runs_leave_in_cycles_is_collected() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        subject.run(
            "alive = 0\nclass Cyclic:\n \
             def __init__(self):\n  global alive\n  alive += 1\n  self.itself = self\n \
             def __del__(self):\n  global alive\n  alive -= 1\n\
             import gc\nassert gc.isenabled()",
        );
        for _ in 0..20_000 {
            direct_exec(&subject, "Cyclic()").unwrap();
        }
        let alive: u32 = subject.value("alive").parse().unwrap();
        assert!(alive < 10_000, "{alive} of 20000 are alive");
        assert_eq!(subject.value("gc.isenabled()"), "True");
        subject.end();
    });
}

#[test]
fn a_direct_run_that_declines_has_not_been() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        direct_eval(&subject, "1").unwrap();
        let declined = subject.context.run_direct(None, |_| None::<((), Outcome)>);
        assert!(declined.is_none());
        let (done, refused) = subject.context.direct_counts();
        assert_eq!(done, 1);
        assert!(refused >= 1);
        assert_eq!(subject.context.counts().done, 1);
        subject.end();
    });
}

#[test]
fn a_panic_in_a_direct_run_leaves_the_context_as_it_was() {
    in_lending_modes(|mode| {
        let subject = lender(mode);
        direct_eval(&subject, "1").unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            direct(&subject, None, |_| panic!("on purpose"))
        }));
        assert!(panicked.is_err());
        assert_eq!(direct_eval(&subject, "1 + 1"), Ok("2".into()));
        assert_eq!(subject.value("2 + 2"), "4");
        subject.end();
    });
}

#[test]
fn callers_on_many_threads_share_contexts_with_jobs() {
    in_lending_modes(|mode| {
        let subjects = [lender(mode), lender(mode)];
        for subject in &subjects {
            subject.run("n = 0");
        }
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..3000 {
                        let subject = &subjects[round % 2];
                        let add = |scope: &DirectScope<'_, TestJob>| {
                            code::exec(scope.py, b"n += 1", "<test>", scope.namespace)?;
                            Ok(String::new())
                        };
                        if round % 7 == 0 || try_direct(subject, None, add).is_none() {
                            subject.run("n += 1");
                        }
                    }
                });
            }
        });
        let counted: u32 = subjects.iter().map(|s| s.value("n").parse::<u32>().unwrap()).sum();
        assert_eq!(counted, 9000);
        subjects.into_iter().for_each(Subject::end);
    });
}

#[test]
fn a_context_with_its_own_gil_is_lent_beside_one_that_computes() {
    in_lending_modes(|mode| {
        if mode.shares_gil() {
            return;
        }
        let (subject, neighbour) = (lender(mode), lender(mode));
        direct_eval(&subject, "1").unwrap();
        let computes = running_code(&neighbour, "while True: pass");
        assert_eq!(direct_eval(&subject, "1 + 1"), Ok("2".into()));
        neighbour.context.cancel(computes.seq);
        computes.silence();
        subject.end();
        neighbour.end();
    });
}

#[test]
fn an_interpreter_that_was_lent_is_used_again_and_not_ended() {
    in_lending_modes(|mode| {
        let mut numbers = Vec::new();
        for round in 0..20 {
            let subject = lender(mode);
            subject.run(&format!("import threading\nkept = threading.local()\nround = {round}"));
            assert_eq!(direct_eval(&subject, "round"), Ok(round.to_string()));
            direct_exec(&subject, "kept.value = 'left'").unwrap();
            numbers.push(subject.context.interpreter_number());
            subject.end();
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 1, "one interpreter after the other: {numbers:?}");
    });
}
