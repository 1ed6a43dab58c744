//! Threads that come, wait, run, and go away at any moment, in orders that shuttle chooses: nobody is
//! left waiting for ever, no more run than may, and in the end nothing is held.
//!
//! The room of the policies is built here once more, with shuttle's lock in place of its own: that is
//! why this is a test binary of its own. Its clock stands still and its timers never ring, so that only
//! being woken lets anybody go on. Shuttle stops with the schedule where no thread can.

#![expect(dead_code, reason = "the room can do more than is tried here")]

#[path = "../../src/policy/room.rs"]
mod room;

/// A clock that stands still.
mod clock {
    use std::task::{Context as Polling, Poll};

    use posthaste_core::time::MonoNs;

    pub(super) const fn now() -> MonoNs {
        MonoNs(2)
    }

    /// A timer that never rings.
    pub(super) struct Timer;

    impl Timer {
        pub(super) const fn new() -> Self {
            Self
        }

        pub(super) const fn poll(&self, _: MonoNs, _: &Polling<'_>) -> Poll<()> {
            Poll::Pending
        }

        pub(super) const fn clear(&self) {}
    }
}

/// The lock whose orders are chosen.
mod sync {
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
}

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc as Shared;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use posthaste_core::policy::settings::{Breaker, Concurrency, Limit, Queue, Settings, Trip};
use posthaste_core::policy::{Ended, Refusal, Verdict};
use posthaste_core::time::MonoNs;
use shuttle::future::block_on;
use shuttle::thread;

use posthaste_core::policy::engine::{Ask, Call, Engine};
use room::{Held, Room};

const SCHEDULES: usize = 2_000;

fn room(settings: Settings) -> Shared<Room> {
    let engine = Engine::new(settings, MonoNs(1)).expect("these settings are well");
    Shared::new(Room::new(engine, 7))
}

fn places(limit: u32) -> Settings {
    Settings {
        concurrency: Some(Concurrency {
            limit: Limit::Static(limit),
            queue: Queue {
                // Nothing here takes time, so that nobody is shed for it.
                target: std::time::Duration::from_secs(3_600),
                interval: std::time::Duration::from_secs(3_600),
                ..Queue::default()
            },
        }),
        ..Settings::default()
    }
}

fn nothing_is_held(room: &Room) {
    room.look(|inner, _| {
        let gate = inner.engine.gate().expect("it has places");
        assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    });
}

/// Leave for the first attempt of a call, waited for where that has to be.
async fn admitted(room: &Room) -> Result<Held<'_>, Refusal> {
    let mut held = Held::none(room);
    let mut call = Call::new(Ask::default());
    if let Some(mut waiting) = held.begin(&mut call)? {
        poll_fn(|polling| waiting.poll(polling, &call, &mut held)).await?;
    }
    Ok(held)
}

/// Polls once and goes away.
async fn once<F: Future>(work: F) -> bool {
    let mut work = pin!(work);
    poll_fn(|polling| Poll::Ready(work.as_mut().poll(polling).is_ready())).await
}

#[test]
fn whoever_waits_is_woken_though_others_go_away() {
    shuttle::check_random(
        || {
            let room = room(places(1));
            let running = Shared::new(AtomicU32::new(0));
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    let (room, running) = (room.clone(), running.clone());
                    thread::spawn(move || {
                        if number % 2 == 1 {
                            block_on(once(admitted(&room)));
                            return;
                        }
                        let mut held = block_on(admitted(&room)).expect("it may run");
                        assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                        thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        held.end(Ended::With(Verdict::Ok));
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("no thread panicked");
            }
            nothing_is_held(&room);
        },
        SCHEDULES,
    );
}

#[test]
fn places_that_are_added_while_some_wait_are_taken() {
    shuttle::check_random(
        || {
            let room = room(places(1));
            let held = block_on(admitted(&room)).expect("there is a place");
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let room = room.clone();
                    thread::spawn(move || {
                        let mut held = block_on(admitted(&room)).expect("it may run");
                        held.end(Ended::With(Verdict::Ok));
                    })
                })
                .collect();
            room.change(|inner, now| inner.engine.reload(places(3), now))
                .expect("these settings are well");
            for thread in waiting {
                thread.join().expect("no thread panicked");
            }
            drop(held);
            nothing_is_held(&room);
        },
        SCHEDULES,
    );
}

#[test]
fn a_probe_that_is_dropped_by_one_thread_is_free_for_another() {
    shuttle::check_random(
        || {
            let settings = Settings {
                breaker: Some(Breaker {
                    trip: Trip::Consecutive(1),
                    probes: 1,
                    ..Breaker::default()
                }),
                ..places(3)
            };
            let room = room(settings);
            let isolated = |on: bool| {
                room.change(|inner, now| {
                    let breaker = inner.engine.breaker_mut().expect("it has one");
                    if on {
                        breaker.isolate();
                    } else {
                        breaker.join(now);
                    }
                });
            };
            // From being isolated it goes half-open, with one probe.
            isolated(true);
            isolated(false);
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    let room = room.clone();
                    thread::spawn(move || match block_on(admitted(&room)) {
                        // Every probe is dropped, so that it stays half-open.
                        Ok(held) => {
                            thread::yield_now();
                            drop(held);
                            true
                        }
                        Err(_) => false,
                    })
                })
                .collect();
            let probed = threads
                .into_iter()
                .map(|thread| thread.join().expect("no thread panicked"))
                .filter(|probed| *probed)
                .count();
            assert!(probed >= 1);
            block_on(admitted(&room)).expect("the slot is free");
            nothing_is_held(&room);
        },
        SCHEDULES,
    );
}
