//! Topics over HTTP: settings, events in and out, pages, gaps, and what can't be.

use posthaste::HttpStore;
use posthaste_core::topic::{Compression, NewEvent, ReadFrom, TailTopic, TopicRead, TopicSettings};
use posthaste_core::{Command, Commit, Error, ErrorKind, Payload, Reply, Store, TopicName, WallMs};
use posthaste_server::server::Limits;
use posthaste_testkit::block_on;
use serde_json::{Value, json};

use crate::client::{Answer, Server};

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("content-type", "application/cloudevents-batch+json");

fn events(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["events"].as_array().expect("events")
}

fn ids(answer: &Answer) -> Vec<&str> {
    let ids = events(answer).iter().map(|event| event["id"].as_str());
    ids.map(|id| id.expect("an id")).collect()
}

fn publish(server: &Server, topic: &str, body: &str) -> Answer {
    let answer = server.send("POST", &format!("/v1/topics/{topic}/events"), body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name}: {value}"))
}

#[test]
fn a_topic_is_made_changed_shown_and_forgotten() {
    let server = Server::start();
    let settings = r#"{"partitions":2,"retention":{"age":"1h","events":100},"compression":"lz4"}"#;
    let made = server.send("PUT", "/v1/topics/shop%2Forders", settings);
    assert_eq!(made.status, 200, "{made:?}");
    let changed = server.send("PUT", "/v1/topics/shop%2Forders", r#"{"compacted":true}"#);
    assert_eq!(changed.body["partitions"], 2, "{changed:?}");
    assert_eq!(changed.body["compacted"], true);
    assert_eq!(
        changed.body["retention"],
        json!({"age":"1h","bytes":10_737_418_240_u64,"events":100})
    );
    assert_eq!(changed.body["compression"], "lz4");
    assert_eq!(changed.body["next_offsets"], json!([0, 0]));
    let shown = server.send("GET", "/v1/topics/shop%2Forders", "");
    assert_eq!(shown.body, changed.body);
    let listed = server.send("GET", "/v1/topics", "");
    assert_eq!(listed.body["topics"], json!([changed.body]));
    let deleted = server.send("DELETE", "/v1/topics/shop%2Forders", "");
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let gone = server.send("GET", "/v1/topics/shop%2Forders", "");
    assert_eq!((gone.status, gone.problem().0), (404, "not-found"));
    assert_eq!(
        server.send("GET", "/v1/topics", "").body,
        json!({"topics":[]})
    );
}

#[test]
fn events_come_in_four_ways_and_go_out_as_cloud_events() {
    let server = Server::start();
    let path = "/v1/topics/orders/events";
    let structured = r#"{"specversion":"1.0","id":"s1","source":"/shop","type":"placed",
        "partitionkey":"k","time":"2026-01-01T00:00:00+01:00","own":true,"data":{"n": 1.0}}"#;
    let answer = server.send_with("POST", path, &[STRUCTURED], structured.as_bytes());
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["events"][0]["id"], "s1");
    assert_eq!(answer.body["events"][0]["existing"], false);
    let batch = r#"[{"specversion":"1.0","id":"b1","source":"/shop","type":"placed","data":1},
        {"specversion":"1.0","id":"s1","source":"/shop","type":"placed","data":2}]"#;
    let answer = server.send_with("POST", path, &[BATCH], batch.as_bytes());
    assert_eq!(answer.body["events"][1]["existing"], true, "{answer:?}");
    let binary = [
        ("ce-specversion", "1.0"),
        ("ce-id", "h1"),
        ("ce-source", "/shop"),
        ("ce-type", "image"),
        ("ce-subject", "a%20b"),
        ("content-type", "image/png"),
    ];
    let answer = server.send_with("POST", path, &binary, b"\x89PNG \\ud800");
    assert_eq!(answer.status, 201, "{answer:?}");
    let plain = publish(
        &server,
        "orders",
        r#"{"type":"placed","payload":[1],"headers":{"own":"x"}}"#,
    );
    let minted = word(&plain.body["events"][0], "id").to_owned();
    publish(
        &server,
        "orders",
        r#"[{"type":"gone","key":"k"},{"type":"note","data":"x"}]"#,
    );

    let page = server.send("GET", path, "");
    let told = events(&page);
    let first = &told[0];
    assert_eq!(first["data"], json!({"n":1.0}));
    assert_eq!(
        (word(first, "partitionkey"), word(first, "own")),
        ("k", "true")
    );
    assert_eq!(word(first, "time"), "2026-01-01T00:00:00+01:00");
    assert_eq!(
        word(first, "cursor"),
        word(&answer_of(&server, structured), "cursor")
    );
    assert_eq!(word(first, "publishedat"), "2027-01-15T08:00:00.000Z");
    assert_eq!(word(&told[2], "data_base64"), "iVBORyBcdWQ4MDA=");
    assert_eq!(word(&told[2], "datacontenttype"), "image/png");
    assert_eq!(word(&told[2], "subject"), "a b");
    assert_eq!(
        (word(&told[3], "id"), word(&told[3], "source")),
        (minted.as_str(), "posthaste")
    );
    assert!(told[4].get("data").is_none(), "{}", told[4]);
    assert_eq!(told.len(), 6);
    // What was read can be published again, as it is, elsewhere.
    let again = serde_json::to_vec(&told).expect("JSON");
    let answer = server.send_with("POST", "/v1/topics/copy/events", &[BATCH], &again);
    assert_eq!(answer.status, 201, "{answer:?}");
    let copy = server.send("GET", "/v1/topics/copy/events", "");
    assert_eq!(ids(&copy), ids(&page));
}

