//! `topics`, `publish` and `tail`: what they say, how they go on, and how they are told no.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::binary::{self, Running, posthaste};
use crate::command_line::{check, check_next, dir};

/// A store to work on, from a directory of its own.
struct Desk {
    dir: tempfile::TempDir,
    url: String,
    _server: Option<Running>,
}

impl Desk {
    fn of_a_directory() -> Self {
        Self {
            dir: dir(),
            url: "file:data".to_owned(),
            _server: None,
        }
    }

    fn of_a_server() -> Self {
        let dir = dir();
        let (server, url) = Running::serve(dir.path(), "memory:", "127.0.0.1:0");
        Self {
            dir,
            url,
            _server: Some(server),
        }
    }

    fn both() -> [Self; 2] {
        [Self::of_a_directory(), Self::of_a_server()]
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        binary::run(self.path(), &[arguments, &["--store", &self.url]].concat())
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let arguments = [arguments, &["--store", &self.url]].concat();
        binary::run_with(self.path(), &arguments, input.as_bytes())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        binary::json(self.path(), &[arguments, &["--store", &self.url]].concat())
    }

    /// What it prints, where it goes well.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The events that it prints.
    fn events(&self, arguments: &[&str]) -> Vec<Value> {
        let told = self.told(&[&["tail"], arguments, &["--json"]].concat());
        let events = told.lines().map(serde_json::from_str);
        events.collect::<Result<_, _>>().expect("a line an event")
    }

    fn ids(&self, arguments: &[&str]) -> Vec<String> {
        let events = self.events(arguments);
        let id = |event: &Value| event["id"].as_str().expect("an id").to_owned();
        events.iter().map(id).collect()
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = posthaste(self.path());
        command.args(arguments).args(["--store", &self.url]);
        Running::start(command.stderr(Stdio::null()))
    }
}

/// CloudEvents of these numbers, one in each line.
fn lines(numbers: std::ops::Range<u32>) -> String {
    let line = |number: u32| {
        let event = json!({
            "specversion": "1.0",
            "id": number.to_string(),
            "source": "/test",
            "type": "counted",
            "partitionkey": format!("k{}", number % 7),
            "data": number,
        });
        format!("{event}\n")
    };
    numbers.map(line).collect()
}

#[test]
fn topics_are_made_set_shown_and_deleted() {
    for desk in Desk::both() {
        let made = desk.json(&[
            "topics",
            "set",
            "orders",
            "--partitions",
            "2",
            "--kept",
            "2d",
            "--kept-bytes",
            "512MiB",
            "--compression",
            "lz4",
        ]);
        assert_eq!(made["partitions"], 2, "{made}");
        assert_eq!(
            made["retention"],
            json!({"age": "2d", "bytes": 536_870_912, "events": 0})
        );
        let set = desk.json(&["topics", "set", "orders", "--compacted", "--kept-events=9"]);
        assert_eq!(
            (&set["compacted"], &set["retention"]["events"]),
            (&json!(true), &json!(9)),
            "{set}"
        );
        assert_eq!(set["compression"], "lz4", "what is not given stays: {set}");
        desk.told(&["publish", "orders", "1"]);
        let shown = desk.json(&["topics", "show", "orders"]);
        assert_eq!(shown["published"], 1, "{shown}");
        assert_eq!(desk.json(&["topics", "list"])["topics"][0], shown);
        let list = desk.told(&["topics", "list"]);
        for word in ["orders", "2d, 512MiB, 9 events", "compacted, lz4"] {
            assert!(list.contains(word), "{word}: {list}");
        }
        let show = desk.told(&["topics", "show", "orders"]);
        for word in ["tombstones kept 1d", "published    1\n"] {
            assert!(show.contains(word), "{word}: {show}");
        }
        let plain = desk.json(&["topics", "set", "orders", "--compacted=false"]);
        assert_eq!(plain["compacted"], false, "{plain}");

        check_next(&desk.run(&["topics", "delete", "orders"]), 2, "1 events");
        assert_eq!(
            desk.told(&["topics", "delete", "orders", "--yes"]),
            "orders deleted\n"
        );
        assert_eq!(desk.json(&["topics", "list"]), json!({"topics": []}));
    }
}

