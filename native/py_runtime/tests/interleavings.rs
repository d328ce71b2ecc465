//! Every interleaving of what takes no lock, by loom.
//!
//! `cargo test -p py_runtime --features loom --release --test interleavings`. Without the feature
//! there is nothing here: the crate is then built with the real mutexes and atomics.

#![cfg(feature = "loom")]

use std::cell::Cell;
use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Mutex, MutexGuard};
use loom::thread;

use py_runtime::handoff::Handoff;
use py_runtime::mailbox::{Mailbox, NestedNext, NestedPolicy, Next};
use py_runtime::owner_lock::OwnerLock;
use py_runtime::reply_state::{Cancel, ReplyState};
use py_runtime::wait_queue::WaitQueue;
use py_runtime::wakeup::Wakeup;

// The request state: of all who want to end a request, exactly one does.

/// What the context thread makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Refused,
    Unwanted,
    Replied,
}

fn run(state: &ReplyState) -> Run {
    if !state.start() {
        return Run::Refused;
    }
    if state.claim_reply() { Run::Replied } else { Run::Unwanted }
}

#[test]
fn of_a_result_and_a_cancellation_exactly_one_wins() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        let owner = {
            let state = Arc::clone(&state);
            thread::spawn(move || run(&state))
        };
        let cancel = state.cancel();
        let run = owner.join().unwrap();
        let expected = match cancel {
            Cancel::Waiting => Run::Refused,
            Cancel::Running => Run::Unwanted,
            Cancel::TooLate => Run::Replied,
        };
        assert_eq!(run, expected);
        assert_eq!(state.is_cancelled(), cancel != Cancel::TooLate);
    });
}

#[test]
fn of_a_result_and_an_abandonment_exactly_one_replies() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        let owner = {
            let state = Arc::clone(&state);
            thread::spawn(move || run(&state))
        };
        let abandoned = state.claim_reply();
        let replied = owner.join().unwrap() == Run::Replied;
        assert!(abandoned != replied, "abandoned: {abandoned}, replied: {replied}");
    });
}

#[test]
fn of_result_cancellation_and_abandonment_exactly_one_wins() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        let owner = {
            let state = Arc::clone(&state);
            thread::spawn(move || run(&state))
        };
        let abandon = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.claim_reply())
        };
        let cancel = state.cancel();
        let run = owner.join().unwrap();
        let winners = [run == Run::Replied, abandon.join().unwrap(), cancel != Cancel::TooLate];
        assert_eq!(winners.iter().filter(|won| **won).count(), 1, "{winners:?}");
        assert!(cancel != Cancel::Waiting || run == Run::Refused, "cancelled while waiting, ran");
    });
}

#[test]
fn a_job_that_is_just_starting_can_be_answered_and_cancelled() {
    let ends: [fn(&ReplyState) -> bool; 2] =
        [|state| state.claim_reply(), |state| state.cancel() != Cancel::TooLate];
    for end in ends {
        loom::model(move || {
            let state = Arc::new(ReplyState::default());
            let owner = {
                let state = Arc::clone(&state);
                // Blocked ever after: nobody else will answer.
                thread::spawn(move || state.start())
            };
            assert!(end(&state), "nobody else has claimed the reply");
            owner.join().unwrap();
        });
    }
}

#[test]
fn what_a_job_sends_comes_before_its_reply_whichever_thread_sends_that() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        let messages = Arc::new(Mutex::new(Vec::new()));
        assert!(state.start());
        let owner = {
            let (state, messages) = (Arc::clone(&state), Arc::clone(&messages));
            thread::spawn(move || {
                state.send_before_reply(|| messages.lock().unwrap().push("sent"));
                state.claim_reply()
            })
        };
        let abandoned = state.claim_reply();
        if abandoned {
            messages.lock().unwrap().push("reply");
        }
        assert!(abandoned != owner.join().unwrap(), "exactly one replies");
        let messages = messages.lock().unwrap();
        assert!(["reply", "sent"] != messages[..], "sent after the reply");
    });
}

