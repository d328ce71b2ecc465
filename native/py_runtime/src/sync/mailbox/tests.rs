//! What the mailbox does, one call after the other. The interleavings are in
//! `tests/interleavings.rs`. It is over 400 lines because each rule has a test of its own.

use super::*;

fn mailbox(max: usize) -> Mailbox<u32, ()> {
    Mailbox::new(max)
}

const OLDEST: NestedPolicy<u32> = NestedPolicy::OldestFirst(JobRelation {
    same_caller: |one, other| one == other,
    same_work: |_, _| false,
});

#[test]
fn the_load_counts_what_waits_and_runs_but_not_what_is_answered() {
    let mailbox = mailbox(10);
    assert_eq!(mailbox.load(), 0);
    (1..=3).for_each(|job| drop(mailbox.push(job)));
    assert_eq!(mailbox.load(), 3);
    assert!(matches!(mailbox.next(), Next::Run(0, 1)));
    assert_eq!(mailbox.load(), 3);
    mailbox.note_answered();
    assert_eq!(mailbox.load(), 2);
    mailbox.end_running();
    assert_eq!(mailbox.load(), 2);
    assert_eq!(mailbox.take(1), Some(2));
    assert_eq!(mailbox.load(), 1);
    mailbox.close();
    assert_eq!(mailbox.load(), 0);
}

#[test]
fn the_load_moves_along_with_the_jobs() {
    let (from, to) = (mailbox(10), mailbox(10));
    (1..=3).for_each(|job| drop(from.push(job)));
    assert!(matches!(from.next(), Next::Run(..)));
    assert!(from.move_to(&to, || ()));
    assert_eq!((from.load(), to.load()), (1, 2));
}

#[test]
fn jobs_come_out_in_order() {
    let mailbox = mailbox(8);
    assert_eq!(mailbox.push(10), Ok(0));
    assert_eq!(mailbox.push(11), Ok(1));
    assert_eq!(mailbox.next(), Next::Run(0, 10));
    assert_eq!(mailbox.next(), Next::Run(1, 11));
    assert_eq!(mailbox.next(), Next::Empty);
}

#[test]
fn a_full_queue_takes_a_job_that_has_another_bound() {
    let mailbox = Mailbox::<_, ()>::new(1);
    assert_eq!(mailbox.push(1), Ok(0));
    assert_eq!(mailbox.push_if_below(2, 2), Ok(1));
    assert_eq!(mailbox.push_if_below(2, 3), Err(PushError::Full { job: 3, queue: 2 }));
    assert_eq!(mailbox.next(), Next::Run(0, 1));
}

#[test]
fn a_full_queue_refuses_and_gives_the_job_back() {
    let mailbox = mailbox(1);
    assert_eq!(mailbox.push(1), Ok(0));
    assert_eq!(mailbox.push(2), Err(PushError::Full { job: 2, queue: 1 }));
}

#[test]
fn a_cancelled_job_frees_capacity_and_never_comes_out() {
    let mailbox = mailbox(2);
    let first = mailbox.push(1).unwrap();
    mailbox.push(2).unwrap();
    assert_eq!(mailbox.take(first), Some(1));
    assert_eq!(mailbox.take(first), None);
    assert_eq!(mailbox.push(3), Ok(2));
    assert_eq!(mailbox.next(), Next::Run(1, 2));
    assert_eq!(mailbox.next(), Next::Run(2, 3));
}

#[test]
fn cancelled_jobs_leave_nothing_behind() {
    let mailbox = mailbox(2);
    mailbox.push(0).unwrap();
    for job in 1..100 {
        let seq = mailbox.push(job).unwrap();
        assert_eq!(mailbox.take(seq), Some(job));
    }
    assert_eq!(mailbox.inner.lock().queue.len(), 1);
    assert_eq!(mailbox.next(), Next::Run(0, 0));
    assert!(mailbox.looks_empty());
}

#[test]
fn control_messages_are_taken_in_until_the_end() {
    let mailbox = mailbox(2);
    mailbox.drain();
    assert_eq!(mailbox.push_control(()), Ok(()));
    assert_eq!(mailbox.next(), Next::Control(vec![()]));
    assert_eq!(mailbox.next(), Next::Closed);
    assert_eq!(mailbox.push_control(()), Ok(()));
    assert_eq!(mailbox.end(), vec![()]);
    assert_eq!(mailbox.push_control(()), Err(()));
}