/// Where an event is that was published before.
fn answer_of(server: &Server, event: &str) -> Value {
    let path = "/v1/topics/orders/events";
    let answer = server.send_with("POST", path, &[STRUCTURED], event.as_bytes());
    assert_eq!(answer.body["events"][0]["existing"], true, "{answer:?}");
    answer.body["events"][0].clone()
}

fn numbered(server: &Server, topic: &str, count: usize) {
    let events = (0..count).map(|n| json!({"id":n.to_string(),"type":format!("t{}", n % 2),"key":format!("k{}", n % 3),"payload":n}));
    publish(server, topic, &Value::from_iter(events).to_string());
}

#[test]
fn pages_go_on_from_cursors_times_and_offsets() {
    let server = Server::start();
    numbered(&server, "a", 7);
    let read = |query: &str| server.send("GET", &format!("/v1/topics/a/events?{query}"), "");
    let first = read("max=3");
    assert_eq!(ids(&first), ["0", "1", "2"]);
    let next = word(&first.body, "next");
    assert_eq!(word(&first.body["events"][2], "cursor"), next);
    let second = read(&format!("from={next}"));
    assert_eq!(ids(&second), ["3", "4", "5", "6"]);
    assert_eq!(second.body["next"], second.body["end"]);
    assert_eq!(ids(&read("from=latest")), [""; 0]);
    assert_eq!(ids(&read("type=t0&key=k0&key=k1")), ["0", "4", "6"]);
    assert_eq!(read("from=time:2027-01-15T07:00:00Z").body, read("").body);
    assert_eq!(ids(&read("from=time:2027-01-15T08:00:01Z")), [""; 0]);
    let event = &first.body["events"][1];
    let (partition, offset) = (&event["partition"], word(event, "offset"));
    let one = read(&format!(
        "from=offset:{partition}:{offset}&partition={partition}&max=1"
    ));
    assert_eq!(ids(&one), ["1"]);
}

