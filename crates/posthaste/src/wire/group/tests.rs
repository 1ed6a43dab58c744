//! What is written of groups is read back the same, and what can't be read is named.

use posthaste_core::group::{
    EventAsk as CoreAsk, EventOutcome, GroupConfig, GroupSettings as CoreSettings,
    GroupTotals as CoreTotals, GroupView as CoreView, KeptEvent as CoreKept, KeptPage as CorePage,
    KeptReason, LeasedEvent, LeasedEvents as CoreLeased, MemberView as CoreMember, OnExhausted,
    PausedBy, Unparking, Which as CoreWhich,
};
use posthaste_core::topic::{ReadFrom as CoreFrom, hash_of};
use posthaste_core::{
    Backoff, Command as Core, Event, GroupName, Payload, Position, Reply as CoreReply, Result,
    Token, TopicName, WallMs,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::{
    Command, EventAsk, EventPlace, GroupSettings, GroupView, KeptPage, LeasedEvents, Reply, Reset,
    SettledEvents, Which, WrittenKeptPage, WrittenLeasedEvents, parse,
};

const PLACE: Position = Position {
    epoch: 3,
    topic: 10,
    sequence: 41,
};

fn names() -> (TopicName, GroupName) {
    let topic = TopicName::new("orders/new").expect("a name");
    (topic, GroupName::new("billing").expect("a name"))
}

fn across<T: DeserializeOwned>(shape: &impl Serialize) -> T {
    let text = serde_json::to_vec(shape).expect("it is written");
    parse(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)))
}

fn check_command(command: &Core) {
    let read: Command = across(&Command::write(command).expect("it is written"));
    let read = read.read(&mut || panic!("an id was minted"));
    assert_eq!(&read.expect("it is read"), command);
}

#[test]
fn commands_of_groups_survive_the_wire() {
    let (topic, group) = names();
    let set = |settings, from| Core::SetGroup {
        topic: topic.clone(),
        group: group.clone(),
        settings,
        from,
    };
    check_command(&set(CoreSettings::default(), None));
    let every = CoreSettings {
        in_flight: Some(5),
        max_attempts: Some(2),
        backoff: Some(Backoff::fixed(700)),
        on_exhausted: Some(OnExhausted::Dead),
        parked_max: Some(9),
        paused: Some(false),
    };
    let offset = CoreFrom::Offset {
        partition: 2,
        offset: 7,
    };
    let places = [
        CoreFrom::Earliest,
        CoreFrom::Latest,
        CoreFrom::Position(PLACE),
        CoreFrom::Time(WallMs(1_234)),
        offset,
    ];
    for place in places {
        check_command(&set(every, Some(place)));
        check_command(&Core::ResetGroup {
            topic: topic.clone(),
            group: group.clone(),
            to: place,
            force: place == offset,
        });
    }
    check_command(&Core::DeleteGroup {
        topic: topic.clone(),
        group: group.clone(),
    });
    let token = Token(7);
    check_command(&Core::Beat {
        topic: topic.clone(),
        group: group.clone(),
        token,
    });
    check_command(&Core::Leave {
        topic: topic.clone(),
        group: group.clone(),
        token,
    });
    for which in [CoreWhich::At(41), CoreWhich::Key(9), CoreWhich::All] {
        check_command(&Core::Redrive {
            topic: topic.clone(),
            group: group.clone(),
            which,
        });
        for how in [Unparking::Release, Unparking::Skip] {
            check_command(&Core::Unpark {
                topic: topic.clone(),
                group: group.clone(),
                which,
                how,
            });
        }
    }
}

#[test]
fn ends_of_events_survive_the_wire() {
    let (topic, group) = names();
    let error = || "no answer".into();
    let retry = |delay_ms| EventOutcome::Retry {
        error: error(),
        delay_ms,
    };
    let ends = [
        EventOutcome::Done,
        retry(None),
        retry(Some(1)),
        EventOutcome::Park { error: error() },
        EventOutcome::Dead { error: error() },
        EventOutcome::Skip { reason: error() },
        EventOutcome::Release,
    ];
    check_command(&Core::SettleEvents {
        topic,
        group,
        token: Token(7),
        ends: (0..).zip(ends).collect(),
    });
    for reply in [
        CoreReply::EventsSettled { repeated: true },
        CoreReply::EventsSettled { repeated: false },
        CoreReply::Left,
        CoreReply::EventsMoved { events: 3, left: 4 },
    ] {
        let read: Reply = across(&Reply::write(&reply).expect("it is written"));
        assert_eq!(read.read(), Ok(reply));
    }
}

fn event() -> Event {
    Event {
        position: PLACE,
        partition: 1,
        offset: 20,
        at: WallMs(5_000),
        id: "a".into(),
        event_type: "placed".into(),
        source: "shop".into(),
        key: Some("k".into()),
        // Names of ours are names that a publisher may have too.
        headers: vec![
            ("attempt".into(), "x".into()),
            ("crashes".into(), "y".into()),
        ],
        payload: Some(Payload::json("{\"n\":1}")),
    }
}

