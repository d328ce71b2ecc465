//! Exactly one reply for every accepted job, however the context ends.

use std::sync::mpsc::channel;

use py_runtime::context::SubmitError;
use py_runtime::mode::Mode;

use crate::harness::{Reply, Subject, Submitted, eval, in_each_mode, wait_for_no_threads};

const CALLERS: usize = 4;
const JOBS: usize = 1000;

/// Has several threads submit jobs, ends the context by `end` when it has run some of them, and
/// returns the replies to the accepted jobs and how many were refused.
fn under_load(mode: Mode, end: impl FnOnce(&Subject)) -> (Vec<Reply>, usize) {
    let subject = Subject::start(mode);
    let (some_ran, wait_for_some) = channel();
    // Which job it is that lets the end begin: somewhere in the middle.
    let trigger = CALLERS * JOBS / 3;
    let (submitted, refused) = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (subject, some_ran) = (&subject, some_ran.clone());
                scope.spawn(move || submit_jobs(subject, caller, trigger, &some_ran))
            })
            .collect();
        drop(some_ran);
        wait_for_some.recv().expect("the context should get as far as the trigger");
        end(&subject);
        let mut all = (Vec::new(), 0);
        for caller in callers {
            let (submitted, refused) = caller.join().unwrap();
            all.0.extend(submitted);
            all.1 += refused;
        }
        all
    });
    assert_eq!(submitted.len() + refused, CALLERS * JOBS);
    let replies = submitted.into_iter().map(Submitted::only_reply).collect();
    subject.ended();
    wait_for_no_threads();
    (replies, refused)
}

fn submit_jobs(
    subject: &Subject,
    caller: usize,
    trigger: usize,
    some_ran: &std::sync::mpsc::Sender<()>,
) -> (Vec<Submitted>, usize) {
    let mut submitted = Vec::with_capacity(JOBS);
    for job in 0..JOBS {
        let is_trigger = caller == 0 && job == trigger / CALLERS;
        let some_ran = is_trigger.then(|| some_ran.clone());
        let result = subject.try_submit(move |scope| {
            if let Some(some_ran) = &some_ran {
                some_ran.send(()).unwrap();
            }
            eval(scope.py, scope.namespace, "sum(range(10))")
        });
        match result {
            Ok(job) => submitted.push(job),
            Err(SubmitError::Closed(_)) => return (submitted, JOBS - job),
            Err(other) => panic!("the queue takes all: {other:?}"),
        }
    }
    (submitted, 0)
}

fn is_value(reply: &Reply) -> bool {
    *reply == Reply::Value("45".into())
}

#[test]
fn closing_under_load_answers_every_job_once() {
    in_each_mode(|mode| {
        let (replies, _) = under_load(mode, |subject| subject.context.close("closed"));
        assert!(replies.iter().all(|reply| is_value(reply) || *reply == Reply::Died("closed")));
        assert!(replies.iter().any(is_value));
    });
}

#[test]
fn killing_under_load_answers_every_job_once() {
    in_each_mode(|mode| {
        let (replies, _) = under_load(mode, |subject| subject.context.kill("killed"));
        let expected = |reply: &Reply| is_value(reply) || *reply == Reply::Died("killed");
        let unexpected: Vec<_> = replies.iter().filter(|reply| !expected(reply)).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
        assert!(replies.iter().any(is_value));
    });
}

#[test]
fn draining_under_load_runs_every_accepted_job() {
    in_each_mode(|mode| {
        let (replies, _) = under_load(mode, |subject| subject.context.drain());
        assert!(replies.iter().all(is_value));
    });
}

#[test]
fn cancelling_under_load_answers_or_silences_every_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let submitted: Vec<_> = (0..2000).map(|_| subject.eval("sum(range(10))")).collect();
        let (mut cancelled, mut answered) = (0, 0);
        for job in submitted.into_iter().rev() {
            if subject.cancel(&job) == py_runtime::reply_state::Cancel::TooLate {
                assert!(is_value(&job.only_reply()));
                answered += 1;
            } else {
                job.silence();
                cancelled += 1;
            }
        }
        assert_eq!(subject.value("'alive'"), "alive");
        assert_eq!(subject.context.counts().timed_out, cancelled);
        assert_eq!(subject.context.counts().done, answered + 1);
        subject.end();
    });
}

#[test]
fn a_killed_context_answers_its_running_job_at_once() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let blocked = subject.block();
        let waiting = subject.eval("1");
        subject.context.kill("killed");
        // The job is still blocked: these are answered without its help.
        assert_eq!(blocked.submitted().reply(), Reply::Died("killed"));
        assert_eq!(waiting.only_reply(), Reply::Died("killed"));
        blocked.release().silence();
        subject.ended();
    });
}

#[test]
fn an_endless_job_is_stopped_by_a_kill() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let endless = subject.exec("while True: pass");
        subject.context.kill("killed");
        assert_eq!(endless.only_reply(), Reply::Died("killed"));
        subject.ended();
        wait_for_no_threads();
    });
}

#[test]
fn a_closed_context_finishes_its_running_job() {
    in_each_mode(|mode| {
        let subject = Subject::start(mode);
        let blocked = subject.block();
        let waiting = subject.eval("1");
        subject.context.close("closed");
        assert_eq!(waiting.only_reply(), Reply::Died("closed"));
        assert_eq!(blocked.release().only_reply(), Reply::Value("released".into()));
        subject.ended();
    });
}
