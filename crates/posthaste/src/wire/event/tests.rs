//! What is written is read back the same; what can't be an event is refused by the attribute's name.

use bytes::Bytes;
use posthaste_core::topic::{Event, NewEvent};
use posthaste_core::{JobId, Payload, Position, Text, WallMs};
use proptest::prelude::*;

use super::attributes::TOLD;
use super::*;
use crate::wire::{parse, parse_one_or_many};

fn texts() -> impl Strategy<Value = Text> {
    "[^\\p{Cc}]{1,20}".prop_map(Text::from)
}

fn headers() -> impl Strategy<Value = Vec<(Text, Text)>> {
    let own = prop::collection::btree_map("x[a-z0-9]{0,8}", "[^\\p{Cc}]{0,20}", 0..4);
    let known = (
        prop::option::of("[^\\p{Cc}]{1,9}"),
        prop::option::of(Just("2026-11-20T21:30:00.5+01:00")),
        prop::option::of(Just("urn:schema:7")),
    );
    (own, known).prop_map(|(own, (subject, time, schema))| {
        let known = [
            ("subject", subject),
            ("time", time.map(str::to_owned)),
            ("dataschema", schema.map(str::to_owned)),
        ];
        let known = known
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let all = known.chain(own);
        all.map(|(name, value)| (name.into(), value.into()))
            .collect()
    })
}

fn payloads() -> impl Strategy<Value = Payload> {
    let json = prop_oneof![
        Just("null"),
        Just("\"text\""),
        Just("{\"b\": 1.50, \"a\":[\n12345678901234567890123, \"\\u00e9\"]}"),
        Just("not json"),
    ];
    let types = prop_oneof![
        Just("application/vnd.x+json"),
        Just("text/plain"),
        Just("text/html; charset=utf-8"),
        Just("application/xml"),
        Just("application/octet-stream"),
        Just("image/png"),
    ];
    let bytes = prop_oneof![
        "\\PC{0,20}".prop_map(Bytes::from),
        Just(Bytes::from_static(b"{\"a\":1}")),
        Just(Bytes::from_static(b"line\nline\r\n\0")),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from),
    ];
    prop_oneof![
        json.prop_map(|json| Payload::json(json.as_bytes())),
        // JSON loses the space around it.
        (types, bytes).prop_map(|(of, bytes)| {
            let bytes = match is_json(of) {
                true => Bytes::copy_from_slice(bytes.trim_ascii()),
                false => bytes,
            };
            Payload::bytes(of, bytes)
        }),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let keyed = prop_oneof![
        (texts().prop_map(Some), prop::option::of(payloads())),
        (Just(None), payloads().prop_map(Some)),
    ];
    let place = (
        any::<u32>(),
        any::<u32>(),
        0..u64::MAX,
        any::<u16>(),
        any::<u64>(),
    );
    let at = 0..253_402_300_800_000_u64;
    let parts = (place, at, (texts(), texts(), texts()), keyed, headers());
    parts.prop_map(
        |(place, at, (id, event_type, source), (key, payload), headers)| Event {
            position: Position {
                epoch: place.0,
                topic: place.1,
                sequence: place.2,
            },
            partition: place.3,
            offset: place.4,
            at: WallMs(at),
            id,
            event_type,
            source,
            key,
            headers,
            payload,
        },
    )
}

fn published_again(event: &Event) -> NewEvent {
    NewEvent {
        id: event.id.clone(),
        deduplicate: true,
        event_type: event.event_type.clone(),
        source: event.source.clone(),
        key: event.key.clone(),
        headers: event.headers.clone(),
        payload: event.payload.clone(),
    }
}