#[test]
fn topics_that_are_not_there_and_settings_that_cannot_be() {
    let desk = Desk::of_a_directory();
    desk.told(&["topics", "set", "orders"]);
    check_next(
        &desk.run(&["topics", "show", "ordres"]),
        3,
        "did you mean \"orders\"?",
    );
    for delete in [
        &["topics", "delete", "x"][..],
        &["topics", "delete", "x", "--yes"],
    ] {
        check_next(&desk.run(delete), 3, "there is no");
    }
    check_next(&desk.run(&["tail", "ordres"]), 3, "ordres");
    let set = |more: &[&str]| desk.run(&[&["topics", "set", "orders"], more].concat());
    check_next(&set(&["--partitions", "5"]), 4, "4 partitions");
    check_next(&set(&["--partitions", "0"]), 2, "0 partitions");
    check(&set(&["--kept-bytes", "10GB"]), 2, "512KiB");
    check(&set(&["--compression", "lz5"]), 2, "lz4");
    check(&set(&["--kept", "7"]), 2, "1h30m");
    check(&desk.run(&["topics", "set", "or ders"]), 2, "the topic");
}

#[test]
fn an_event_is_published_with_all_that_can_be_said_of_it() {
    for desk in Desk::both() {
        let publish = |arguments: &[&str]| desk.json(&[&["publish", "orders"], arguments].concat());
        let placed = publish(&[
            "{\"n\": 1}",
            "--type",
            "order.placed",
            "--key",
            "c7",
            "--id",
            "o-1",
            "--source",
            "/shop",
            "--header",
            "subject=order 1",
            "--header",
            "own=x",
        ]);
        let first = &placed["events"][0];
        assert_eq!(
            (&first["id"], &first["offset"], &first["existing"]),
            (&json!("o-1"), &json!(0), &json!(false)),
            "{placed}"
        );
        let again = publish(&["2", "--id", "o-1", "--source", "/shop"]);
        assert_eq!(again["events"][0]["existing"], true, "{again}");
        assert_eq!(again["events"][0]["cursor"], first["cursor"], "{again}");
        let told = desk.told(&["publish", "orders", "3", "--id", "o-1"]);
        assert!(
            !told.contains("was there before"),
            "of another source: {told}"
        );
        publish(&["--key", "c7", "--tombstone"]);
        publish(&["some words", "--text"]);
        publish(&["-5"]);
        let piped = ["publish", "orders", "-", "--content-type", "image/png"];
        assert!(desk.run_with(&piped, "\u{0}bytes").status.success());

        let events = desk.events(&["orders"]);
        let event = &events[0];
        assert_eq!(
            (&event["type"], &event["partitionkey"], &event["data"]),
            (&json!("order.placed"), &json!("c7"), &json!({"n": 1})),
            "{event}"
        );
        assert_eq!(
            (&event["source"], &event["subject"], &event["own"]),
            (&json!("/shop"), &json!("order 1"), &json!("x")),
            "{event}"
        );
        assert_eq!(event["cursor"], first["cursor"]);
        assert_eq!(events[1]["source"], "posthaste");
        assert_eq!(
            events[2]["partition"], event["partition"],
            "of the same key"
        );
        assert!(events[2].get("data").is_none(), "{}", events[2]);
        assert_eq!(events[3]["data"], "some words");
        assert_eq!(events[4]["data"], -5);
        assert_eq!(events[5]["data_base64"], "AGJ5dGVz");
        assert_eq!(events.len(), 6);
    }
}

#[test]
fn an_event_that_cannot_be_is_refused() {
    let desk = Desk::of_a_directory();
    let publish = |arguments: &[&str]| desk.run(&[&["publish", "orders"], arguments].concat());
    check(&publish(&[]), 2, "DATA");
    check_next(&publish(&["{"]), 2, "not JSON");
    check(&publish(&["1", "--tombstone", "--key", "k"]), 2, "DATA");
    check(&publish(&["--tombstone"]), 2, "--key");
    check(&publish(&["1", "--import", "f"]), 2, "DATA");
    check(&publish(&["--import", "f", "--key", "k"]), 2, "--key");
    check(&publish(&["1", "--state", "f"]), 2, "--state");
    check(&publish(&["--state", "f"]), 2, "DATA");
    check_next(&publish(&["1", "--header", "Own=x"]), 2, "Own");
    check_next(&publish(&["1", "--id", ""]), 2, "the id");
    check_next(&publish(&["--import", "absent"]), 2, "absent");
    let large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let output = desk.run_with(&["publish", "orders", "-"], &large);
    check_next(&output, 2, "payload");
    assert_eq!(desk.json(&["topics", "list"])["topics"], json!([]));
}