#[test]
fn a_job_that_is_telling_something_can_be_cancelled() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        assert!(state.start());
        let owner = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                state.send_before_reply(|| ());
                state.claim_reply()
            })
        };
        let cancelled = state.cancel() == Cancel::Running;
        assert!(cancelled != owner.join().unwrap(), "exactly one wins");
        assert_eq!(state.is_cancelled(), cancelled);
    });
}

#[test]
fn a_reply_is_there_once_the_request_is_over() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        let reply = Arc::new(AtomicBool::new(false));
        let owner = {
            let (state, reply) = (Arc::clone(&state), Arc::clone(&reply));
            thread::spawn(move || {
                assert!(state.start() && state.claim_reply());
                reply.store(true, Ordering::Relaxed);
                state.replied();
            })
        };
        if state.is_settled() {
            assert!(reply.load(Ordering::Relaxed), "over before the reply was sent");
        }
        owner.join().unwrap();
        assert!(state.is_settled());
    });
}

#[test]
fn of_two_cancellations_one_is_too_late() {
    loom::model(|| {
        let state = Arc::new(ReplyState::default());
        assert!(state.start());
        let other = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.cancel())
        };
        let outcomes = [state.cancel(), other.join().unwrap()];
        assert!(outcomes.contains(&Cancel::Running) && outcomes.contains(&Cancel::TooLate));
    });
}

// The mailbox. loom reports a thread that sleeps for ever as a deadlock, so each model that ends
// shows that no wake-up was lost.

/// What the owner got out of a mailbox.
#[derive(Debug, Default)]
struct Got {
    jobs: Vec<u32>,
    releases: Vec<u8>,
}

impl Got {
    fn things(&self) -> usize {
        self.jobs.len() + self.releases.len()
    }
}

/// The context thread's loop, without Python: until `enough` things came, or the mailbox is closed.
fn own(mailbox: &Mailbox<u32, u8>, enough: usize) -> Got {
    let mut got = Got::default();
    while got.things() < enough {
        match mailbox.next() {
            Next::Run(_, job) => {
                got.jobs.push(job);
                mailbox.end_running();
            }
            Next::Control(objects) => got.releases.extend(objects),
            Next::Empty => mailbox.park(),
            Next::Closed => break,
        }
    }
    got
}

fn owned(enough: usize) -> (Arc<Mailbox<u32, u8>>, thread::JoinHandle<Got>) {
    let mailbox = Arc::new(Mailbox::new(8));
    let owner = {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || own(&mailbox, enough))
    };
    (mailbox, owner)
}

#[test]
fn a_push_always_wakes_the_owner() {
    loom::model(|| {
        let (mailbox, owner) = owned(2);
        let producer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.push(1).unwrap())
        };
        mailbox.push(2).unwrap();
        producer.join().unwrap();
        let mut jobs = owner.join().unwrap().jobs;
        jobs.sort_unstable();
        assert_eq!(jobs, [1, 2]);
    });
}

#[test]
fn a_release_always_wakes_the_owner() {
    loom::model(|| {
        let (mailbox, owner) = owned(2);
        let releaser = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.push_control(7).unwrap())
        };
        mailbox.push(1).unwrap();
        releaser.join().unwrap();
        let got = owner.join().unwrap();
        assert_eq!((got.jobs, got.releases), (vec![1], vec![7]));
    });
}

#[test]
fn closing_gives_each_accepted_job_to_one_side_and_wakes_the_owner() {
    loom::model(|| {
        let (mailbox, owner) = owned(usize::MAX);
        let producer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                [1, 2].into_iter().filter(|job| mailbox.push(*job).is_ok()).collect::<Vec<_>>()
            })
        };
        let mut jobs = mailbox.close();
        jobs.extend(owner.join().unwrap().jobs);
        jobs.sort_unstable();
        assert_eq!(jobs, producer.join().unwrap());
    });
}