proptest! {
    #[test]
    fn every_attribute_survives_as_json(event in events()) {
        let text = serde_json::to_vec(&WrittenEvent(&event)).expect("it is written");
        let read: CloudEvent = parse(&text).expect("it is read");
        // It can be published elsewhere, as it is.
        prop_assert_eq!(read.clone().read(), Ok(published_again(&event)));
        prop_assert_eq!(read.read_published(), Ok(event));
    }

    #[test]
    fn every_attribute_survives_as_headers(event in events()) {
        let new = published_again(&event);
        // An empty body of JSON is none.
        prop_assume!(new.payload.as_ref().is_none_or(|payload| !payload.bytes.is_empty()));
        let mut headers = vec![("ce-specversion".to_owned(), "1.0".to_owned())];
        let own = [("id", &new.id), ("type", &new.event_type), ("source", &new.source)];
        let key = new.key.iter().map(|key| ("partitionkey", key));
        let others = new.headers.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in own.into_iter().chain(key).chain(others) {
            headers.push((format!("ce-{name}"), percent_encoded(value)));
        }
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let payload = new.payload.as_ref();
        let content_type = payload.map(|of| of.content_type.as_deref().unwrap_or("application/json"));
        let body = payload.map(|of| of.bytes.clone()).unwrap_or_default();
        prop_assert_eq!(read_binary(headers, content_type, body), Ok(new));
    }

    #[test]
    fn every_field_survives_the_plain_form(event in events(), deduplicate: bool) {
        // Only JSON itself goes unencoded here, so that other content types stay what they are.
        let new = NewEvent { deduplicate, ..published_again(&event) };
        let text = serde_json::to_vec(&PlainEvent::write(&new)).expect("it is written");
        let read: PlainEvent = parse(&text).expect("it is read");
        prop_assert_eq!(read.read(|| panic!("an id was minted")), Ok(new));
    }
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' ' | b'"' | b'%' => format!("%{byte:02X}"),
        b'!'..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

/// A whole event whose members are changed: one that is `-name` is left out.
fn changed(changes: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("specversion", "\"1.0\""),
        ("id", "\"1\""),
        ("source", "\"/s\""),
        ("type", "\"t\""),
        ("data", "{\"a\":1}"),
    ];
    for (name, value) in changes {
        let bare = name.trim_start_matches('-');
        members.retain(|(of, _)| *of != bare);
        if !name.starts_with('-') {
            members.push((name, value));
        }
    }
    let members = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn read(text: &str) -> posthaste_core::Result<NewEvent> {
    parse::<CloudEvent>(text.as_bytes()).and_then(CloudEvent::read)
}

#[test]
fn data_is_read_by_its_content_type() {
    let check = |changes: &[(&str, &str)], expected: Option<Payload>| {
        let event = read(&changed(changes)).expect("an event");
        assert_eq!(event.payload, expected, "{changes:?}");
    };
    check(&[], Some(Payload::json("{\"a\":1}")));
    check(&[("data", "null")], Some(Payload::json("null")));
    check(&[("data", "\"x\"")], Some(Payload::json("\"x\"")));
    let json = ("datacontenttype", "\"application/json; charset=utf-8\"");
    check(&[json], Some(Payload::json("{\"a\":1}")));
    let other = ("datacontenttype", "\"application/x+json\"");
    check(
        &[other],
        Some(Payload::bytes("application/x+json", "{\"a\":1}")),
    );
    let text = ("datacontenttype", "\"text/plain\"");
    check(
        &[text, ("data", "\"a\\nb\"")],
        Some(Payload::bytes("text/plain", "a\nb")),
    );
    let bytes = ("data_base64", "\"AP8=\"");
    check(
        &[("-data", ""), bytes],
        Some(Payload::bytes(BYTES, &b"\0\xff"[..])),
    );
    check(&[("-data", ""), ("partitionkey", "\"k\"")], None);
    check(&[("-data", ""), ("data_base64", "null")], None);
}

#[test]
fn attributes_are_read_as_text() {
    let event = read(&changed(&[
        ("partitionkey", "\"k\""),
        ("truth", "true"),
        ("number", "-12"),
        ("subject", "null"),
        ("traceparent", "\"00-1-2-01\""),
        ("cursor", "\"1-1-1\""),
    ]));
    let event = event.expect("an event");
    assert_eq!(event.key, Some(Text::from("k")));
    assert!(event.deduplicate);
    let headers: Vec<_> = event
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("truth", "true"),
        ("number", "-12"),
        ("traceparent", "00-1-2-01"),
    ];
    assert_eq!(headers, expected);
}

