//! Every example runs to its end; each asserts its own point.

macro_rules! examples {
    ($($name:ident $path:literal;)*) => {
        $(
            #[path = $path]
            mod $name;
        )*

        /// Every example, by the name of its file.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod runs {
            $(
                #[test]
                fn $name() {
                    super::$name::main().expect("it runs to its end");
                }
            )*
        }
    };
}

examples! {
    cancellation "../../../../examples/cancellation.rs";
    embedding "../../../../examples/embedding.rs";
    exactly_once "../../../../examples/exactly_once.rs";
    follow_ups "../../../../examples/follow_ups.rs";
    groups "../../../../examples/groups.rs";
    hello "../../../../examples/hello.rs";
    inbox "../../../../examples/inbox.rs";
    once "../../../../examples/once.rs";
    parking "../../../../examples/parking.rs";
    policy_on_a_kind "../../../../examples/policy_on_a_kind.rs";
    read_your_writes "../../../../examples/read_your_writes.rs";
    results "../../../../examples/results.rs";
    retries "../../../../examples/retries.rs";
    shared_state "../../../../examples/shared_state.rs";
    shutdown "../../../../examples/shutdown.rs";
    testing "../../../../examples/testing.rs";
}

#[test]
fn no_example_is_left_out() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    for entry in std::fs::read_dir(dir).expect("the examples") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name");
        // That of a server is built with the crate of the server, and takes most of a minute.
        let of_a_server = name == "survival";
        assert!(
            of_a_server || NAMES.contains(&name),
            "{name} is not run by the tests"
        );
    }
}