#[test]
fn draining_runs_each_accepted_job_and_wakes_the_owner() {
    loom::model(|| {
        let (mailbox, owner) = owned(usize::MAX);
        let producer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                [1, 2].into_iter().filter(|job| mailbox.push(*job).is_ok()).collect::<Vec<_>>()
            })
        };
        mailbox.drain();
        let accepted = producer.join().unwrap();
        assert_eq!(owner.join().unwrap().jobs, accepted);
    });
}

#[test]
fn of_two_closers_each_job_goes_to_one() {
    loom::model(|| {
        let (mailbox, owner) = owned(usize::MAX);
        mailbox.push(1).unwrap();
        let closer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.close())
        };
        let mut jobs = mailbox.close();
        jobs.extend(closer.join().unwrap());
        jobs.extend(owner.join().unwrap().jobs);
        assert_eq!(jobs, [1]);
    });
}

#[test]
fn what_is_pushed_while_jobs_move_comes_after_them_or_is_refused() {
    loom::model(|| {
        let old = Arc::new(Mailbox::<u32, u8>::new(8));
        let (new, owner) = owned(2);
        let moved = Arc::new(AtomicBool::new(false));
        old.push(1).unwrap();
        let producer = {
            let (old, new, moved) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&moved));
            thread::spawn(move || {
                if old.push(2).is_err() {
                    assert!(moved.load(Ordering::Relaxed), "closed, and nowhere to go");
                    assert_eq!(new.push(2), Ok(1), "its number is the next one");
                }
            })
        };
        assert!(old.move_to(&new, || moved.store(true, Ordering::Relaxed)));
        assert_eq!(owner.join().unwrap().jobs, [1, 2]);
        producer.join().unwrap();
    });
}

#[test]
fn of_a_move_and_a_close_each_job_goes_to_one() {
    loom::model(|| {
        let old = Arc::new(Mailbox::<u32, u8>::new(8));
        let new = Arc::new(Mailbox::<u32, u8>::new(8));
        old.push(1).unwrap();
        let closer = {
            let (old, new) = (Arc::clone(&old), Arc::clone(&new));
            thread::spawn(move || [new.close(), old.close()].concat())
        };
        old.move_to(&new, || ());
        let mut jobs = closer.join().unwrap();
        for mailbox in [old, new] {
            jobs.extend(own(&mailbox, usize::MAX).jobs);
        }
        assert_eq!(jobs, [1]);
    });
}

#[test]
fn two_mailboxes_that_are_moved_to_each_other_do_not_wait_for_each_other() {
    loom::model(|| {
        let [one, other] = [(); 2].map(|()| Arc::new(Mailbox::<u32, u8>::new(1)));
        let mover = {
            let (one, other) = (Arc::clone(&one), Arc::clone(&other));
            thread::spawn(move || one.move_to(&other, || ()))
        };
        let moved = other.move_to(&one, || ());
        assert!(moved != mover.join().unwrap(), "the second one finds a closed mailbox");
    });
}

#[test]
fn a_cancellation_that_meets_a_move_finds_the_job_on_one_side() {
    loom::model(|| {
        let old = Arc::new(Mailbox::<u32, u8>::new(8));
        let new = Arc::new(Mailbox::<u32, u8>::new(8));
        let moved = Arc::new(AtomicBool::new(false));
        let seq = old.push(1).unwrap();
        let canceller = {
            let (old, new, moved) = (Arc::clone(&old), Arc::clone(&new), Arc::clone(&moved));
            thread::spawn(move || {
                old.take(seq).or_else(|| {
                    assert!(moved.load(Ordering::Relaxed), "gone, and nowhere to look for it");
                    new.take(seq)
                })
            })
        };
        assert!(old.move_to(&new, || moved.store(true, Ordering::Relaxed)));
        assert_eq!(canceller.join().unwrap(), Some(1));
        assert_eq!(old.waiting() + new.waiting(), 0);
    });
}