#[test]
fn a_poll_that_finds_nothing_new_is_answered_304() {
    let server = Server::start();
    numbered(&server, "a", 2);
    let tag = |answer: &Answer| {
        let lines = answer.head.lines();
        let mut tags = lines.filter_map(|line| line.strip_prefix("etag: "));
        // The head is in lower case here; tags are not.
        tags.next().expect("a tag").replacen('w', "W", 1)
    };
    let poll = |query: &str, tag: &str| {
        let path = format!("/v1/topics/a/events?{query}");
        server.send_with("GET", &path, &[("if-none-match", tag)], b"")
    };
    let first = poll("", "\"x\"");
    assert_eq!(ids(&first), ["0", "1"]);
    let known = tag(&first);
    assert!(known.starts_with("W/\""), "{known}");
    let again = poll("", &format!("\"y\", {known}"));
    assert_eq!((again.status, tag(&again)), (304, known.clone()));
    // The same place under another filter is another page.
    assert_eq!(poll("type=t0", &known).status, 200);
    publish(&server, "a", r#"{"type":"t0","id":"2","data":1}"#);
    assert_eq!(ids(&poll("", &known)), ["0", "1", "2"]);
}

#[test]
fn a_read_waits_for_its_first_event_and_a_drain_ends_the_wait() {
    let mut server = Server::start();
    numbered(&server, "a", 1);
    let end = server.send("GET", "/v1/topics/a/events", "").body;
    let path = format!(
        "/v1/topics/a/events?from={}&wait=60s&type=new",
        word(&end, "next")
    );
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.send("GET", &path, ""));
        server.store.wait_for_reads(1);
        publish(
            &server,
            "a",
            r#"[{"type":"old","data":1},{"type":"new","id":"n","data":1}]"#,
        );
        assert_eq!(ids(&waiting.join().expect("an answer")), ["n"]);
    });
    let mut waiting = server.connect();
    let path = "/v1/topics/a/events?from=latest&wait=60s";
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    std::io::Write::write_all(&mut waiting, head.as_bytes()).expect("sent");
    server.store.wait_for_reads(1);
    server.begin_drain();
    assert_eq!(ids(&Answer::read(&mut waiting)), [""; 0]);
    assert_eq!(server.ended(), 0);
}

#[test]
fn a_place_that_is_gone_is_a_gap_and_never_a_silent_jump() {
    let server = Server::start();
    numbered(&server, "a", 3);
    let path = |from: &str| format!("/v1/topics/a/events?from={from}");
    let end = server.send("GET", &path("latest"), "").body;
    let end = word(&end, "end").to_owned();
    assert_eq!(server.send("DELETE", "/v1/topics/a", "").status, 204);
    numbered(&server, "a", 1);
    let gone = server.send("GET", &path(&end), "");
    assert_eq!((gone.status, gone.problem().0), (410, "gap"), "{gone:?}");
    assert_eq!(gone.body["reason"], "history");
    let earliest = word(&gone.body, "earliest");
    let read = server.send("GET", &path(earliest), "");
    assert_eq!(ids(&read), ["0"]);
    assert_eq!(read.body["end"], gone.body["end"]);
}