#[test]
fn what_is_wrong_is_named() {
    let refused = |changes: &[(&str, &str)], says: &str| {
        let text = changed(changes);
        let error = read(&text).expect_err(&text);
        let said = error.to_string();
        assert!(
            said.contains(says),
            "{text}: {said:?} does not say {says:?}"
        );
        assert!(
            error.next_step().is_some(),
            "{text}: {said:?} has no next step"
        );
    };
    for name in ["specversion", "id", "source", "type"] {
        refused(&[(&format!("-{name}"), "")], &format!("{name:?}"));
        refused(&[(name, "\"\"")], &format!("{name:?}"));
        refused(&[(name, "null")], &format!("{name:?}"));
        refused(&[(name, "[]")], &format!("{name:?}"));
    }
    refused(&[("specversion", "\"0.3\"")], "\"specversion\" is \"0.3\"");
    refused(&[("time", "\"yesterday\"")], "\"time\"");
    refused(&[("time", "7")], "\"time\"");
    refused(&[("dataschema", "\"x\"")], "\"dataschema\"");
    refused(&[("subject", "\"\"")], "\"subject\"");
    refused(&[("partitionKey", "\"k\"")], "\"partitionKey\"");
    refused(&[("trace_parent", "\"k\"")], "\"trace_parent\"");
    refused(&[("own", "1.5")], "\"own\"");
    refused(&[("own", "{}")], "\"own\"");
    refused(&[("data_base64", "\"AA==\"")], "both");
    refused(
        &[("-data", ""), ("data_base64", "\"*\"")],
        "\"data_base64\"",
    );
    refused(&[("datacontenttype", "\"text/plain\"")], "\"data\"");
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    refused(&[("data", &deep)], "deeper than 64");
    let twice = changed(&[]).replace("\"id\":\"1\"", "\"id\":\"1\",\"id\":\"2\"");
    assert!(read(&twice).is_err_and(|error| error.message().contains("\"id\"")));
    let twice = changed(&[]).replace("\"data\":", "\"data\":1,\"data\":");
    assert!(read(&twice).is_err_and(|error| error.message().contains("\"data\"")));
    assert!(read("[]").is_err() && read("7").is_err() && read("{").is_err());
}

#[test]
fn an_event_of_a_batch_that_is_wrong_is_found_by_its_path() {
    let batch = format!("[{},{}]", changed(&[]), changed(&[("own", "[1]")]));
    let error = parse_one_or_many::<CloudEvent>(batch.as_bytes()).expect_err("refused");
    let said = error.to_string();
    assert!(
        said.contains("\"own\"") && said.contains("at [1]"),
        "{said}"
    );
}

#[test]
fn headers_that_are_no_event_are_named() {
    let whole = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    let check = |extra: &[(&'static str, &'static str)], without: &str, says: &str| {
        let kept = whole.iter().filter(|(name, _)| *name != without);
        let headers = kept
            .chain(extra)
            .map(|(name, value)| (*name, value.as_bytes()));
        let error = read_binary(headers, None, Bytes::new()).expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
    };
    for (name, _) in whole {
        check(&[], name, &format!("{:?}", name.trim_start_matches("ce-")));
    }
    check(&[("ce-time", "x")], "", "\"time\"");
    check(&[("ce-own", "%ff")], "", "\"ce-own\"");
    check(
        &[("ce-own", "1"), ("ce-own", "2")],
        "",
        "\"own\" is given twice",
    );
    check(&[("ce-datacontenttype", "a/b")], "", "Content-Type");
    check(&[("ce-a_b", "1")], "", "\"a_b\"");
}

#[test]
fn the_plain_form_has_defaults_and_refuses_what_it_does_not_know() {
    let id = JobId::new(1, [7; 10]);
    let read =
        |text: &str| parse::<PlainEvent>(text.as_bytes()).and_then(|event| event.read(|| id));
    let event = read(r#"{"type":"t","data":[1]}"#).expect("an event");
    let expected = NewEvent::new(id.to_string(), "t", Payload::json("[1]"));
    assert_eq!(event, expected);
    let chosen = read(r#"{"type":"t","id":"a","key":"k","source":"s"}"#).expect("an event");
    assert!(chosen.deduplicate && chosen.payload.is_none());
    for (bad, says) in [
        ("{}", "\"type\" is missing"),
        (r#"{"type":"t","kay":"k"}"#, "did you mean \"key\"?"),
        (r#"{"type":"t","specversion":"1.0"}"#, "specversion"),
        (r#"{"type":"t","payload":1,"data":1}"#, "duplicate"),
        (r#"{"type":"t","deduplicate":true}"#, "without an id"),
        (r#"{"type":"t","headers":{"a":1}}"#, "string"),
        (
            r#"{"type":"t","payload":1,"payload_base64":"AA=="}"#,
            "both",
        ),
    ] {
        let error = read(bad).expect_err(bad);
        assert!(error.to_string().contains(says), "{bad}: {error}");
    }
}

#[test]
fn what_is_told_is_no_header() {
    // A header of such a name would be there twice in the answer.
    for name in TOLD {
        let mut event = NewEvent::new("1", "t", Payload::json("1"));
        event.headers.push((name.into(), "x".into()));
        let command = posthaste_core::Command::Publish {
            topic: posthaste_core::TopicName::new("a").expect("a name"),
            events: vec![event],
        };
        assert!(posthaste_core::check::command(&command).is_err(), "{name}");
    }
}