/// A job as the context sees it: a request, and whether its code ran.
#[derive(Debug, Default)]
struct Request {
    state: ReplyState,
    ran: AtomicBool,
}

type Requests = Mailbox<Arc<Request>, ()>;

/// Runs jobs as `Context` does, until the mailbox is closed. Returns how many replies it sent.
fn run_jobs(mailbox: &Requests) -> usize {
    let mut replies = 0;
    loop {
        match mailbox.next() {
            Next::Run(_, job) => {
                if job.state.start() {
                    job.ran.store(true, Ordering::Relaxed);
                    replies += usize::from(job.state.claim_reply());
                }
                mailbox.end_running();
            }
            Next::Control(_) => unreachable!("nothing was released"),
            Next::Empty => mailbox.park(),
            Next::Closed => return replies,
        }
    }
}

#[test]
fn a_cancellation_never_falls_between_waiting_and_running() {
    loom::model(|| {
        let mailbox = Arc::new(Requests::new(2));
        let request = Arc::new(Request::default());
        let seq = mailbox.push(Arc::clone(&request)).unwrap();
        mailbox.drain();
        let owner = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || run_jobs(&mailbox))
        };
        let cancel = mailbox.take(seq).map_or(Cancel::TooLate, |job| job.state.cancel());
        let replies = owner.join().unwrap();
        let ran = request.ran.load(Ordering::Relaxed);
        let expected = match cancel {
            Cancel::Waiting => (false, 0),
            Cancel::Running => (true, 0),
            Cancel::TooLate => (true, 1),
        };
        assert_eq!((ran, replies), expected, "{cancel:?}");
    });
}

#[test]
fn cancelled_while_closing_a_job_is_answered_at_most_once_and_never_lost() {
    loom::model(|| {
        let mailbox = Arc::new(Requests::new(2));
        let request = Arc::new(Request::default());
        let seq = mailbox.push(Arc::clone(&request)).unwrap();
        let owner = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || run_jobs(&mailbox))
        };
        let closer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || {
                mailbox.close().iter().filter(|job| job.state.claim_reply()).count()
            })
        };
        // A job that was closed is out of the mailbox, but still to be answered.
        let is_cancelled =
            mailbox.take(seq).is_some_and(|job| job.state.cancel() != Cancel::TooLate);
        let replies = owner.join().unwrap() + closer.join().unwrap();
        assert_eq!(replies, usize::from(!is_cancelled));
    });
}