#[test]
fn a_repeated_request_publishes_once_and_is_told_the_same() {
    let server = Server::start();
    let send = |body: &str, extra: &[(&str, &str)]| {
        let headers = [&[("idempotency-key", "k")], extra].concat();
        server.send_with("POST", "/v1/topics/a/events", &headers, body.as_bytes())
    };
    let plain =
        r#"[{"type":"t","data":1},{"type":"t","id":"mine","data":2},{"type":"t","data":3}]"#;
    let first = send(plain, &[]);
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(send(plain, &[]).body, first.body);
    assert_eq!(
        events(&server.send("GET", "/v1/topics/a/events", "")).len(),
        3
    );
    assert_eq!(send("[]", &[]).status, 400);
    assert_eq!(send(r#"{"type":"t"}"#, &[]).status, 400);
    let other = send(r#"{"type":"u","data":1}"#, &[]);
    assert_eq!((other.status, other.problem().0), (422, "key-reused"));
    // The attributes of a binary event are part of the request.
    let binary = |id| {
        let headers = [
            ("idempotency-key", "b"),
            ("ce-specversion", "1.0"),
            ("ce-source", "s"),
            ("ce-type", "t"),
            ("ce-id", id),
        ];
        server.send_with("POST", "/v1/topics/a/events", &headers, b"x")
    };
    assert_eq!(binary("1").status, 201);
    assert_eq!(binary("1").status, 201);
    assert_eq!(binary("2").status, 422);
}

#[test]
fn a_commit_publishes_with_other_commands_or_not_at_all() {
    let server = Server::start();
    let commit = |commands: Value| {
        server.send(
            "POST",
            "/v1/commit",
            &json!({"commands":commands}).to_string(),
        )
    };
    let publish = json!({"publish":{"topic":"a","events":[{"type":"t","id":"1","data":1}]}});
    let done = commit(json!([
        {"set_topic":{"topic":"a","partitions":1,"retention":{"events":9}}},
        {"enqueue":{"kind":"k"}},
        publish,
    ]));
    assert_eq!(done.status, 200, "{done:?}");
    let replies = &done.body["replies"];
    assert_eq!(replies[0], json!({"configured":{}}));
    let published = &replies[2]["published"]["events"][0];
    assert_eq!(
        (&published["offset"], &published["existing"]),
        (&json!(0), &json!(false))
    );
    let refused = commit(json!([
        {"publish":{"topic":"a","events":[{"type":"t","id":"2","data":1}]}},
        {"cancel":{"id":"018bcfe5-6800-7000-8000-000000000000"}},
    ]));
    assert_eq!((refused.status, &refused.body["command"]), (404, &json!(1)));
    assert_eq!(ids(&server.send("GET", "/v1/topics/a/events", "")), ["1"]);
    let deleted = commit(json!([{"delete_topic":{"topic":"a"}}]));
    assert_eq!(deleted.body["replies"], json!([{"deleted":{}}]));
    // And together with a settle.
    let lease = server.send("POST", "/v1/leases", r#"{"queues":["default"]}"#);
    let job = &lease.body["jobs"][0];
    let settle = json!([{"id":job["id"],"token":job["token"],"outcome":"completed",
        "commit":[publish]}]);
    let settled = server.send("POST", "/v1/leases/settle", &settle.to_string());
    assert_eq!(settled.body["results"][0]["status"], "ok", "{settled:?}");
    assert_eq!(ids(&server.send("GET", "/v1/topics/a/events", "")), ["1"]);
}

#[test]
fn what_cannot_be_is_refused_and_named() {
    let server = Server::with(Limits::default());
    numbered(&server, "a", 1);
    let check = |answer: &Answer, status: u16, slug: &str, says: &str| {
        let (kind, title, next) = answer.problem();
        assert_eq!((answer.status, kind), (status, slug), "{answer:?}");
        let said = format!("{title}; {next}");
        assert!(said.contains(says), "{said:?} does not say {says:?}");
        assert!(!next.is_empty(), "{title:?} has no next step");
    };
    let read = |query: &str, status, slug, says| {
        let path = format!("/v1/topics/a/events?{query}");
        check(&server.send("GET", &path, ""), status, slug, says);
    };
    read("from=yesterday", 400, "invalid", "no place to read from");
    read("from=time:yesterday", 400, "invalid", "RFC 3339");
    read("max=0", 400, "invalid", "1 to 10000");
    read("wait=5", 400, "invalid", "1h30m");
    read("partition=x", 400, "invalid", "partition \"x\"");
    read("typ=x", 400, "invalid", "did you mean \"type\"?");
    read(&"type=x&".repeat(65), 400, "invalid", "at most 64");
    let end = server.send("GET", "/v1/topics/a/events", "").body;
    let beyond = format!("from={}7", word(&end, "end"));
    read(&beyond, 400, "invalid", "");
    let none = server.send("GET", "/v1/topics/none/events", "");
    check(&none, 404, "not-found", "none");

    let send = |headers: &[(&str, &str)], body: &str, status, slug, says| {
        let answer = server.send_with("POST", "/v1/topics/a/events", headers, body.as_bytes());
        check(&answer, status, slug, says);
    };
    send(&[], "{}", 400, "invalid", "\"type\"");
    send(&[], r#"{"type":""}"#, 400, "invalid", "type");
    send(&[], r#"{"type":"t","typ":"u"}"#, 400, "invalid", "\"typ\"");
    send(
        &[],
        r#"{"specversion":"1.0","type":"t"}"#,
        400,
        "invalid",
        "cloudevents+json",
    );
    send(
        &[],
        r#"{"type":"t","payload":"\ud800"}"#,
        400,
        "invalid",
        "half a character",
    );
    send(
        &[STRUCTURED],
        r#"{"specversion":"1.0","id":"1","type":"t","data":"\ud800"}"#,
        400,
        "invalid",
        "half",
    );
    send(
        &[STRUCTURED],
        r#"{"specversion":"1.0","id":"1","type":"t","data":1}"#,
        400,
        "invalid",
        "\"source\"",
    );
    send(
        &[STRUCTURED],
        r#"{"specversion":"1.0","ID":"1"}"#,
        400,
        "invalid",
        "\"ID\"",
    );
    send(&[STRUCTURED], "[]", 400, "invalid", "an object");
    send(&[BATCH], "{}", 400, "invalid", "");
    send(
        &[("content-type", "application/cloudevents+avro")],
        "x",
        400,
        "invalid",
        "avro",
    );
    send(&[("ce-id", "1")], "x", 400, "invalid", "\"specversion\"");
    let large = format!(r#"{{"type":"t","payload":"{}"}}"#, "x".repeat(1024 * 1024));
    send(&[], &large, 413, "too-large", "payload");
    let many = format!("[{}]", vec![r#"{"type":"t","data":1}"#; 1_001].join(","));
    send(&[], &many, 413, "too-large", "1000");
    let second = server.send(
        "POST",
        "/v1/topics/a/events",
        r#"[{"type":"t","data":1},{"type":"t"}]"#,
    );
    assert_eq!(second.body["command"], 1, "{second:?}");
    check(
        &server.send(
            "POST",
            "/v1/topics/a%20b/events",
            r#"{"type":"t","data":1}"#,
        ),
        400,
        "invalid",
        "' '",
    );
    assert_eq!(
        events(&server.send("GET", "/v1/topics/a/events", "")).len(),
        1
    );

    let set = |body: &str, status, slug, says| {
        check(
            &server.send("PUT", "/v1/topics/a", body),
            status,
            slug,
            says,
        );
    };
    set(r#"{"partitions":0}"#, 400, "invalid", "1 to 256");
    set(r#"{"partitions":5}"#, 409, "conflict", "");
    set(
        r#"{"retention":{"agee":"1h"}}"#,
        400,
        "invalid",
        "did you mean \"age\"?",
    );
    set(r#"{"retention":{"age":"4000d"}}"#, 400, "invalid", "");
    set(
        r#"{"compression":"lz5"}"#,
        400,
        "invalid",
        "did you mean \"lz4\"?",
    );
    check(
        &server.send("DELETE", "/v1/topics/none", ""),
        404,
        "not-found",
        "no such topic",
    );
}

/// What a store says of itself and what its server says of it over HTTP.
fn check_same(
    runtime: &tokio::runtime::Runtime,
    server: &Server,
    http: &HttpStore,
    ask: TailTopic,
) {
    let there = block_on(server.store.read(ask.clone()));
    let here = runtime.block_on(http.read(ask.clone()));
    let kind = |error: &Error| (error.kind(), error.message().to_owned());
    match (&there, &here) {
        (Err(there), Err(here)) => assert_eq!(kind(there), kind(here), "{ask:?}"),
        _ => assert_eq!(there, here, "{ask:?}"),
    }
}

#[test]
fn a_server_as_a_store_says_what_its_store_says() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = format!("http://{}", server.address);
    let http = runtime
        .block_on(HttpStore::connect(&url))
        .expect("a server");
    let topic = TopicName::new("shop/orders").expect("a name");
    let mut event = NewEvent::new(
        "1",
        "placed \u{e9}",
        Payload::bytes("image/png", &b"\0\xff"[..]),
    );
    event.headers.push(("subject".into(), "a b%20".into()));
    event.deduplicate = true;
    let tombstone = NewEvent {
        payload: None,
        ..event.clone().keyed("k&=+ ")
    };
    let tombstone = NewEvent {
        id: "2".into(),
        ..tombstone
    };
    let plain = NewEvent::new("3", "t", Payload::json("{\"n\": 1.0}")).keyed("k&=+ ");
    let commit = Commit::of(vec![
        Command::SetTopic {
            topic: topic.clone(),
            settings: TopicSettings {
                partitions: Some(3),
                compression: Some(Compression::Lz4),
                ..TopicSettings::default()
            },
        },
        Command::Publish {
            topic: topic.clone(),
            events: vec![event.clone(), tombstone, plain, event],
        },
    ]);
    let answers = runtime
        .block_on(http.commit(vec![commit]))
        .expect("answers");
    let replies = &answers[0].as_ref().expect("done").replies;
    let [Reply::Configured, Reply::Published(published)] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    assert_eq!((published.len(), published[3].existing), (4, true));
    assert_eq!(
        runtime.block_on(http.topics()),
        block_on(server.store.topics())
    );
    let ask = |from| TailTopic::new(topic.clone(), from);
    let first = published[0].position;
    let TopicRead::Page(page) =
        block_on(server.store.read(ask(ReadFrom::Earliest))).expect("a page")
    else {
        panic!("a gap");
    };
    assert_eq!(page.events.len(), 3);
    let foreign = posthaste_core::Position {
        epoch: first.epoch ^ 1,
        ..first
    };
    for from in [
        ReadFrom::Earliest,
        ReadFrom::Latest,
        ReadFrom::Position(first.plus(1)),
        ReadFrom::Position(first.plus(99)),
        ReadFrom::Position(foreign),
        ReadFrom::Time(WallMs(1_800_000_000_000)),
        ReadFrom::Time(WallMs(1_800_000_000_001)),
        ReadFrom::Offset {
            partition: published[1].partition,
            offset: published[1].offset,
        },
        ReadFrom::Offset {
            partition: 200,
            offset: 0,
        },
    ] {
        check_same(&runtime, &server, &http, ask(from));
    }
    for (types, keys, partition) in [
        (vec!["placed \u{e9}"], vec![], None),
        (vec!["t", "u"], vec!["k&=+ "], None),
        (vec![], vec!["k&=+ "], Some(published[0].partition)),
    ] {
        let texts = |texts: Vec<&str>| texts.into_iter().map(Into::into).collect();
        let ask = TailTopic {
            types: texts(types),
            keys: texts(keys),
            partition,
            max: 2,
            ..ask(ReadFrom::Earliest)
        };
        check_same(&runtime, &server, &http, ask);
    }
    let none = TailTopic::new(TopicName::new("none").expect("a name"), ReadFrom::Earliest);
    check_same(&runtime, &server, &http, none);
    let most = TailTopic {
        types: (0..64).map(|n| format!("{n:255}").into()).collect(),
        ..ask(ReadFrom::Earliest)
    };
    let refused = runtime.block_on(http.read(most)).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    let deleted = Commit::one(Command::DeleteTopic(topic));
    let answers = runtime
        .block_on(http.commit(vec![deleted]))
        .expect("answers");
    assert_eq!(answers[0].as_ref().expect("done").replies, [Reply::Deleted]);
}

#[test]
fn a_read_that_is_dropped_is_dropped_by_the_server() {
    let server = Server::start();
    numbered(&server, "a", 1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let url = format!("http://{}", server.address);
    let http = runtime
        .block_on(HttpStore::connect(&url))
        .expect("a server");
    let ask = TailTopic {
        wait_ms: 60_000,
        ..TailTopic::new(TopicName::new("a").expect("a name"), ReadFrom::Latest)
    };
    runtime.block_on(async {
        let mut read = http.read(ask);
        // It is under way once it has been polled and the server waits.
        std::future::poll_fn(|context| {
            assert!(read.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        let reading = tokio::task::spawn_blocking({
            let store = server.store.clone();
            move || store.wait_for_reads(1)
        });
        tokio::select! {
            read = read => panic!("{read:?}"),
            waits = reading => waits.expect("it waits"),
        }
    });
    server.store.wait_for_reads(0);
}