#[test]
fn a_tail_begins_where_it_is_told_and_ends_at_the_end() {
    for desk in Desk::both() {
        desk.told(&["topics", "set", "orders", "--partitions", "3"]);
        let output = desk.run_with(&["publish", "orders", "--import", "-"], &lines(0..30));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "30 events published, 0 were there before\n"
        );
        let all = desk.events(&["orders"]);
        let id = |event: &Value| event["id"].as_str().expect("an id").to_owned();
        let ids = |events: &[&Value]| events.iter().map(|event| id(event)).collect::<Vec<_>>();
        let numbers: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        assert_eq!(ids(&all.iter().collect::<Vec<_>>()), numbers);
        let tail = |arguments: &[&str]| desk.ids(&[&["orders"], arguments].concat());
        let of = |wanted: &dyn Fn(&Value) -> bool| {
            ids(&all.iter().filter(|event| wanted(event)).collect::<Vec<_>>())
        };

        assert_eq!(tail(&["--max", "7"]), numbers[..7]);
        let cursor = all[6]["cursor"].as_str().expect("a cursor");
        assert_eq!(tail(&["--from", cursor]), numbers[7..]);
        assert_eq!(tail(&["--from", "latest"]), Vec::<String>::new());
        let at = all[29]["publishedat"].as_str().expect("an instant");
        assert_eq!(tail(&["--from", &format!("time:{at}")]), numbers);
        assert_eq!(
            tail(&["--key", "k1", "--key", "k2"]),
            of(&|event| ["k1", "k2"].contains(&event["partitionkey"].as_str().expect("a key")))
        );
        assert_eq!(tail(&["--type", "other"]), Vec::<String>::new());
        assert_eq!(
            tail(&["--partition", "1"]),
            of(&|event| event["partition"] == 1)
        );
        let from = ["--from", "offset:1:2", "--partition", "1"];
        assert_eq!(tail(&from), of(&|event| event["partition"] == 1)[2..]);

        let told = desk.told(&["tail", "orders", "--key", "k3", "--max", "1"]);
        let words: Vec<&str> = told.split_whitespace().collect();
        assert_eq!(words[2..], ["counted", "k3", "3"], "{told}");
        let more = desk.run(&["tail", "orders", "--max", "1"]);
        let cursor = all[0]["cursor"].as_str().expect("a cursor");
        check(&more, 0, &format!("--from {cursor}"));
    }
}