#[test]
fn what_members_ask_and_get_survives_the_wire() {
    let (topic, group) = names();
    for token in [None, Some(Token(7))] {
        let ask = CoreAsk {
            topic: topic.clone(),
            group: group.clone(),
            member: "m-1".parse().expect("a name"),
            token,
            max: 3,
            lease_ms: 10_000,
            wait_ms: 500,
            local: false,
        };
        let read: EventAsk = across(&EventAsk::write(&ask));
        assert_eq!(read.read(topic.clone(), group.clone()), Ok(ask));
    }
    let leased = CoreLeased {
        token: Token(7),
        events: vec![LeasedEvent {
            event: event(),
            attempt: 2,
            max_attempts: 5,
            crashes: 1,
        }],
    };
    let read: LeasedEvents = across(&WrittenLeasedEvents::write(&leased));
    assert_eq!(read.read(), Ok(leased));
    let kept = |reason, error: Option<&str>| CoreKept {
        event: event(),
        reason,
        error: error.map(Into::into),
        attempts: 3,
        at: WallMs(6_000),
    };
    let mut events: Vec<_> = KeptReason::ALL.map(|reason| kept(reason, None)).into();
    events.push(kept(KeptReason::Failed, Some("no answer")));
    for next in [None, Some(41)] {
        let events = events.clone();
        let page = CorePage { events, next };
        let read: KeptPage = across(&WrittenKeptPage::write(&page));
        assert_eq!(read.read(), Ok(page));
    }
}

#[test]
fn views_of_groups_survive_the_wire() {
    let (topic, name) = names();
    for paused in [None, Some(PausedBy::Person), Some(PausedBy::ParkedFull)] {
        let view = CoreView {
            topic: topic.clone(),
            name: name.clone(),
            config: GroupConfig {
                on_exhausted: OnExhausted::Dead,
                paused: paused == Some(PausedBy::Person),
                ..GroupConfig::default()
            },
            created_at: WallMs(1_000),
            position: PLACE,
            head: PLACE.plus(2),
            end: PLACE.plus(3),
            unfinished: 4,
            leased: 5,
            retrying: 6,
            parked: 7,
            dead: 8,
            members: vec![CoreMember {
                name: "m".parse().expect("a name"),
                leased: 9,
            }],
            paused,
            totals: CoreTotals {
                done: 10,
                retried: 11,
                parked: 12,
                dead: 13,
                skipped: 14,
                lapsed: 15,
                redelivered: 16,
                lost_to_retention: 17,
            },
            lag: 3,
        };
        let read: GroupView = across(&GroupView::write(&view));
        assert_eq!(read.read(), Ok(view));
    }
}

#[test]
fn an_event_is_named_by_its_position_or_by_the_cursor_that_came_with_it() {
    let which = |text: &str| parse::<Which>(text.as_bytes()).and_then(|which| which.read());
    assert_eq!(which(r#"{"position":41}"#), Ok(CoreWhich::At(41)));
    assert_eq!(which(r#"{"position":"3-a-42"}"#), Ok(CoreWhich::At(41)));
    assert_eq!(which(r#"{"key":"k"}"#), Ok(CoreWhich::Key(hash_of(b"k"))));
    assert_eq!(which(r#"{"all":true}"#), Ok(CoreWhich::All));
    let place = EventPlace::of_cursor("3-a-42").expect("a place");
    assert_eq!(place.position, Some(PLACE));
    assert_eq!(across::<EventPlace>(&place), place);
}

#[test]
fn what_cannot_be_read_of_a_group_is_named() {
    fn check<T: std::fmt::Debug>(read: Result<T>, says: &str) {
        let error = read.expect_err("it is refused");
        let said = format!("{error}; {}", error.next_step().unwrap_or_default());
        assert!(said.contains(says), "{said:?} does not say {says:?}");
        assert!(error.next_step().is_some(), "{said:?} has no next step");
    }
    let which = |text: &str| parse::<Which>(text.as_bytes()).and_then(|which| which.read());
    check(which("{}"), "not said which");
    check(which(r#"{"position":1,"all":true}"#), "said twice");
    check(which(r#"{"all":false}"#), "\"all\":true");
    check(which(r#"{"position":-1}"#), "position of an event");
    check(which(r#"{"position":"x"}"#), "\"x\" is not a cursor");
    check(which(r#"{"position":"3-a-0"}"#), "no event lies before");
    let settings =
        |text: &str| parse::<GroupSettings>(text.as_bytes()).and_then(GroupSettings::read);
    check(settings(r#"{"in_fligt":1}"#), "did you mean \"in_flight\"?");
    check(
        settings(r#"{"on_exhausted":"parc"}"#),
        "did you mean \"park\"?",
    );
    check(settings(r#"{"from":"yesterday"}"#), "no place to read from");
    check(settings(r#"{"backoff":{"base":"1000d"}}"#), "49 days");
    let reset = |text: &str| parse::<Reset>(text.as_bytes()).and_then(|reset| reset.read());
    check(reset("{}"), "\"to\" is missing");
    check(reset(r#"{"to":"offset:1"}"#), "no place to read from");
    let settle = |text: &str| {
        let (topic, group) = names();
        parse::<SettledEvents>(text.as_bytes())
            .and_then(|settle| settle.read(topic, group, &mut || panic!("an id was minted")))
    };
    let end = |rest: &str| {
        settle(&format!(
            r#"{{"token":1,"events":[{{"position":7,{rest}}}]}}"#
        ))
    };
    check(end(r#""outcome":"don""#), "did you mean \"done\"?");
    check(end(r#""outcome":"done","error":"x""#), "of the event at 7");
    check(
        end(r#""outcome":"skip","delay":"1s""#),
        "delay does not go with",
    );
    check(settle(r#"{"events":[]}"#), "\"token\" is missing");
    let nested = r#"{"token":1,"events":[],"commit":[{"delete_topic":{"topic":"a"}},
        {"unpark":{"topic":"a","group":"g","how":"skip"}}]}"#;
    let error = settle(nested).expect_err("it is refused");
    assert_eq!(error.command(), Some(2));
}
