//! What a reset of a consumer group would bring, asked before it is done.

use serde_json::{Value, json};

use crate::client::Server;

/// Six events, of which a member is through with four and holds one.
fn at_work() -> Server {
    let server = Server::start();
    for number in 0..6 {
        let event = json!({"type":"t","id":format!("e{number}"),"key":"k","data":number});
        let told = server.send("POST", "/v1/topics/orders/events", &event.to_string());
        assert_eq!(told.status, 201, "{told:?}");
    }
    let made = server.send("PUT", "/v1/groups/orders/billing", r#"{"from":"earliest"}"#);
    assert_eq!(made.status, 200, "{made:?}");
    let leased = server.send(
        "POST",
        "/v1/groups/orders/billing/lease",
        r#"{"max":5,"lease":"1h"}"#,
    );
    assert_eq!(leased.status, 200, "{leased:?}");
    let done = (0..4).map(|at| json!({"position":at,"outcome":"done"}));
    let ends = json!({"token":leased.body["token"],"events":done.collect::<Vec<_>>()});
    let settled = server.send(
        "POST",
        "/v1/groups/orders/billing/settle",
        &ends.to_string(),
    );
    assert_eq!(settled.status, 200, "{settled:?}");
    server
}

fn group(server: &Server) -> Value {
    server.send("GET", "/v1/groups/orders/billing", "").body
}

#[test]
fn a_dry_run_of_a_reset_counts_and_changes_nothing() {
    let server = at_work();
    let before = group(&server);
    let reset = |to: &str, more: Value| {
        let mut body = json!({"to":to});
        body.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        let path = "/v1/groups/orders/billing/reset";
        server.send("POST", path, &body.to_string())
    };
    for (to, events, skipped) in [("earliest", 4, 0), ("latest", 0, 2)] {
        let told = reset(to, json!({"dry_run":true}));
        assert_eq!(told.status, 200, "{told:?}");
        let counts = ["events", "skipped", "leased"].map(|name| told.body[name].clone());
        assert_eq!(counts, [events, skipped, 1], "{to}");
        assert_eq!(told.body["position"], before["position"]);
        assert_eq!(group(&server), before, "nothing is changed");
    }
    let none = reset("time:1970-01-01T00:00:00Z", json!({"dry_run":true}));
    assert_eq!(none.body["events"], 4, "{none:?}");
    let refused = reset("earliest", json!({}));
    assert_eq!((refused.status, refused.problem().0), (409, "conflict"));
    assert_eq!(group(&server), before, "a refused reset changes nothing");
    let done = reset("earliest", json!({"force":true}));
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(group(&server)["lag"], 6);
    assert_eq!(group(&server)["members"], json!([]));
}