#[test]
fn a_tail_that_cannot_be_is_refused() {
    let desk = Desk::of_a_directory();
    let event = desk.json(&["publish", "orders", "1"]);
    let tail = |arguments: &[&str]| desk.run(&[&["tail", "orders"], arguments].concat());
    check(&tail(&["--from", "yesterday"]), 2, "earliest");
    check(&tail(&["--max", "0"]), 2, "--max");
    check_next(&tail(&["--partition", "4"]), 2, "partition 4");
    check_next(&tail(&["--from", "offset:0:99"]), 2, "past");
    let cursor = event["events"][0]["cursor"].as_str().expect("a cursor");
    let past = format!("{cursor}0");
    check_next(&tail(&["--from", &past]), 2, "past");
    let many: Vec<String> = (0..65).map(|number| format!("--key=k{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check_next(&tail(&many), 2, "65 keys");
    check_next(
        &binary::run(desk.path(), &["tail", "orders", "--store", "file:absent"]),
        3,
        "holds no store",
    );
}

#[test]
fn what_is_exported_can_be_imported() {
    for desk in Desk::both() {
        desk.told(&[
            "publish",
            "orders",
            "{\n \"a\": 1.50,\n \"b\": \"x\\ny\"}",
            "--key",
            "k",
        ]);
        desk.told(&["publish", "orders", "--tombstone", "--key", "k"]);
        desk.told(&[
            "publish",
            "orders",
            "two\nlines",
            "--text",
            "--header",
            "own=1",
        ]);
        let piped = ["publish", "orders", "-", "--content-type", "image/png"];
        assert!(desk.run_with(&piped, "\u{0}\n").status.success());
        let export = desk.told(&["tail", "orders", "--json"]);
        assert_eq!(export.lines().count(), 4, "{export}");
        let import = ["publish", "copies", "--import", "-", "--json"];
        let imported = |input: &str| {
            let output = desk.run_with(&import, input);
            serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
        };
        assert_eq!(imported(&export), json!({"published": 4, "existing": 0}));
        assert_eq!(imported(&export), json!({"published": 0, "existing": 4}));
        let bare = |topic: &str| {
            let mut events = desk.events(&[topic]);
            for event in &mut events {
                let event = event.as_object_mut().expect("an event");
                // Where they lie is theirs.
                assert!(event.remove("cursor").is_some() && event.remove("publishedat").is_some());
            }
            events
        };
        assert_eq!(bare("copies"), bare("orders"));
    }
}

#[test]
fn an_import_names_the_line_that_is_wrong() {
    let desk = Desk::of_a_directory();
    let input = format!("{}not an event\n", lines(0..1_500));
    std::fs::write(desk.path().join("events"), &input).expect("a file");
    let import = ["publish", "orders", "--import", "events"];
    let output = desk.run(&import);
    check_next(&output, 2, "line 1501: ");
    check(&output, 2, "everything up to line 1000 is published");
    assert_eq!(desk.ids(&["orders"]).len(), 1_000);
    std::fs::write(desk.path().join("events"), lines(0..1_500)).expect("a file");
    let told = desk.json(&import);
    assert_eq!(told, json!({"published": 500, "existing": 1_000}));
}

#[test]
fn an_import_goes_on_where_it_ended() {
    for desk in Desk::both() {
        let (events, state) = (desk.path().join("events"), desk.path().join("state"));
        let import = [
            "publish", "orders", "--import", "events", "--state", "state",
        ];
        std::fs::write(&events, lines(0..1_000)).expect("a file");
        assert_eq!(desk.json(&import)["published"], 1_000);
        let early = std::fs::read(&state).expect("a state");
        std::fs::write(&events, lines(0..2_500)).expect("a file");
        let rest = json!({"published": 1_500, "existing": 0});
        assert_eq!(desk.json(&import), rest, "behind what was there");
        assert_eq!(desk.json(&import)["published"], 0);
        // As it would be, had the run ended before it could write what it published.
        std::fs::write(&state, early).expect("a file");
        let again = json!({"published": 0, "existing": 1_500});
        assert_eq!(desk.json(&import), again, "nothing is there twice");
        assert_eq!(desk.json(&["topics", "show", "orders"])["published"], 2_500);

        let piped = ["publish", "orders", "--import", "-", "--state", "state"];
        let output = desk.run_with(&piped, &lines(0..2_600));
        check(&output, 0, "");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("100 events published, 0 "), "{said}");

        let other = [
            "publish", "others", "--import", "events", "--state", "state",
        ];
        check_next(&desk.run(&other), 2, "of the topic orders");
        check_next(
            &desk.run(&["tail", "orders", "--state", "state"]),
            2,
            "state",
        );
        check_next(&desk.run_with(&piped, &lines(0..10)), 2, "imported before");
        check_next(&desk.run(&import), 2, "imported before");
    }
}

#[test]
fn an_import_that_is_killed_leaves_nothing_out_and_nothing_twice() {
    let desk = Desk::of_a_server();
    desk.told(&["topics", "set", "orders"]);
    let import = ["publish", "orders", "--import", "-", "--state", "state"];
    let mut command = posthaste(desk.path());
    command.args(import).args(["--store", &desk.url]);
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let mut input = running.child.stdin.take().expect("a standard input");
    input
        .write_all(lines(0..1_500).as_bytes())
        .expect("it reads");
    // The first commit is there; its state may be written or not.
    let mut seen = desk.start(&["tail", "orders", "--follow", "--max", "1000", "--json"]);
    let mut told = 0;
    while !seen.line().is_empty() {
        told += 1;
    }
    assert_eq!((told, seen.ended()), (1_000, Some(0)));
    running.kill();

    let output = desk.run_with(&import, &lines(0..2_200));
    check(&output, 0, "");
    let numbers: Vec<String> = (0..2_200).map(|number| number.to_string()).collect();
    assert_eq!(desk.ids(&["orders"]), numbers);
}

#[test]
fn a_tail_goes_on_where_it_ended() {
    for desk in Desk::both() {
        let tail = |more: &[&str]| desk.ids(&[&["orders", "--state", "state"], more].concat());
        desk.run_with(&["publish", "orders", "--import", "-"], &lines(0..5));
        assert_eq!(tail(&["--max", "2", "--from", "earliest"]), ["0", "1"]);
        assert_eq!(tail(&["--from", "earliest"]), ["2", "3", "4"]);
        assert_eq!(tail(&[]), Vec::<String>::new());
        desk.run_with(&["publish", "orders", "--import", "-"], &lines(5..6));
        assert_eq!(tail(&["--type", "other"]), Vec::<String>::new());
        assert_eq!(tail(&[]), Vec::<String>::new(), "it was passed over");
        let other = ["tail", "others", "--state", "state"];
        check_next(&desk.run(&other), 2, "of the topic orders");
    }
}

#[test]
fn a_tail_does_not_go_on_behind_what_it_could_not_print() {
    let desk = Desk::of_a_directory();
    desk.run_with(&["publish", "orders", "--import", "-"], &lines(0..5));
    let tail = ["tail", "orders", "--state", "state", "--json"];
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("a device")
    };
    let mut command = posthaste(desk.path());
    command.args(tail).args(["--store", &desk.url]);
    let output = command.stdout(full()).output().expect("it runs");
    check(&output, 7, "standard output");
    assert!(!desk.path().join("state").exists());
    assert_eq!(desk.ids(&tail[1..4]).len(), 5);
}