#[test]
fn a_running_job_is_found_until_it_ends() {
    let mailbox = mailbox(2);
    let seq = mailbox.push(7).unwrap();
    mailbox.next();
    assert_eq!(mailbox.take(seq), Some(7));
    assert!(!mailbox.end_running());
    assert_eq!(mailbox.take(seq), None);
}

#[test]
fn an_interrupt_reaches_only_the_job_it_was_meant_for() {
    let mailbox = mailbox(2);
    let first = mailbox.push(1).unwrap();
    let second = mailbox.push(2).unwrap();
    mailbox.next();
    assert!(!mailbox.interrupt(second, || panic!("not running yet")));
    assert!(mailbox.interrupt(first, || ()));
    assert!(mailbox.end_running());
    mailbox.next();
    assert!(!mailbox.interrupt(first, || panic!("ended")));
    assert!(!mailbox.end_running());
}

#[test]
fn a_job_that_has_raised_its_interrupt_may_wait_and_is_known_to_have_been_interrupted() {
    let mailbox = mailbox(2);
    let seq = mailbox.push(1).unwrap();
    mailbox.next();
    assert!(mailbox.interrupt(seq, || ()));
    assert!(mailbox.has_to_raise(seq));
    mailbox.note_raised();
    assert!(!mailbox.has_to_raise(seq));
    let chosen = mailbox.next_nested(|_| false, NestedPolicy::None);
    assert!(matches!(chosen, NestedNext::Nothing { .. }));
    assert!(mailbox.interrupt(seq, || ()));
    assert_eq!(mailbox.next_nested(|_| false, NestedPolicy::None), NestedNext::Interrupted);
    assert!(mailbox.end_running());
}

#[test]
fn an_exception_raised_by_a_nested_job_leaves_that_of_the_outer_one_pending() {
    let mailbox = mailbox(2);
    let outer = mailbox.push(1).unwrap();
    let nested = mailbox.push(2).unwrap();
    mailbox.next();
    assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Run(1, 2));
    assert!(!mailbox.interrupt(outer, || panic!("it isn't the innermost")));
    assert!(mailbox.interrupt(nested, || ()));
    mailbox.note_raised();
    assert!(mailbox.has_to_raise(outer) && !mailbox.has_to_raise(nested));
}

#[test]
fn while_a_job_waits_the_needed_one_runs_first_and_others_as_the_policy_says() {
    let mailbox = mailbox(8);
    for job in 0..5 {
        mailbox.push(job).unwrap();
    }
    assert_eq!(mailbox.next(), Next::Run(0, 0));
    let next = |needed, others| mailbox.next_nested(|job| *job == needed, others);
    assert!(matches!(next(9, NestedPolicy::None), NestedNext::Nothing { jobs: true, .. }));
    assert_eq!(next(3, NestedPolicy::None), NestedNext::Run(3, 3));
    assert_eq!(next(9, OLDEST), NestedNext::Run(1, 1));
    let newest = NestedPolicy::NewestFirst(JobRelation {
        same_caller: |one, other| one % 2 == other % 2,
        same_work: |_, _| false,
    });
    assert_eq!(next(9, newest), NestedNext::Run(2, 2));
    assert_eq!(next(9, newest), NestedNext::Run(4, 4));
    assert!(matches!(next(9, OLDEST), NestedNext::Nothing { jobs: false, .. }));
}

#[test]
fn jobs_that_differ_from_the_one_that_waits_run_before_those_that_do_the_same() {
    let mailbox = mailbox(8);
    for job in [10, 11, 12, 23, 33, 14] {
        mailbox.push(job).unwrap();
    }
    assert_eq!(mailbox.next(), Next::Run(0, 10));
    let relation = JobRelation {
        same_caller: |one, other| one % 10 == other % 10,
        same_work: |one, other| one / 10 == other / 10,
    };
    let next = |others| {
        let chosen = mailbox.next_nested(|_| false, others);
        assert!(!mailbox.end_running());
        chosen
    };
    // Of one caller the older job runs first all the same.
    assert_eq!(next(NestedPolicy::NewestFirst(relation)), NestedNext::Run(3, 23));
    assert_eq!(next(NestedPolicy::OldestFirst(relation)), NestedNext::Run(4, 33));
    assert_eq!(next(NestedPolicy::OldestFirst(relation)), NestedNext::Run(1, 11));
    assert_eq!(next(NestedPolicy::NewestFirst(relation)), NestedNext::Run(5, 14));
}

