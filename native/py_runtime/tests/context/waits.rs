//! Jobs that wait: what runs nested in them, and what ends the wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use py_runtime::code;
use py_runtime::context::{Context, Wait, WaitError};
use py_runtime::exception::Exception;
use py_runtime::ffi;
use py_runtime::job::Scope;
use py_runtime::reply_state::Cancel;

use crate::harness::{JobResult, Reply, Subject, Submitted, TestJob, eval, in_each_mode};

const LIMIT: u32 = 64;

/// Something to wait for, which others let happen.
#[derive(Default)]
pub(crate) struct Door {
    open: AtomicBool,
    /// Whether all jobs are known to be needed.
    needs_all: bool,
}

impl Door {
    pub(crate) fn open(&self, context: &Context<TestJob>) {
        self.open.store(true, Ordering::Release);
        context.wake_waiting_job();
    }
}

impl Wait<TestJob> for Door {
    fn is_over(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    fn needs(&self, _: &TestJob) -> bool {
        self.needs_all
    }
}

/// Waits as Python code sees it: an interrupted wait raises.
fn wait(scope: &Scope<'_, TestJob>, door: &Door, limit: u32) -> Result<(), Exception> {
    scope.wait(door, limit).map_err(|interrupted| match interrupted {
        WaitError::Interrupted => Exception::new("KeyboardInterrupt", ""),
        WaitError::TooDeep(levels) => Exception::new("RecursionError", levels.to_string()),
    })
}

/// A job that waits for the door, and reports when it does.
pub(crate) fn waiting(subject: &Subject, door: &Arc<Door>) -> Submitted {
    let (reached, is_there) = channel();
    let door = Arc::clone(door);
    let submitted = subject.submit(move |scope| {
        reached.send(()).unwrap();
        wait(scope, &door, LIMIT)?;
        eval(scope.py, scope.namespace, "'waited'")
    });
    is_there.recv().unwrap();
    submitted
}

pub(crate) fn value(text: &str) -> Reply {
    Reply::Value(text.into())
}

#[test]
fn a_waiting_job_goes_on_when_its_wait_is_over() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let submitted = waiting(&subject, &door);
        door.open(&subject.context);
        assert_eq!(submitted.only_reply(), value("waited"));
        subject.end();
    });
}

#[test]
fn others_run_while_a_job_waits_and_may_be_what_it_waits_for() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let submitted = waiting(&subject, &door);
        assert_eq!(subject.value("1 + 1"), "2");
        subject
            .submit(move |scope| {
                door.open(scope.context);
                Ok("opened".into())
            })
            .only_reply();
        assert_eq!(submitted.only_reply(), value("waited"));
        subject.end();
    });
}

/// A job that submits the next one and waits for it, nested in the one that waits for itself.
fn descend(
    scope: &Scope<'_, TestJob>,
    left: u64,
    limit: u32,
    deepest: &Arc<AtomicU64>,
) -> JobResult {
    deepest.fetch_add(1, Ordering::Relaxed);
    if left == 0 {
        return Ok("bottom".into());
    }
    let door = Arc::new(Door { needs_all: true, ..Door::default() });
    let (opener, counter) = (Arc::clone(&door), Arc::clone(deepest));
    let next = TestJob::without_reply(move |scope| {
        let answer = descend(scope, left - 1, limit, &counter);
        opener.open(scope.context);
        answer
    });
    scope.check_depth(limit).map_err(|_| Exception::new("RecursionError", "too deep"))?;
    scope.context.submit(next).unwrap();
    wait(scope, &door, limit)?;
    Ok("up again".into())
}

#[test]
fn waits_are_stacked_to_the_limit_and_no_further() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        for (levels, limit, reached) in [(64, 64, 65), (5, 3, 4)] {
            let runs = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&runs);
            let reply = subject.submit(move |scope| descend(scope, levels, limit, &counter));
            assert_eq!(reply.only_reply(), value("up again"));
            assert_eq!(runs.load(Ordering::Relaxed), reached);
        }
        let refused =
            subject.submit(|scope| wait(scope, &Door::default(), 0).map(|()| String::new()));
        assert_eq!(refused.only_reply(), Reply::Raised("RecursionError: 0".into()));
        subject.end();
    });
}

#[test]
fn a_wait_is_interrupted_and_the_next_job_is_not() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let submitted = waiting(&subject, &door);
        assert!(subject.context.interrupt());
        assert_eq!(submitted.only_reply(), Reply::Interrupted);
        assert_eq!(subject.value("sum(range(1000))"), "499500");
        subject.end();
    });
}

#[test]
fn a_cancelled_wait_ends() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let submitted = waiting(&subject, &door);
        assert_eq!(subject.cancel(&submitted), Cancel::Running);
        submitted.silence();
        subject.end();
    });
}

#[test]
fn an_interrupt_reaches_the_outer_job_if_the_caller_of_the_nested_one_has_cancelled() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let outer = waiting(&subject, &Arc::new(Door::default()));
        let nested = subject.block();
        assert_eq!(subject.cancel(nested.submitted()), Cancel::Running);
        assert!(subject.context.interrupt());
        nested.release().silence();
        assert_eq!(outer.only_reply(), Reply::Interrupted);
        subject.end();
    });
}

