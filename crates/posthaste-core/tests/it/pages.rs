//! Listings: bounded, by page, and of ended jobs the newest first.

use posthaste_core::ids::JobId;
use posthaste_core::job::{JobState, OnConflict, Priority, RetryRule, Start};
use posthaste_core::machine::{Action, Machine, Moment, Place, Slot, Summary};
use posthaste_core::time::{MonoMs, WallMs};
use posthaste_core::view::JobFilter;

use crate::world::load;

fn id(number: u32) -> JobId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    JobId::from_bytes(bytes)
}

fn number(id: JobId) -> u32 {
    let [a, b, c, d, ..] = id.to_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn commit(machine: &mut Machine, ms: u64, actions: &[Action<'static>]) {
    let moment = Moment {
        wall: WallMs(ms),
        mono: MonoMs(ms),
        entropy: 0,
    };
    machine
        .commit(actions, moment, &mut Vec::new(), &mut Vec::new())
        .expect("accepted");
}

fn enqueue(number: u32, queue: &'static str, kind: &'static str) -> Action<'static> {
    Action::Enqueue {
        job: Summary {
            id: id(number),
            queue,
            kind,
            priority: Priority::default(),
            retry: RetryRule::default(),
            deadline: None,
            unique: None,
            keep_result: false,
        },
        place: Place(1),
        answer: Place::NONE,
        start: Start::Now,
        key: None,
        on_conflict: OnConflict::Existing,
    }
}

/// The pages of a listing, each as its jobs.
fn pages(machine: &Machine, filter: &JobFilter, max: u32) -> Vec<Vec<u32>> {
    let (mut pages, mut cursor) = (Vec::new(), None);
    loop {
        let mut slots = Vec::new();
        cursor = machine.page(filter, cursor, max, &mut slots);
        let of = |slot: &Slot| number(machine.view(*slot).expect("listed jobs are there").id);
        pages.push(slots.iter().map(of).collect());
        if cursor.is_none() {
            return pages;
        }
    }
}

fn all(machine: &Machine, filter: &JobFilter) -> Vec<u32> {
    let mut all = pages(machine, filter, 1_000).concat();
    all.sort_unstable();
    all
}

fn in_state(state: JobState) -> JobFilter {
    JobFilter {
        state: Some(state),
        ..JobFilter::default()
    }
}

#[test]
fn a_listing_goes_on_where_the_page_before_ended() {
    let mut machine = Machine::new();
    let actions: Vec<_> = (0..5).map(|n| enqueue(n, "q", "k")).collect();
    commit(&mut machine, 1, &actions);
    let everything = JobFilter::default();
    assert_eq!(
        pages(&machine, &everything, 2),
        [vec![0, 1], vec![2, 3], vec![4]]
    );
    assert_eq!(pages(&Machine::new(), &everything, 2), [Vec::<u32>::new()]);
}

#[test]
fn a_listing_shows_what_the_filter_names() {
    let mut machine = Machine::new();
    commit(
        &mut machine,
        1,
        &[
            enqueue(0, "a", "x"),
            enqueue(1, "a", "y"),
            enqueue(2, "b", "x"),
            enqueue(3, "b", "y"),
            Action::Cancel(id(3)),
        ],
    );
    let filter = |queue: Option<&str>, kind: Option<&str>, state| JobFilter {
        queue: queue.map(|name| name.parse().expect("a name")),
        kind: kind.map(|name| name.parse().expect("a name")),
        state,
        tag: None,
    };
    let check = |filter: JobFilter, listed: &[u32]| assert_eq!(all(&machine, &filter), listed);
    check(filter(Some("a"), None, None), &[0, 1]);
    check(filter(None, Some("x"), None), &[0, 2]);
    check(filter(Some("b"), Some("y"), None), &[3]);
    check(filter(Some("nobody"), None, None), &[]);
    check(filter(None, Some("nobody"), None), &[]);
    check(filter(None, None, Some(JobState::Available)), &[0, 1, 2]);
    check(filter(None, None, Some(JobState::Cancelled)), &[3]);
    check(filter(None, None, Some(JobState::Completed)), &[]);
    check(filter(None, None, Some(JobState::Dead)), &[]);
    check(filter(Some("a"), None, Some(JobState::Cancelled)), &[]);
}

#[test]
fn ended_jobs_come_newest_first_also_after_loading() {
    let mut machine = Machine::new();
    let actions: Vec<_> = (0..5).map(|n| enqueue(n, "q", "k")).collect();
    commit(&mut machine, 1, &actions);
    for (ms, job) in [(10, 3), (20, 0), (30, 4), (40, 1)] {
        commit(&mut machine, ms, &[Action::Cancel(id(job))]);
    }
    let cancelled = in_state(JobState::Cancelled);
    let newest_first = [vec![1, 4, 0], vec![3]];
    assert_eq!(pages(&machine, &cancelled, 3), newest_first);
    let mut loaded = Machine::new();
    load(&mut loaded, &machine.export(), MonoMs(0));
    assert_eq!(pages(&loaded, &cancelled, 3), newest_first);
}

#[test]
fn a_page_of_ended_jobs_starts_anew_where_its_cursor_is_gone() {
    let mut machine = Machine::new();
    let actions: Vec<_> = (0..4).map(|n| enqueue(n, "q", "k")).collect();
    commit(&mut machine, 1, &actions);
    for job in 0..4 {
        commit(&mut machine, 10, &[Action::Cancel(id(job))]);
    }
    let mut slots = Vec::new();
    let cursor = machine.page(&in_state(JobState::Cancelled), None, 2, &mut slots);
    commit(&mut machine, 11, &[Action::Retry(id(1))]);
    slots.clear();
    let next = machine.page(&in_state(JobState::Cancelled), cursor, 9, &mut slots);
    assert_eq!((slots.len(), next), (3, None));
}

#[test]
fn a_page_examines_so_many_and_says_where_to_go_on() {
    let mut machine = Machine::new();
    for chunk in 0..21 {
        let numbers = chunk * 500..(chunk + 1) * 500;
        let actions: Vec<_> = numbers.map(|n| enqueue(n, "q", "k")).collect();
        commit(&mut machine, 1, &actions);
    }
    commit(&mut machine, 1, &[enqueue(99_999, "q", "rare")]);
    let filter = JobFilter {
        kind: Some("rare".parse().expect("a name")),
        ..JobFilter::default()
    };
    assert_eq!(pages(&machine, &filter, 10), [vec![], vec![99_999]]);
}