#[test]
fn a_gap_is_told_and_not_passed_over() {
    for desk in Desk::both() {
        desk.run_with(&["publish", "orders", "--import", "-"], &lines(0..1));
        let tail = ["tail", "orders", "--state", "state", "--json"];
        assert_eq!(desk.ids(&tail[1..4]), ["0"]);
        for number in 1..4 {
            desk.run_with(
                &["publish", "orders", "--import", "-"],
                &lines(number..number + 1),
            );
        }
        let kept = std::fs::read(desk.path().join("state")).expect("a state");
        desk.told(&["topics", "set", "orders", "--kept-events", "1"]);
        let output = desk.run(&tail);
        assert_eq!(output.status.code(), Some(9), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let said: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(
            (&said["error"], &said["reason"]),
            (&json!("gap"), &json!("retention")),
            "{said}"
        );
        let state = desk.path().join("state");
        assert_eq!(std::fs::read(&state).expect("a state"), kept);
        let earliest = said["earliest"].as_str().expect("a cursor");
        let next = said["next"].as_str().expect("a next step");
        assert!(next.contains(&format!("--from {earliest}")), "{said}");
        std::fs::remove_file(&state).expect("it is there");
        assert_eq!(desk.ids(&["orders", "--from", earliest]), ["3"]);

        desk.told(&["topics", "delete", "orders", "--yes"]);
        desk.told(&["publish", "orders", "1"]);
        let output = desk.run(&["tail", "orders", "--from", earliest]);
        check_next(&output, 9, "another history");
    }
}

#[test]
fn whoever_follows_is_told_at_once_and_ends_when_asked() {
    let desk = Desk::of_a_server();
    desk.told(&["publish", "orders", "1"]);
    for (signal, number) in [(Signal::TERM, 2), (Signal::INT, 4)] {
        let follow = ["tail", "orders", "--follow", "--json", "--state", "state"];
        let mut tail = desk.start(&follow);
        let mut next =
            || serde_json::from_str::<Value>(&tail.line()).expect("an event")["data"].clone();
        if number == 2 {
            assert_eq!(next(), 1);
        } else {
            assert_eq!(next(), 3, "published while nobody followed");
        }
        desk.told(&["publish", "orders", &number.to_string()]);
        assert_eq!(next(), number);
        tail.signal(signal);
        assert_eq!(tail.ended(), Some(0), "{signal:?}");
        desk.told(&["publish", "orders", &(number + 1).to_string()]);
    }
    assert_eq!(desk.events(&["orders", "--state", "state"])[0]["data"], 5);
}

#[test]
fn whoever_follows_stays_through_a_restart_of_the_server() {
    let dir = dir();
    let (mut server, url) = Running::serve(dir.path(), "file:data", "127.0.0.1:0");
    let publish = |number: &str| {
        let publish = ["publish", "orders", number, "--store", &url];
        assert!(binary::run(dir.path(), &publish).status.success());
    };
    publish("1");
    let mut command = posthaste(dir.path());
    command.args(["tail", "orders", "--follow", "--json", "--store", &url]);
    let mut tail = Running::start(command.stderr(Stdio::null()));
    let mut next =
        || serde_json::from_str::<Value>(&tail.line()).expect("an event")["data"].clone();
    assert_eq!(next(), 1);
    for number in ["2", "3"] {
        server.kill();
        let port = url.trim_start_matches("http://");
        (server, _) = Running::serve(dir.path(), "file:data", port);
        publish(number);
        assert_eq!(next().to_string(), number);
    }
}