#[test]
fn an_exception_never_outlives_the_job_it_was_meant_for() {
    loom::model(|| {
        let mailbox = Arc::new(Requests::new(2));
        // Where CPython keeps the exception that the thread raises at its next bytecode.
        let pending = Arc::new(AtomicUsize::new(0));
        let first = mailbox.push(Arc::default()).unwrap();
        mailbox.push(Arc::default()).unwrap();
        let owner = {
            let (mailbox, pending) = (Arc::clone(&mailbox), Arc::clone(&pending));
            thread::spawn(move || {
                let mut cleared = 0;
                for seq in 0..2 {
                    assert!(matches!(mailbox.next(), Next::Run(running, _) if running == seq));
                    assert!(
                        seq == first || pending.load(Ordering::Relaxed) == 0,
                        "reached the next job"
                    );
                    if mailbox.end_running() {
                        cleared += pending.swap(0, Ordering::Relaxed);
                    }
                }
                cleared
            })
        };
        let is_set = mailbox.interrupt(first, || {
            pending.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(owner.join().unwrap(), usize::from(is_set));
        assert_eq!(pending.load(Ordering::Relaxed), 0);
    });
}

// The wakeup: a thread that goes to sleep while another takes up work is woken. If it weren't, loom
// would report it as asleep for ever.

#[test]
fn no_thread_sleeps_while_another_works() {
    loom::model(|| {
        let wakeup = Arc::new(Wakeup::new());
        let mailbox = Arc::new(Mailbox::<u32, ()>::new(2));
        mailbox.push(1).unwrap();
        let worker = {
            let (wakeup, mailbox) = (Arc::clone(&wakeup), Arc::clone(&mailbox));
            thread::spawn(move || {
                assert!(matches!(mailbox.next(), Next::Run(..)));
                wakeup.notify();
            })
        };
        // As if the job that waits had been overlooked: it is the one taken up that counts.
        wakeup.wait_unless(|| !mailbox.running().is_empty());
        worker.join().unwrap();
        assert!(mailbox.is_busy());
    });
}

#[test]
fn of_two_that_notify_one_wakes_the_thread() {
    loom::model(|| {
        let wakeup = Arc::new(Wakeup::new());
        let mailboxes: Vec<_> = (0..2).map(|_| Arc::new(Mailbox::<u32, ()>::new(2))).collect();
        let workers: Vec<_> = mailboxes
            .iter()
            .map(|mailbox| {
                let (wakeup, mailbox) = (Arc::clone(&wakeup), Arc::clone(mailbox));
                mailbox.push(1).unwrap();
                thread::spawn(move || {
                    assert!(matches!(mailbox.next(), Next::Run(..)));
                    wakeup.notify();
                })
            })
            .collect();
        wakeup.wait_unless(|| mailboxes.iter().any(|mailbox| !mailbox.running().is_empty()));
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn a_job_that_waits_sees_what_it_waits_for_however_close() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<u32, u8>::new(8));
        mailbox.push(1).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let owner = {
            let (mailbox, over) = (Arc::clone(&mailbox), Arc::clone(&over));
            thread::spawn(move || {
                assert!(matches!(mailbox.next(), Next::Run(0, 1)));
                let mut nested = 0;
                loop {
                    match mailbox.next_nested(|_| true, NestedPolicy::None) {
                        NestedNext::Run(..) => {
                            nested += 1;
                            mailbox.end_running();
                        }
                        NestedNext::Nothing { as_of, .. } => {
                            // What happens from here on is an event.
                            if over.load(Ordering::Acquire) && nested == 1 {
                                return;
                            }
                            mailbox.park_until_event(as_of, None);
                        }
                        other => unreachable!("{other:?}"),
                    }
                }
            })
        };
        let producer = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || mailbox.push(2).unwrap())
        };
        over.store(true, Ordering::Release);
        mailbox.wake();
        producer.join().unwrap();
        owner.join().unwrap();
    });
}

// The wait queue: a caller that was refused and a thread that frees capacity at the same time.

#[test]
fn a_caller_that_waits_for_capacity_is_woken_or_finds_it() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::<u32, ()>::new(1));
        let queue = Arc::new(WaitQueue::default());
        mailbox.push(1).unwrap();
        let owner = {
            let (mailbox, queue) = (Arc::clone(&mailbox), Arc::clone(&queue));
            thread::spawn(move || {
                assert!(matches!(mailbox.next(), Next::Run(..)));
                if queue.is_empty() { 0 } else { queue.pop_many(1).len() }
            })
        };
        let id = queue.push(None, ());
        let found = mailbox.waiting() < 1 && queue.remove(id);
        let woken = owner.join().unwrap();
        assert_eq!(woken + usize::from(found), 1, "woken: {woken}, found: {found}");
    });
}

// Handoff of the GIL, which is a mutex here. In a model there is no time limit: a thread that would
// wait for ever is reported.

/// The GIL, and who has had it, in order.
#[derive(Debug, Default)]
struct Gil {
    handoff: Handoff,
    holders: Mutex<Vec<usize>>,
}