#[test]
fn an_interrupt_of_a_waiting_job_waits_for_the_finalizers_nested_in_it() {
    let mailbox = mailbox(8);
    let waiting = mailbox.push(1).unwrap();
    assert_eq!(mailbox.next(), Next::Run(0, 1));
    assert!(!mailbox.interrupt_housekeeping(|is_innermost| is_innermost));
    mailbox.push_control(()).unwrap();
    assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Control(vec![()]));
    assert_eq!(mailbox.current(), None);
    assert!(!mailbox.interrupt(waiting, || panic!("it isn't the innermost")));
    assert!(mailbox.mark_interrupt(waiting));
    assert_eq!(mailbox.interrupted_for(), None);
    assert!(mailbox.interrupt_housekeeping(|is_innermost| is_innermost));
    // The finalizers that wait are not the job that was interrupted.
    assert!(matches!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Nothing { .. }));
    mailbox.end_control();
    assert_eq!(mailbox.current(), Some(waiting));
    assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Interrupted);
}

#[test]
fn an_interrupt_of_an_outer_job_is_seen_when_the_nested_ones_have_ended() {
    let mailbox = mailbox(8);
    let outer = mailbox.push(1).unwrap();
    mailbox.push(2).unwrap();
    mailbox.next();
    assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Run(1, 2));
    assert!(!mailbox.interrupt(outer, || panic!("it isn't the innermost")));
    assert!(!mailbox.is_interrupted());
    assert!(!mailbox.end_running());
    assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Interrupted);
    assert!(!mailbox.take_interrupt());
    assert!(mailbox.interrupt(outer, || ()));
    assert!(mailbox.take_interrupt() && !mailbox.take_interrupt());
}

#[test]
fn closing_returns_what_waits_and_refuses_what_comes() {
    let mailbox = mailbox(4);
    for job in 1..=3 {
        mailbox.push(job).unwrap();
    }
    mailbox.next();
    assert_eq!(mailbox.close(), vec![2, 3]);
    assert_eq!(mailbox.push(4), Err(PushError::Closed(4)));
    assert_eq!(mailbox.next(), Next::Closed);
}

#[test]
fn draining_refuses_what_comes_and_runs_what_waits() {
    let mailbox = mailbox(4);
    mailbox.push(1).unwrap();
    mailbox.drain();
    assert_eq!(mailbox.push(2), Err(PushError::Closed(2)));
    assert_eq!(mailbox.next(), Next::Run(0, 1));
    assert_eq!(mailbox.next(), Next::Closed);
}

/// Whether `happens` wakes a thread that sleeps until `is_there`.
fn wakes(
    sleep: impl Fn(&Mailbox<u32, ()>) + Send + 'static,
    is_there: impl Fn(&Mailbox<u32, ()>) -> bool + Send + 'static,
    happens: impl FnOnce(&Mailbox<u32, ()>),
) -> bool {
    let mailbox = std::sync::Arc::new(mailbox(4));
    mailbox.push(1).unwrap();
    mailbox.next();
    let (woken, is_woken) = std::sync::mpsc::channel();
    let owners = std::sync::Arc::clone(&mailbox);
    std::thread::spawn(move || {
        while !is_there(&owners) {
            sleep(&owners);
        }
        woken.send(()).unwrap();
    });
    while mailbox.inner.lock().parked.is_none() {
        std::thread::yield_now();
    }
    happens(&mailbox);
    is_woken.recv_timeout(Duration::from_secs(10)).is_ok()
}

#[test]
fn a_control_message_wakes_a_thread_that_sleeps() {
    let has_control = |mailbox: &Mailbox<u32, ()>| !mailbox.inner.lock().control.is_empty();
    let send = |mailbox: &Mailbox<u32, ()>| mailbox.push_control(()).unwrap();
    assert!(wakes(Mailbox::park, has_control, send));
}

#[test]
fn an_interrupt_wakes_a_thread_whose_job_waits() {
    // One event so far: the job itself.
    let sleep = |mailbox: &Mailbox<u32, ()>| mailbox.park_until_event(1, None);
    let is_interrupted = |mailbox: &Mailbox<u32, ()>| mailbox.is_interrupted();
    assert!(wakes(sleep, is_interrupted, |mailbox| assert!(mailbox.interrupt(0, || ()))));
}