#[test]
fn an_interrupt_of_a_waiting_job_does_not_reach_the_one_nested_in_it() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let outer = waiting(&subject, &door);
        let (entered, is_in) = channel();
        let (go, gone) = channel::<()>();
        let gone = std::sync::Mutex::new(gone);
        let nested = subject.submit(move |scope| {
            entered.send(()).unwrap();
            scope.detached(|| {
                // Ends with an error too: when the test is over.
                let _ = gone.lock().unwrap().recv();
            });
            code::exec(scope.py, b"for _ in range(100000): pass", "<test>", scope.namespace)?;
            eval(scope.py, scope.namespace, "'unharmed'")
        });
        is_in.recv().unwrap();
        // Even if what it waits for happens too.
        door.open(&subject.context);
        assert_eq!(subject.cancel(&outer), Cancel::Running);
        // Longer than a striker needs to come around.
        let other = Subject::start(mode);
        let endless = crate::harness::running_code(&other, "while True: pass");
        other.cancel(&endless);
        endless.silence();
        other.end();
        go.send(()).unwrap();
        assert_eq!(nested.only_reply(), value("unharmed"));
        outer.silence();
        subject.end();
    });
}

#[test]
fn a_killed_context_ends_while_its_job_waits() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let outer = waiting(&subject, &door);
        let nested = waiting(&subject, &door);
        subject.context.kill("killed");
        assert_eq!(nested.only_reply(), Reply::Died("killed"));
        assert_eq!(outer.only_reply(), Reply::Died("killed"));
        subject.ended();
    });
}

#[test]
fn a_closed_context_lets_its_job_wait_to_the_end() {
    in_each_mode(|mode| {
        let (subject, door) = (Subject::start(mode), Arc::new(Door::default()));
        let submitted = waiting(&subject, &door);
        subject.context.close("closed");
        door.open(&subject.context);
        assert_eq!(submitted.only_reply(), value("waited"));
        subject.ended();
    });
}

#[test]
fn a_nested_job_does_not_see_the_exception_that_the_outer_one_handles() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let door = Arc::new(Door { needs_all: true, ..Door::default() });
        let submitted = subject.submit(move |scope| {
            let py = scope.py;
            // SAFETY: attached; a live exception, which becomes the one that is being handled.
            unsafe {
                let text = ffi::PyUnicode_FromString(c"outer".as_ptr());
                let value = ffi::PyObject_CallOneArg(ffi::PyExc_ValueError, text);
                ffi::Py_DECREF(text);
                let class = ffi::Py_NewRef(ffi::PyExc_ValueError);
                ffi::PyErr_SetExcInfo(class, value, std::ptr::null_mut());
            }
            let opener = Arc::clone(&door);
            let (seen, sight) = channel();
            let nested = TestJob::without_reply(move |scope| {
                let handled = eval(scope.py, scope.namespace, "__import__('sys').exc_info()");
                seen.send(handled).unwrap();
                opener.open(scope.context);
                Ok(String::new())
            });
            scope.context.submit(nested).unwrap();
            wait(scope, &door, LIMIT)?;
            let nested = sight.recv().unwrap()?;
            let own = eval(py, scope.namespace, "str(__import__('sys').exc_info()[1])")?;
            // SAFETY: attached; nothing is being handled any more.
            unsafe {
                ffi::PyErr_SetExcInfo(
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                );
            }
            Ok(format!("{nested} {own}"))
        });
        assert_eq!(submitted.only_reply(), value("(None, None, None) outer"));
        subject.end();
    });
}

/// A job that runs statements and then an endless loop; in which it is.
fn endless_after(subject: &Subject, source: &'static [u8]) -> Submitted {
    let (reached, is_there) = channel();
    let endless = subject.submit(move |scope| {
        code::exec(scope.py, source, "<test>", scope.namespace)?;
        reached.send(()).unwrap();
        code::exec(scope.py, b"while True: pass", "<test>", scope.namespace)?;
        Ok("never".into())
    });
    is_there.recv().unwrap();
    endless
}

#[test]
fn a_nested_job_that_is_interrupted_leaves_no_import_lock_behind() {
    in_each_mode(|mode| {
        let (subject, other) = (Subject::start(mode), Subject::start(mode));
        let door = Arc::new(Door::default());
        let outer = waiting(&subject, &door);
        let endless = endless_after(&subject, b"__import__('_imp').acquire_lock()");
        assert!(subject.context.interrupt());
        assert_eq!(endless.only_reply(), Reply::Interrupted);
        door.open(&subject.context);
        assert_eq!(outer.only_reply(), value("waited"));
        other.run("import colorsys");
        subject.end();
        other.end();
    });
}

#[test]
fn a_lock_half_released_and_those_after_it_are_released() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let endless = endless_after(
            &subject,
            b"\
from importlib import _bootstrap
locks = [_bootstrap._get_module_lock(name) for name in ('colorsys', 'this')]
for lock in locks:
    lock.acquire()
if isinstance(lock.count, list):
    locks[0].count.pop()
if hasattr(locks[1].lock, '_is_owned'):
    locks[1].lock.acquire()
",
        );
        assert!(subject.context.interrupt());
        assert_eq!(endless.only_reply(), Reply::Interrupted);
        let source = "\
import threading
taken = []
def take():
    for lock in locks:
        lock.acquire()
        lock.release()
        taken.append(lock.name)
thread = threading.Thread(target=take)
thread.start()
thread.join(60)
";
        subject.run(source);
        assert_eq!(subject.value("taken"), "['colorsys', 'this']");
        subject.end();
    });
}

#[test]
fn a_job_that_is_interrupted_in_its_wait_leaves_no_import_lock_behind() {
    in_each_mode(|mode| {
        let (subject, other) = (Subject::start(mode), Subject::start(mode));
        let (reached, is_there) = channel();
        let waiting = subject.submit(move |scope| {
            eval(scope.py, scope.namespace, "__import__('_imp').acquire_lock()")?;
            reached.send(()).unwrap();
            wait(scope, &Door::default(), LIMIT)?;
            Ok("never".into())
        });
        is_there.recv().unwrap();
        assert!(subject.context.interrupt());
        assert_eq!(waiting.only_reply(), Reply::Interrupted);
        other.run("import colorsys");
        subject.end();
        other.end();
    });
}