impl Gil {
    /// As contexts do: attach, and hand off once if a thread waits. How many others had the GIL
    /// meanwhile, if it did.
    fn use_as(&self, id: usize) -> Option<usize> {
        let guard = Cell::new(None);
        let get = || {
            let mut log = self.holders.lock().unwrap();
            log.push(id);
            guard.set(Some(log));
        };
        self.handoff.acquire(get);
        let meanwhile = self.handoff.has_waiters().then(|| {
            let before = holders_so_far(&guard);
            self.handoff.hand_off(|| guard.set(None), || true, get);
            // Less this one's own.
            holders_so_far(&guard) - before - 1
        });
        guard.set(None);
        meanwhile
    }
}

fn holders_so_far<'a>(guard: &Cell<Option<MutexGuard<'a, Vec<usize>>>>) -> usize {
    let log = guard.take().expect("it is ours");
    let had = log.len();
    guard.set(Some(log));
    had
}

fn use_gil(threads: usize) {
    let gil = Arc::new(Gil::default());
    let others: Vec<_> = (1..threads)
        .map(|id| {
            let gil = Arc::clone(&gil);
            thread::spawn(move || gil.use_as(id))
        })
        .collect();
    let mut meanwhile = vec![gil.use_as(0)];
    meanwhile.extend(others.into_iter().map(|other| other.join().unwrap()));
    for others in meanwhile.into_iter().flatten() {
        assert!(others > 0, "it had it back at once");
    }
}

#[test]
fn a_thread_that_hands_off_lets_the_other_have_it_first() {
    loom::model(|| use_gil(2));
}

#[test]
fn a_thread_that_hands_off_does_not_wait_if_no_other_does() {
    loom::model(|| {
        let handoff = Handoff::new();
        handoff.acquire(|| ());
        handoff.hand_off(|| (), || true, || ());
    });
}

#[test]
fn a_thread_that_hands_off_lets_one_of_two_have_it_first() {
    // All interleavings take too long.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| use_gil(3));
}

// The lock that a context's thread lends: one at a time holds it, and the owner gets it back.

/// Enters a place where only one thread may be.
fn alone(inside: &AtomicBool) {
    assert!(!inside.swap(true, Ordering::SeqCst), "two hold the lock");
    thread::yield_now();
    inside.store(false, Ordering::SeqCst);
}

#[test]
fn a_lent_lock_has_one_holder_and_comes_back_to_its_owner() {
    loom::model(|| {
        let (lock, inside) = (Arc::new(OwnerLock::new()), Arc::new(AtomicBool::new(false)));
        let borrow = || {
            let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
            thread::spawn(move || {
                if lock.try_borrow() {
                    alone(&inside);
                    lock.give_back();
                }
            })
        };
        let borrowers = [borrow(), borrow()];
        lock.release();
        lock.acquire();
        alone(&inside);
        for borrower in borrowers {
            borrower.join().unwrap();
        }
        assert!(!lock.is_borrowed());
        assert!(!lock.try_borrow(), "the owner has it");
    });
}

#[test]
fn a_borrower_sees_what_was_queued_before_it_or_the_owner_runs_it_first() {
    // The order of one caller's jobs: after a job was queued, a direct run begins only once the
    // owner has taken it and lent the lock again.
    loom::model(|| {
        let lock = Arc::new(OwnerLock::new());
        let (queued, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let owner = {
            let (lock, queued, done) = (Arc::clone(&lock), Arc::clone(&queued), Arc::clone(&done));
            thread::spawn(move || {
                lock.release();
                if queued.load(Ordering::Relaxed) > 0 {
                    lock.acquire();
                    done.store(true, Ordering::Relaxed);
                    queued.store(0, Ordering::Relaxed);
                    lock.release();
                }
            })
        };
        queued.store(1, Ordering::Relaxed);
        if lock.try_borrow() {
            // The caller checks again when it has the lock, see `Context::run_direct`.
            if queued.load(Ordering::Relaxed) == 0 {
                assert!(done.load(Ordering::Relaxed), "it has overtaken its own job");
            }
            lock.give_back();
        }
        owner.join().unwrap();
    });
}