#[test]
fn what_comes_after_a_move_is_refused_here_and_numbered_on_there() {
    let (old, new) = (mailbox(4), mailbox(4));
    for job in 1..=3 {
        old.push(job).unwrap();
    }
    assert_eq!(old.next(), Next::Run(0, 1));
    assert!(old.move_to(&new, || ()));
    assert_eq!(old.push(4), Err(PushError::Closed(4)));
    assert_eq!(new.push(4), Ok(3));
    for (seq, job) in [(1, 2), (2, 3), (3, 4)] {
        assert_eq!(new.next(), Next::Run(seq, job));
    }
}

#[test]
fn a_parked_thread_is_woken_by_a_push() {
    let mailbox = std::sync::Arc::new(mailbox(1));
    let owner = {
        let mailbox = std::sync::Arc::clone(&mailbox);
        std::thread::spawn(move || {
            mailbox.park();
            mailbox.next()
        })
    };
    mailbox.push(5).unwrap();
    assert_eq!(owner.join().unwrap(), Next::Run(0, 5));
}

#[test]
fn what_waits_and_runs_is_known_until_the_end() {
    let mailbox = mailbox(4);
    assert!(mailbox.looks_empty() && !mailbox.is_busy() && !mailbox.is_closed());
    for job in 7..10 {
        mailbox.push(job).unwrap();
    }
    assert!(mailbox.is_busy() && !mailbox.looks_empty());
    assert_eq!((mailbox.waiting(), mailbox.running()), (3, vec![]));
    mailbox.next();
    assert_eq!((mailbox.waiting(), mailbox.running()), (2, vec![(0, 7)]));
    mailbox.close();
    assert!(mailbox.is_closed() && mailbox.is_busy(), "a job still runs");
    // As after a panic, which leaves the job behind.
    mailbox.end();
    assert!(!mailbox.is_busy());
}

#[test]
fn the_time_since_an_interrupt_counts_for_the_job_that_was_current_then() {
    let mailbox = mailbox(4);
    let outer = mailbox.push(1).unwrap();
    let nested = mailbox.push(2).unwrap();
    mailbox.next();
    assert!(!mailbox.mark_interrupt(nested), "it waits");
    assert_eq!(mailbox.interrupted_for(), None);
    assert!(mailbox.mark_interrupt(outer));
    assert!(mailbox.interrupted_for().is_some());
    assert_eq!(mailbox.next_nested(|_| false, OLDEST), NestedNext::Run(nested, 2));
    assert!(mailbox.mark_interrupt(outer));
    assert_eq!(mailbox.interrupted_for(), None, "of the nested job");
    mailbox.end_running();
    assert!(mailbox.interrupted_for().is_some());
    mailbox.end();
    assert!(!mailbox.mark_interrupt(outer));
    assert_eq!(mailbox.interrupted_for(), None);
}

#[test]
fn an_event_is_seen_by_a_thread_that_has_checked_before() {
    let mailbox = mailbox(2);
    mailbox.push(1).unwrap();
    mailbox.next();
    let NestedNext::Nothing { as_of, jobs: false } = mailbox.next_nested(|_| false, OLDEST) else {
        panic!("nothing waits");
    };
    assert!(!mailbox.has_event_since(as_of));
    mailbox.wake();
    assert!(mailbox.has_event_since(as_of));
}

#[test]
fn a_closed_mailbox_is_not_moved_and_nothing_is_moved_to_it() {
    for closes_first in [true, false] {
        let (from, to) = (mailbox(2), mailbox(2));
        from.push(1).unwrap();
        if closes_first { &from } else { &to }.drain();
        assert!(!from.move_to(&to, || panic!("it was moved")));
        assert_eq!((from.waiting(), to.waiting()), (1, 0));
    }
    let one = mailbox(1);
    assert!(!one.move_to(&one, || panic!("it was moved to itself")));
    assert!(!one.is_closed());
}

#[test]
fn a_thread_whose_job_waits_is_woken_on_request() {
    let sleep = |mailbox: &Mailbox<u32, ()>| mailbox.park_until_event(1, None);
    assert!(wakes(sleep, |mailbox| mailbox.has_event_since(1), Mailbox::wake));
}

#[test]
fn a_thread_that_sleeps_for_a_time_is_woken_before() {
    let sleep = |mailbox: &Mailbox<u32, ()>| mailbox.park_at_most(Duration::from_secs(60));
    let has_job = |mailbox: &Mailbox<u32, ()>| mailbox.waiting() == 1;
    assert!(wakes(sleep, has_job, |mailbox| drop(mailbox.push(2))));
}
